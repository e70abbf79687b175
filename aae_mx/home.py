"""A home directory for a user that has none, as a mere number in a container has."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def give_home() -> None:
    """Set HOME to a directory of this user's own in the system's temporary one.

    matplotlib, scikit-learn and this package keep files there, and fail without. If there is no
    such place, HOME stays unset.
    """
    try:
        path = Path(tempfile.gettempdir(), f"aae_mx-{os.getuid()}")
        path.mkdir(mode=0o700, exist_ok=True)
        there = path.lstat()
    except OSError:
        return
    # Or somebody else has made it, so that files of his are read.
    own = stat.S_ISDIR(there.st_mode) and there.st_uid == os.getuid()
    if own and not there.st_mode & 0o077:
        os.environ["HOME"] = str(path)
