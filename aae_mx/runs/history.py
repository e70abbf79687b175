"""The history of a run: history.csv, one row of numbers per epoch."""

from __future__ import annotations

import csv
from pathlib import Path

from aae_mx.errors import InputError
from aae_mx.files import read_text
from aae_mx.hints import PathLike

HISTORY = "history.csv"
# More than this project ever writes.
MAX_HISTORY_BYTES = 10**8


def read_history(path: PathLike) -> dict[str, list[float]]:
    """The history of a run: {column: list of floats}, one entry per finished epoch."""
    rows = read_rows(path)
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else [])}


def read_rows(path: PathLike) -> list[dict[str, str]]:
    """The rows of a run's history, {column: text}; every text is a number."""
    file = Path(path) / HISTORY
    try:
        text = read_text(Path(path), HISTORY, MAX_HISTORY_BYTES)
        rows = list(csv.DictReader(text.splitlines(), strict=True))
        for row in rows:
            if None in row or None in row.values():
                raise ValueError("a row has more or fewer columns than the first line")
            for cell in row.values():
                float(cell)
            row["epoch"]  # noqa: B018 - a KeyError if there is none
        return rows
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def cell(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
