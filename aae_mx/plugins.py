"""Priors and modes of the user's own: a Python file that defines them is loaded by its name.

Code comes from the person at the keyboard only: a run names its prior and mode, never a file.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Optional

from aae_mx.errors import AAEError, InputError
from aae_mx.hints import PathLike

_loaded: set[Path] = set()


def load_plugin(path: PathLike) -> ModuleType:
    """Run the Python file ``path``: what it derives from Prior and Mode can then be used by name.

    Returns the module; a file that was loaded before is not run again. Raises InputError, naming
    the file and the line, for one that is not there or fails.
    """
    path = Path(path)
    name = "aae_mx_plugin_" + "".join(c if c.isalnum() else "_" for c in path.stem)
    where = path.absolute()
    if where in _loaded:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, where)
    if path.suffix != ".py" or not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"{path}: expected a Python file (.py) with priors or modes")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look for it there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except AAEError:
        raise
    except Exception as error:
        frame = error.__traceback__
        lines: list[Optional[int]] = [None]
        while frame is not None:
            if frame.tb_frame.f_code.co_filename == str(where):
                lines.append(frame.tb_lineno)
            frame = frame.tb_next
        at = getattr(error, "lineno", None) or lines[-1]
        at = f", line {at}" if at else ""
        raise InputError(f"{path}{at}: {type(error).__name__}: {error}") from error
    _loaded.add(where)
    return module
