"""Recipes: hyper-parameters as a table, each with the reason for its value.

A training takes the one recipe that fits it and names most of its conditions; what a recipe does
not name keeps the default of the setting, and what the user gives wins over both. ``python -m
aae_mx.recipes`` prints them for the documentation.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from aae_mx.errors import AAEError, ConfigError, option_name, option_text


@dataclasses.dataclass(frozen=True)
class Recipe:
    """``when``: {fact: the values it fits}, of the facts mode, recipe, arch, prior and labels.

    ``options``: {setting: (value, reason)}, only what differs from ``base``, another Recipe.
    """

    title: str
    when: dict[str, tuple[str, ...]]
    options: dict[str, tuple[Any, str]]
    base: Optional[Recipe] = None

    def fits(self, facts: dict[str, str]) -> bool:
        return all(facts.get(name) in values for name, values in self.when.items())

    def all_options(self) -> dict[str, tuple[Any, str]]:
        """Its options and those of its bases, {setting: (value, reason)}."""
        return {**(self.base.all_options() if self.base else {}), **self.options}

    def values(self) -> dict[str, Any]:
        return {name: value for name, (value, _) in self.all_options().items()}


def choose(facts: dict[str, str]) -> Recipe:
    """The Recipe for ``facts``: of those that fit, the one with most conditions.

    ``labels`` is ``"none"``, ``"some"`` or ``"all"`` here. Raises ConfigError for a recipe that
    its mode does not have, and AAEError for a tie, which is a fault of the table.
    """
    fitting = [recipe for recipe in (*TABLE, *ADDED) if recipe.fits(facts)]
    if not fitting:
        names = names_for(facts["mode"])
        raise ConfigError("recipe", facts["recipe"], f"expected one of {', '.join(names)}")
    most = max(len(recipe.when) for recipe in fitting)
    best = [recipe for recipe in fitting if len(recipe.when) == most]
    if len(best) > 1:
        titles = " and ".join(repr(recipe.title) for recipe in best)
        raise AAEError(f"the recipes {titles} fit {facts} equally well")
    return best[0]


def names_for(mode: str) -> list[str]:
    """The names of the recipes that a mode has, as --recipe takes them."""
    return list(dict.fromkeys(name for recipe in of_mode(mode) for name in recipe.when["recipe"]))


def of_mode(mode: str) -> list[Recipe]:
    """The recipes of a mode."""
    return [recipe for recipe in (*TABLE, *ADDED) if mode in recipe.when["mode"]]


def add(mode: str, options: dict[str, Any]) -> None:
    """Add the default recipe of a mode, {setting: value}."""
    reasons = {name: (value, "") for name, value in options.items()}
    when: dict[str, tuple[str, ...]] = {"mode": (mode,), "recipe": ("default",)}
    ADDED[:] = [recipe for recipe in ADDED if recipe.when != when]
    ADDED.append(Recipe(mode, when, reasons))


ORIGINAL = Recipe(
    "the original code without labels",
    {"mode": ("label_prior",), "recipe": ("reference",)},
    {
        "epochs": (20, "where the original's published notebook looks"),
        "batch_size": (100, "the original's"),
        "reconstruction_rate": (2e-3, "the original's"),
        "decoder_rate": (2e-3, "the original's"),
        "discriminator_rate": (4e-4, "the original's"),
        "generator_rate": (2e-3, "the original's"),
        "discriminator_steps": (1, "the original's"),
        "decay": ("none", "the original's"),
        "encoder_adam": ("shared", "the original's"),
        "classifier_weight": (0.0, "the original has none"),
        "pseudo_label_weight": (0.0, "the original has none"),
        "image_warp": (0.0, "the original has none"),
        "code_noise": (0.0, "the original has none"),
        "code_noise_decay": ("linear", "of no effect without noise"),
        "hidden_noise": (0.0, "the original has none"),
        "reduction": ("mean", "the original's"),
        "hidden": ((1000, 1000), "the original's, and the paper's"),
        "init_std": (0.01, "the original's"),
    },
)
ORIGINAL_LABELS = Recipe(
    "the original code with labels",
    {**ORIGINAL.when, "labels": ("some", "all")},
    {"discriminator_rate": (2e-3, "the original's")},
    ORIGINAL,
)
PERCEPTRONS = Recipe(
    "perceptrons without labels",
    {"mode": ("label_prior",), "recipe": ("default",)},
    {
        "decoder_rate": (3e-3, "a smaller error than with 2e-3"),
        "decay": ("linear", "the end of a training is for the fine match"),
        "code_noise": (0.2, "the discriminator cannot run ahead of a narrow q(z)"),
        "code_noise_decay": ("quadratic", "its end is for the prior's finer shape"),
    },
    ORIGINAL,
)
PERCEPTRONS_LABELS = Recipe(
    "perceptrons with labels",
    {**PERCEPTRONS.when, "labels": ("some", "all")},
    {
        "reconstruction_rate": (4e-4, "on the sum over pixels, see reduction"),
        "decoder_rate": (1.6e-3, "on the sum over pixels"),
        "discriminator_rate": (2e-3, "as the original with labels"),
        "discriminator_steps": (2, "the discriminator has ten pieces to learn"),
        "encoder_adam": ("separate", "the gradients of both phases differ in size"),
        "classifier_weight": (1.0, "codes find the piece of their label"),
        "pseudo_label_weight": (1.0, "where the classifier is sure, its answer is a label"),
        "image_warp": (0.15, "labels are not learnt by heart"),
        "hidden_noise": (0.8, "labels are not learnt by heart"),
        "code_noise_decay": ("linear", "pieces are wide enough for it"),
        "reduction": ("sum", "so that both Adams see gradients of one size"),
        "hidden": (
            (1000, 1000, 200, 200, 200, 200),
            "the last four lead what the first two made of an image onto the prior",
        ),
        "init_std": (None, "He et al., as the networks are deep"),
    },
    PERCEPTRONS,
)
MIXTURE_ALL = Recipe(
    "perceptrons for the mixture with every label",
    {**PERCEPTRONS.when, "prior": ("gaussian_mixture",), "labels": ("all",), "arch": ("mlp",)},
    {
        "epochs": (19, "as good as 20 in smaller batches"),
        "batch_size": (200, "a quarter faster, and as good; the swiss roll needs more steps"),
        "decoder_rate": (2e-3, "half as many steps"),
        "discriminator_hidden": ((300, 300), "what it learns needs no more"),
    },
    PERCEPTRONS_LABELS,
)
ROLL = Recipe(
    "perceptrons for the swiss roll without labels",
    {**PERCEPTRONS.when, "prior": ("swiss_roll",), "labels": ("none",), "arch": ("mlp",)},
    {
        "reconstruction_rate": (1.5e-4, "does not hold the encoder back from bending the plane"),
        "classifier_weight": (0.0, "no labels"),
        "pseudo_label_weight": (0.0, "no labels"),
        "image_warp": (0.0, "no labels to learn by heart"),
        "hidden_noise": (0.0, "no labels to learn by heart"),
        "code_noise": (0.4, "a curve is narrower than a square"),
        "code_noise_decay": ("quadratic", "its end is for the prior's finer shape"),
    },
    PERCEPTRONS_LABELS,
)
CONVOLUTIONS = Recipe(
    "convolutions without labels",
    {**PERCEPTRONS.when, "arch": ("conv",)},
    {
        "epochs": (40, "folders of pictures are smaller than MNIST"),
        "batch_size": (64, "more steps in a small folder"),
        "reconstruction_rate": (1e-3, "as tried out at 64 × 64"),
        "decoder_rate": (2e-3, "as tried out at 64 × 64"),
        "discriminator_rate": (1e-3, "as tried out at 64 × 64"),
        "generator_rate": (2e-4, "Radford et al."),
        "beta1": (0.5, "Radford et al."),
        "encoder_adam": ("separate", "the gradients of both phases differ in size"),
        "code_noise": (0.5, "codes of 64 dimensions lie further apart"),
        "code_noise_decay": ("linear", "there was no gain from its square"),
    },
    PERCEPTRONS,
)
CONVOLUTIONS_LABELS = Recipe(
    "convolutions with labels",
    {**CONVOLUTIONS.when, "labels": ("some", "all")},
    {
        "reconstruction_rate": (4e-4, "codes keep to their label's piece"),
        "generator_rate": (1e-3, "codes keep to their label's piece"),
        "discriminator_steps": (2, "the discriminator has several pieces to learn"),
        "classifier_weight": (1.0, "codes find the piece of their label"),
        "code_noise": (0.2, "as the perceptrons"),
    },
    CONVOLUTIONS,
)
STYLE = Recipe(
    "style",
    {"mode": ("style",), "recipe": ("default",)},
    {
        "epochs": (20, "as the others"),
        "style_dim": (8, "with the paper's 15 a line tells the label from z more often"),
        "reconstruction_rate": (1e-3, "Adam's usual"),
        "decoder_rate": (1e-3, "Adam's usual"),
        "discriminator_rate": (1e-3, "Adam's usual"),
        "generator_rate": (1e-3, "Adam's usual"),
        "decay": ("linear", "the end of a training is for the fine match"),
        "beta1": (0.5, "an Adam that follows the games"),
        "label_discriminator": (True, "so that z cannot say what the image is"),
        "image_warp": (0.0, "every image has its label, and there are many"),
        "code_noise": (1.0, "q(z) of every label comes nearer to p(z)"),
        "reduction": ("sum", "the paper's scale"),
        "hidden": ((1000, 1000), "the paper's"),
        "init_std": (None, "He et al."),
    },
)
STYLE_CONV = Recipe(
    "style with convolutions",
    {**STYLE.when, "arch": ("conv",)},
    {
        "batch_size": (64, "as without labels"),
        "reduction": ("mean", "as without labels"),
        "generator_rate": (2e-4, "Radford et al."),
        "init_std": (0.01, "as without labels"),
    },
    STYLE,
)
CLASSIFICATION = Recipe(
    "classification",
    {"mode": ("classification",), "recipe": ("default",)},
    {
        "epochs": (30, "it goes on to improve"),
        "batch_size": (400, "with labelled_share, 300 images and 100 more with a label"),
        "labelled_share": (0.25, "few labels, seen often"),
        "reconstruction_rate": (2e-4, "does not hold back what finds the kinds"),
        "decoder_rate": (1e-3, "Adam's usual"),
        "discriminator_rate": (1e-3, "Adam's usual"),
        "generator_rate": (1e-3, "Adam's usual"),
        "classification_rate": (1e-3, "Adam's usual"),
        "decay": ("linear", "the end of a training is for the fine match"),
        "beta1": (0.5, "an Adam that follows the games"),
        "kind_weight": (0.02, "more of it takes an image for its first guess for ever"),
        "style_weight": (0.02, "more of it holds back what finds the kinds"),
        "consistency_weight": (1.0, "a kind has all that warps make of its images"),
        "information_weight": (0.3, "images without a label are of one kind each"),
        "information_balance": (4.0, "Hu et al."),
        "image_warp": (0.15, "labels are not learnt by heart"),
        "image_bend": (0.05, "about one pixel"),
        "hidden_noise": (0.3, "labels are not learnt by heart"),
        "noise_decay": ("none", "few labels are learnt by heart where it falls"),
        "code_noise": (0.3, "the discriminators cannot run ahead"),
        "code_noise_decay": ("linear", "as with labels"),
        "pseudo_label_weight": (1.0, "where the encoder is sure, its answer is a label"),
        "discriminator_hidden": ((300, 300), "what they learn needs no more"),
        "input_noise": (0.0, "images are warped instead"),
        "reduction": ("sum", "the paper's scale"),
        "hidden": ((1000, 1000), "the paper's"),
        "init_std": (None, "He et al."),
        "optimizer": ("adam", "fewer epochs than SGD"),
    },
)
CLASSIFICATION_ALL = Recipe(
    "classification with every label",
    {**CLASSIFICATION.when, "labels": ("all",)},
    {
        "batch_size": (200, "every image has a label"),
        "noise_decay": ("falling", "the end is for images as they are"),
        "pseudo_label_weight": (0.0, "no image is without a label"),
    },
    CLASSIFICATION,
)
CLASSIFICATION_CONV = Recipe(
    "classification with convolutions",
    {**CLASSIFICATION.when, "arch": ("conv",)},
    {
        "batch_size": (64, "as without labels"),
        "reduction": ("mean", "as without labels"),
        "generator_rate": (2e-4, "Radford et al."),
        "init_std": (0.01, "as without labels"),
    },
    CLASSIFICATION,
)
CLASSIFICATION_CONV_ALL = Recipe(
    "classification with convolutions and every label",
    {**CLASSIFICATION_CONV.when, "labels": ("all",)},
    {
        "noise_decay": ("falling", "the end is for images as they are"),
        "pseudo_label_weight": (0.0, "no image is without a label"),
    },
    CLASSIFICATION_CONV,
)
PAPER_CLASSIFICATION = Recipe(
    "classification as the paper has it",
    {"mode": ("classification",), "recipe": ("paper",)},
    {
        "epochs": (50, "the first of its marks: 50, 500 and 5,000"),
        "optimizer": ("sgd", "section 5: plain SGD with momentum for every cost"),
        "momentum": (0.9, "of reconstruction and classification"),
        "adversarial_momentum": (0.1, "of generators and discriminators"),
        "reconstruction_rate": (0.01, "a tenth from epoch 50, a hundredth from 1,000"),
        "decoder_rate": (0.01, "as the encoder's"),
        "discriminator_rate": (0.1, "a tenth from epoch 50, a hundredth from 1,000"),
        "generator_rate": (0.1, "as the discriminators'"),
        "classification_rate": (0.1, "a tenth from epoch 50, a hundredth from 1,000"),
        "decay": ("steps", "the paper's schedule"),
        "batch_size": (200, "100 images, and 100 with a label"),
        "labelled_share": (0.5, "100 images, and 100 with a label"),
        "kind_weight": (1.0, "as far as is known"),
        "style_weight": (1.0, "as far as is known"),
        "consistency_weight": (0.0, "none in the paper"),
        "information_weight": (0.0, "none in the paper"),
        "discriminator_hidden": ((1000, 1000), "the paper's"),
        "image_bend": (0.0, "none in the paper"),
        "image_warp": (0.0, "none in the paper"),
        "hidden_noise": (0.0, "none in the paper"),
        "code_noise": (0.0, "none in the paper"),
        "pseudo_label_weight": (0.0, "none in the paper"),
        "input_noise": (0.3, "Gaussian, on the encoder's input; the clean image is rebuilt"),
        "init_std": (0.01, "the paper's"),
    },
    CLASSIFICATION,
)
PAPER_CLASSIFICATION_ALL = Recipe(
    "classification with every label as the paper has it",
    {**PAPER_CLASSIFICATION.when, "labels": ("all",)},
    {"batch_size": (100, "the paper's")},
    PAPER_CLASSIFICATION,
)
REDUCTION = Recipe(
    "reduction",
    {"mode": ("reduction",), "recipe": ("default",)},
    {
        "epochs": (30, "it goes on to improve"),
        "batch_size": (250, "H(y) is that of a batch"),
        "clusters": (20, "the paper's, without labels"),
        "reconstruction_rate": (2e-4, "does not hold back what finds the kinds"),
        "decoder_rate": (1e-3, "Adam's usual"),
        "discriminator_rate": (1e-3, "Adam's usual"),
        "generator_rate": (1e-3, "Adam's usual"),
        "decay": ("linear", "the end of a training is for the fine match"),
        "beta1": (0.5, "an Adam that follows the games"),
        "kind_weight": (0.02, "more of it takes an image for its first guess for ever"),
        "style_weight": (0.02, "more of it holds back what finds the kinds"),
        "consistency_weight": (1.0, "a kind has all that warps make of its images"),
        "information_weight": (0.3, "more of it takes an image for its first guess for ever"),
        "information_balance": (4.0, "Hu et al."),
        "image_warp": (0.15, "as the others with labels"),
        "image_bend": (0.05, "about one pixel"),
        "hidden_noise": (0.3, "with much more, all kinds remain alike"),
        "noise_decay": ("none", "as with few labels"),
        "code_noise": (0.3, "the discriminators cannot run ahead"),
        "discriminator_hidden": ((300, 300), "what they learn needs no more"),
        "reduction": ("sum", "the paper's scale"),
        "hidden": ((1000, 1000), "the paper's; for clusters its 3,000 take six times as long"),
        "init_std": (None, "He et al."),
    },
)
REDUCTION_LABELS = Recipe(
    "reduction with some labels",
    {**REDUCTION.when, "labels": ("some",)},
    {
        "batch_size": (400, "with labelled_share, 300 images and 100 more with a label"),
        "labelled_share": (0.25, "few labels, seen often"),
        "pseudo_label_weight": (1.0, "where the encoder is sure, its answer is a label"),
    },
    REDUCTION,
)
REDUCTION_CONV = Recipe(
    "reduction with convolutions",
    {**REDUCTION.when, "arch": ("conv",)},
    {"reduction": ("mean", "as without labels"), "init_std": (0.01, "as without labels")},
    REDUCTION,
)
REDUCTION_LABELS_CONV = Recipe(
    "reduction with some labels and convolutions",
    {**REDUCTION_LABELS.when, "arch": ("conv",)},
    {**REDUCTION_LABELS.options, **REDUCTION_CONV.options},
    REDUCTION,
)
CLUSTERING = Recipe(
    "clustering",
    {"mode": ("clustering",), "recipe": ("default",)},
    {"clusters": (16, "the paper's, besides 30"), "style_dim": (5, "the paper's")},
    REDUCTION,
)
CLUSTERING_CONV = Recipe(
    "clustering with convolutions",
    {**CLUSTERING.when, "arch": ("conv",)},
    {**CLUSTERING.options, **REDUCTION_CONV.options},
    REDUCTION,
)
TABLE = [
    *(ORIGINAL, ORIGINAL_LABELS, PERCEPTRONS, PERCEPTRONS_LABELS, MIXTURE_ALL, ROLL),
    *(CONVOLUTIONS, CONVOLUTIONS_LABELS),
    *(STYLE, STYLE_CONV),
    *(CLASSIFICATION, CLASSIFICATION_ALL, CLASSIFICATION_CONV, CLASSIFICATION_CONV_ALL),
    *(PAPER_CLASSIFICATION, PAPER_CLASSIFICATION_ALL),
    *(CLUSTERING, CLUSTERING_CONV, REDUCTION, REDUCTION_LABELS),
    *(REDUCTION_CONV, REDUCTION_LABELS_CONV),
]
# Those of modes that are the user's own.
ADDED: list[Recipe] = []


def document() -> str:
    """docs/recipes.md: every recipe with the reason for each value."""
    parts = [DOCUMENT]
    for recipe in TABLE:
        when = "; ".join(f"{name} {' or '.join(values)}" for name, values in recipe.when.items())
        base = f" The rest is as *{recipe.base.title}*." if recipe.base else ""
        rows = [["setting", "value", "why"], ["---"] * 3]
        for name, (_, reason) in recipe.options.items():
            rows.append([f"`{option_name(name)}`", _told(recipe.values(), name), reason])
        parts.append(f"## {recipe.title[0].upper()}{recipe.title[1:]}\n\nFor {when}.{base}\n")
        parts.append(_table(rows))
    return "\n".join(parts)


DOCUMENT = """# Recipes

Where hyper-parameters start. A training takes the one recipe that fits it and names most
conditions; it says which at its start, and config.json keeps its name. Any option given beside a
recipe wins over it, and what a recipe does not name has the default that `python -m aae_mx.train
--mode MODE --help` shows. This page is made by `python -m aae_mx.recipes`.
"""


def _told(values, name):
    value = values.get(name, "")
    return "by layer (He et al.)" if (name, value) == ("init_std", None) else option_text(value)


def _table(rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


if __name__ == "__main__":
    print(document(), end="")
