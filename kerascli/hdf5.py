"""What may be read from an HDF5 file: plain arrays of numbers that are in this very file.

HDF5 can point into other files, hold references and texts of any length, and claim chunks larger than memory; a file
that somebody else made is trusted with none of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import h5py

CHUNK = 1 << 16
"""Elements of a chunk that are taken without a question."""
_DEEPEST = 4
_MOST_NAMES = 1000


def follow(parent: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """Step by step through hard links alone: soft and external links could lead anywhere."""
    here: Any = parent
    for step in name.split("/"):
        if not isinstance(here, h5py.Group) or not step or step == ".":
            return None
        if not isinstance(here.get(step, getlink=True), h5py.HardLink):
            return None
        here = here[step]
    return here


def group(parent: h5py.Group, name: str) -> h5py.Group | None:
    found = follow(parent, name)
    return found if isinstance(found, h5py.Group) else None


def dataset(parent: h5py.Group, name: str) -> h5py.Dataset | None:
    """An array that can be read without a risk."""
    found = follow(parent, name)
    return found if isinstance(found, h5py.Dataset) and not fault(found) else None


def fault(found: h5py.Dataset) -> str:
    """Why an array is not read; empty where it may be."""
    if found.external or found.is_virtual:
        return "keeps its values in other files"
    if found.shape is None:
        return "is empty"
    if found.chunks and prod(found.chunks) > 4 * max(found.size, CHUNK):
        return "has chunks larger than itself"  # HDF5 would allocate the whole chunk for one element of it
    if found.dtype.kind == "O":
        return "holds texts, references or lists of any length"
    if found.dtype.kind not in "fiub":
        return f"holds {found.dtype}, not numbers"
    return ""


def names(parent: h5py.Group, prefix: str = "", depth: int = 1) -> Iterator[str]:
    """The paths of all arrays that hard links lead to, a few levels deep."""
    for count, name in enumerate(parent):
        if count >= _MOST_NAMES:
            return
        found = follow(parent, name)
        if isinstance(found, h5py.Dataset):
            yield prefix + name
        elif isinstance(found, h5py.Group) and depth < _DEEPEST:
            yield from names(found, f"{prefix}{name}/", depth + 1)
