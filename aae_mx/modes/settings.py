"""The settings of modes: how they are called, and what they may be."""

from aae_mx.settings import FROM_RECIPE, MAX_SIZE, Setting


def _rate(name, help, default=1e-3):
    return Setting(name, float, default, help, "rates", above=0)


# The settings of the modes here, each of which names those that it has.
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "labels",
            "labels",
            "none",
            "Train with labels. Without a value: with that of every training image. With a number "
            "N: with those of N training images, as many of each class, the rest marked unknown.",
            "mode",
        ),
        Setting(
            "labelled_share",
            float,
            0.25,
            "With some labels: the share of every batch that is drawn from the labelled images, "
            "besides the pass over all images.",
            at_least=0,
            below=1,
        ),
        Setting(
            "code_dim",
            int,
            FROM_RECIPE,
            "Dimensions of the code z; an even number for priors that are drawn in pairs of them "
            "(gaussian_mixture, swiss_roll). [default: 2; with --images 64]",
            "networks",
            at_least=2,
            at_most=MAX_SIZE,
        ),
        _rate("reconstruction_rate", "Learning rate of the encoder in the reconstruction phase."),
        _rate("decoder_rate", "Learning rate of the decoder."),
        _rate("discriminator_rate", "Learning rate in the discriminator phase."),
        _rate("generator_rate", "Learning rate in the generator phase."),
        _rate("classification_rate", "Learning rate in the phase with labelled images."),
        Setting(
            "image_warp",
            float,
            0.0,
            "Each training image is turned, stretched, sheared and moved at random: the six "
            "numbers of the affine map lie so far from those of none at most (moving is in half an "
            "image's side). It falls to zero as the square root of what is left of the training.",
            "noise",
            at_least=0,
            below=1,
            of_images=True,
        ),
        Setting(
            "image_bend",
            float,
            0.0,
            "Each training image is also bent at random, by smooth waves of about so large a "
            "standard deviation, in half an image's side; it falls as the warp does.",
            "noise",
            at_least=0,
            below=1,
            of_images=True,
        ),
        Setting(
            "hidden_noise",
            float,
            0.0,
            "Standard deviation of a noise of mean 1 that multiplies the units of the encoder's "
            "first hidden layer in training, as a dropout; it falls linearly to zero.",
            "noise",
            at_least=0,
            only={"arch": "mlp"},
        ),
        Setting(
            "noise_decay",
            str,
            "falling",
            "The warp of images and the noise on hidden units fall so, or stay.",
            "noise",
            choices=("falling", "none"),
        ),
        Setting(
            "code_noise",
            float,
            0.0,
            "Standard deviation of the noise on the discriminator's inputs in training; it falls "
            "to zero.",
            "noise",
            at_least=0,
        ),
        Setting(
            "code_noise_decay",
            str,
            "linear",
            "That noise falls with what is left of the training, or with its square: then it is "
            "small while the learning rates are not yet.",
            "noise",
            choices=("linear", "quadratic"),
        ),
        Setting(
            "decoder_epochs",
            int,
            0,
            "So many epochs at the end are the decoder's: it learns alone, from a third of its "
            "rate on, and what else falls to zero does so before.",
            at_least=0,
            at_most=10**6,
        ),
        Setting(
            "decoder_noise",
            float,
            0.0,
            "Standard deviation of a noise on the codes in those epochs: so the decoder draws what "
            "is usual around a code.",
            "noise",
            at_least=0,
        ),
        Setting(
            "pseudo_label_weight",
            float,
            0.0,
            "With some labels: where the training is sure of an image without a label, its answer "
            "is taken for the label of the image warped once more; with this weight, which grows "
            "linearly from zero.",
            "noise",
            at_least=0,
        ),
        Setting(
            "discriminator_steps",
            int,
            1,
            "Discriminator steps per batch, each with prior samples of its own.",
            at_least=1,
            at_most=1000,
        ),
        Setting(
            "encoder_adam",
            str,
            "separate",
            "The encoder's reconstruction and generator phases have an optimizer each, or share "
            "one.",
            choices=("separate", "shared"),
        ),
        Setting(
            "classifier_weight",
            float,
            0.0,
            "With labels: the weight, in the generator's loss, of what a classifier says of the "
            "codes; it learns on prior samples to tell their labels.",
            at_least=0,
        ),
        Setting(
            "clusters", int, 16, "How many clusters are found.", "mode", at_least=2, at_most=10_000
        ),
        Setting(
            "kind_weight",
            float,
            1.0,
            "Weight of the game of the kinds y in the generator's loss.",
            at_least=0,
        ),
        Setting(
            "style_weight",
            float,
            1.0,
            "Weight of the game of the styles z in the generator's loss.",
            at_least=0,
        ),
        Setting(
            "consistency_weight",
            float,
            0.0,
            "Weight, in the generator's loss, of how far y of an image is from y of the same image "
            "warped and bent otherwise.",
            at_least=0,
        ),
        Setting(
            "information_weight",
            float,
            0.0,
            "Weight, in the generator's loss, of H(y given x) - balance H(y): each image is of one "
            "kind, and all kinds are as frequent, as the game of the kinds has it, too.",
            at_least=0,
        ),
        Setting(
            "information_balance",
            float,
            4.0,
            "How much of that goes to kinds that are as frequent.",
            at_least=0,
        ),
        Setting(
            "style_dim",
            int,
            10,
            "Dimensions of the style z.",
            "networks",
            at_least=2,
            at_most=MAX_SIZE,
        ),
        Setting(
            "input_noise",
            float,
            0.0,
            "Standard deviation of a noise on the encoder's input in training; the image without "
            "it is to be given back.",
            "noise",
            at_least=0,
        ),
    )
}
