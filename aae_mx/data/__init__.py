"""The images to train on: from the package, IDX files, OpenML, a folder of pictures or arrays."""

from aae_mx.data.dataset import (
    Dataset,
    check_whole,
    holds_something,
    labelled_subset,
    load_dataset,
    load_others,
    noun,
    on_disk,
    parts,
    release_pages,
    to_unit,
)

__all__ = [
    "Dataset",
    "check_whole",
    "holds_something",
    "labelled_subset",
    "load_dataset",
    "load_others",
    "noun",
    "on_disk",
    "parts",
    "release_pages",
    "to_unit",
]
