"""Arrays of an HDF5 file: small ones are read whole, the rows of large ones while the network trains."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from kerascli import hdf5
from kerascli.component import Example
from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.ops.ir import Array
from kerascli.sources.base import digest_of_files
from kerascli.sources.named_arrays import Archive, Header, _NamedArrays
from kerascli.sources.rows import Samples, Streamed

KEPT = 1 << 26
"""Bytes of an array up to which it is kept in memory."""
_DIGESTED = 1 << 26
"""Bytes of a file up to which its fingerprint is that of all of them."""
_PLACES, _BLOCK = 64, 1 << 20
"""Of a larger one: that many blocks of that size."""


class Hdf5Archive:
    """An open HDF5 file."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(hdf5.names(self._file))

    def header(self, name: str) -> Header:
        """Shape and dtype; what is no plain array of numbers is refused."""
        return Header(self._dataset(name).shape, self._dataset(name).dtype)

    def read(self, name: str) -> Samples:
        found = self._dataset(name)
        if found.nbytes <= KEPT:
            return np.asarray(found[()])
        return Streamed(found.shape, found.dtype, RowsOf(self.path, name))

    def _dataset(self, name: str) -> h5py.Dataset:
        found = hdf5.follow(self._file, name)
        why = hdf5.fault(found) if isinstance(found, h5py.Dataset) else "is no array of this file"
        if why:
            help = "store plain arrays of numbers; labels as integers"
            raise Failure(Problem("E402", f"array `{name}` of `{self.path.name}` {why}", self.path, help=help))
        assert isinstance(found, h5py.Dataset)
        return found


@dataclass(frozen=True)
class RowsOf:
    """Reads rows of one array. The file is open no longer than that, so that processes do not share it."""

    path: Path
    name: str

    def __call__(self, rows: Array) -> Array:
        with open_hdf5(self.path) as archive:
            found = archive._dataset(self.name)
            values = np.empty((len(rows), *found.shape[1:]), found.dtype)
            order = np.argsort(rows, kind="stable")
            wanted = rows[order]
            first = np.flatnonzero(np.diff(wanted, prepend=-2) != 1)  # neighbours are read at once
            for start, stop in zip(first, [*first[1:], len(rows)], strict=True):
                values[order[start:stop]] = found[wanted[start] : wanted[stop - 1] + 1]
            return values


@contextmanager
def open_hdf5(path: Path) -> Iterator[Hdf5Archive]:
    """Open a file; whatever is wrong with it becomes a problem."""
    try:
        with h5py.File(path, "r") as file:
            yield Hdf5Archive(path, file)
    except FileNotFoundError as error:
        raise cannot_read(path, error) from None
    except (PermissionError, IsADirectoryError) as error:
        raise cannot_read(path, error) from None
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        message = f"`{path}` is damaged or no HDF5 file: {error or type(error).__name__}"
        raise Failure(Problem("E402", message, path, help="write it with h5py")) from None


class Hdf5(_NamedArrays):
    """Arrays of an HDF5 file, by name; `group/x_train` is one in a group.

    Arrays of more than 64 MiB stay in the file: batches are read while the network trains, so they may be larger than
    memory. Shuffling reads single samples from everywhere: store such arrays uncompressed, or in chunks of one sample.
    Texts, references, links into other files and virtual arrays are refused.
    """

    examples = (Example({"path": "data.h5"}),)

    def open(self, path: Path) -> AbstractContextManager[Archive]:
        return open_hdf5(path)

    def fingerprint(self, base: Path, seed: int) -> str:
        """Of the whole file; of a large one of its size and a part of it, for its bytes would take minutes."""
        path = base / self.path
        try:
            size = path.stat().st_size
            if size <= _DIGESTED:
                return digest_of_files([path])
            digest = hashlib.sha256(str(size).encode())
            with path.open("rb") as stream:
                for place in range(_PLACES):
                    stream.seek((size - _BLOCK) * place // (_PLACES - 1))
                    digest.update(stream.read(_BLOCK))
        except OSError as error:
            raise cannot_read(path, error) from None
        return f"sha256:{digest.hexdigest()}"
