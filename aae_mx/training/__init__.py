"""Training: the loop, what its steps work on, and the optimizers. It knows no mode."""

_HOME = {"fit": "loop", "resume": "loop", "seconds_per_image": "loop"}


def __getattr__(name):
    # On first use, so that the batches can be had without the loop.
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"aae_mx.training.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
