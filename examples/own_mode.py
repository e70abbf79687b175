"""A mode of your own: an adversarial autoencoder that takes noise out of images.

    python -m aae_mx.train --plugin examples/own_mode.py --mode denoising --pixel-noise 0.5
    python -m aae_mx.evaluate --plugin examples/own_mode.py runs/denoising_gaussian

A mode names its networks, what moves them, what is random in an epoch, and what a step does. It
can be stopped, resumed, plotted, evaluated, explored and exported like those of the package.
"""

from aae_mx.backend import mx
from aae_mx.modes import Mode, Moves
from aae_mx.networks.game import Game
from aae_mx.settings import Setting


class Denoising(Mode):
    name = "denoising"
    summary = "gives back the image without the noise that was added to it"
    # Names of settings that several modes have (modes/settings.py), and one of its own.
    settings = (
        *("code_dim", "reconstruction_rate", "discriminator_rate", "generator_rate"),
        Setting("pixel_noise", float, 0.3, "Standard deviation of the noise.", "noise", at_least=0),
    )
    # The default recipe, where it differs from the settings' own defaults.
    recipe = {"reduction": "sum", "discriminator_rate": 4e-4}
    metrics = (
        *("reconstruction_loss", "reconstruction_l2"),
        *("discriminator_entropy", "discriminator_accuracy"),
        *("generator_entropy", "generator_accuracy"),
    )
    optimizers = {
        "autoencoder": Moves(("encoder", "decoder"), "reconstruction_rate"),
        "discriminator": Moves(("discriminator",), "discriminator_rate", adversarial=True),
        "generator": Moves(("encoder",), "generator_rate", adversarial=True),
    }

    def build(self):
        networks = self.autoencoder(self.code_dim)
        networks["discriminator"] = self.discriminator(self.code_dim)
        self.game = Game(networks["discriminator"])
        return networks

    def draw(self, rng, labels, left):
        # All that is random comes from rng, so that a training that goes on draws the same.
        n = len(left)
        prior_codes, _ = self.sample_prior(n, rng)
        return {"prior_codes": prior_codes, "noise_seed": rng.integers(2**24, size=n)}

    def step(self, batch, learn):
        record, images = mx.autograd.record, batch.images
        mx.random.seed(int(batch.noise_seed[0].asscalar()))
        noisy = images + mx.nd.random.normal(scale=self.config.pixel_noise, shape=images.shape)

        with record():
            codes = self.encode(noisy)
            loss, l2 = self.reconstruction_loss(self.networks["decoder"](codes), images)
        learn(loss, "autoencoder")
        self.codes = codes.detach()

        with record():
            to_tell, entropy, accuracy = self.game.tell(self.codes, batch.prior_codes)
        learn(to_tell, "discriminator")

        with record():
            to_fool, fooled = self.game.fool(self.encode(noisy))
        learn(to_fool, "generator")
        return dict(zip(self.metrics, (loss, l2, entropy, accuracy, to_fool, fooled)))
