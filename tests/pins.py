"""What is trained by default: a check sum of the settings of every valid combination.

    python tests/pins.py  # writes pins.json anew, once a change of defaults is meant

A change of a recipe is a change of what the same command trains, so it must not happen unseen.
"""

import hashlib
import itertools
import json
from pathlib import Path

from aae_mx import recipes
from aae_mx.config import Config
from aae_mx.errors import ConfigError

PINS = Path(__file__).with_name("pins.json")
BUILT_IN = ("label_prior", "style", "classification", "clustering", "reduction")
PRIORS = ("gaussian", "gaussian_mixture", "swiss_roll", "uniform")


def pins():
    """{combination: check sum of its settings}, of all combinations that are valid."""
    found = {}
    for mode in BUILT_IN:
        for combination in itertools.product(
            recipes.names_for(mode), PRIORS, ("none", 100, "all"), ("mlp", "conv"), (None, "/x")
        ):
            names = ("recipe", "prior", "labels", "arch", "images")
            given = dict(zip(names, combination))
            if mode == "clustering":
                # It has no such setting.
                if given.pop("labels") != "none":
                    continue
            try:
                config = Config(mode=mode, **given)
            except ConfigError:
                continue
            settings = json.dumps(config.to_dict(), sort_keys=True)
            name = " ".join(map(str, (mode, *combination)))
            found[name] = hashlib.sha256(settings.encode()).hexdigest()[:12]
    return found


if __name__ == "__main__":
    PINS.write_text(json.dumps(pins(), indent=0) + "\n")
