"""The history of a run: history.csv, one row of numbers per epoch."""

from __future__ import annotations

import csv
from pathlib import Path

from aae_mx.errors import InputError
from aae_mx.files import read_text
from aae_mx.hints import PathLike
from aae_mx.text import shortened

HISTORY = "history.csv"
# More than this project ever writes: some 50,000 epochs. Its rows take forty times as much memory.
MAX_HISTORY_BYTES = 10**7
# Columns of every run.
ALWAYS = ("epoch", "reconstruction_loss", "seconds")
# What is computed has single precision, and figures have to span it.
MAX_CELL = 1e30


def read_history(path: PathLike) -> dict[str, list[float]]:
    """The history of a run: {column: list of floats}, one entry per finished epoch."""
    rows = read_rows(path)
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else [])}


def read_rows(path: PathLike) -> list[dict[str, str]]:
    """The rows of a run's history, {column: text}; every text is a number."""
    file = Path(path) / HISTORY
    try:
        text = read_text(Path(path), HISTORY, MAX_HISTORY_BYTES)
        reader = csv.DictReader(text.splitlines(), strict=True)
        names = list(reader.fieldnames or ())
        if not set(ALWAYS) <= set(names) or len(set(names)) < len(names):
            raise ValueError(f"its first line does not name columns, as {', '.join(ALWAYS)}")
        rows = []
        for number, row in enumerate(reader, start=1):
            if None in row or None in row.values():
                raise ValueError("a row has more or fewer columns than the first line")
            if row["epoch"] != str(number):
                raise ValueError(f"row {number} is of epoch {shortened(row['epoch'], 20)}")
            for name, cell in row.items():
                if abs(float(cell)) > MAX_CELL:
                    raise ValueError(f"{name} of epoch {number} is beyond reason")
            rows.append(row)
        return rows
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def cell(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
