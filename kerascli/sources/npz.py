"""NumPy archives: read without ever unpickling, their headers before their data."""

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import numpy as np

from kerascli.component import Example
from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.ops.ir import Array
from kerascli.sources.base import digest_of_files
from kerascli.sources.named_arrays import Archive, Header, _NamedArrays

_MOST_INFLATION = 1100
"""Deflate cannot shrink data further than this: a header that claims more is a lie."""


class NpzArchive:
    """An open .npz file."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path = path
        self._file = file
        self._members = {
            info.filename.removesuffix(".npy"): info for info in file.infolist() if info.filename.endswith(".npy")
        }
        self.names = tuple(self._members)

    def header(self, name: str) -> Header:
        """Shape and dtype; arrays of Python objects are refused, they would have to be unpickled."""
        info = self._members[name]
        with self._file.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
            offset = stream.tell()
        if dtype.hasobject:
            raise Failure(
                Problem(
                    "E402",
                    f"array `{name}` of `{self.path.name}` holds pickled objects, which could run any program",
                    self.path,
                    help="store plain arrays of numbers",
                )
            )
        if offset + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"array `{name}` is not as long as its header says")
        if info.file_size > _MOST_INFLATION * info.compress_size + 4096:
            raise ValueError(f"array `{name}` claims more bytes than can be in the file")
        return Header(shape, dtype)

    def read(self, name: str) -> Array:
        self.header(name)
        with self._file.open(self._members[name]) as stream:
            array: Array = np.lib.format.read_array(stream, allow_pickle=False)
        return array


@contextmanager
def open_archive(path: Path) -> Iterator[NpzArchive]:
    """Open an archive; whatever is wrong with the file becomes a problem."""
    try:
        with zipfile.ZipFile(path) as file:
            yield NpzArchive(path, file)
    except FileNotFoundError as error:
        raise cannot_read(path, error) from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        struct.error,
        MemoryError,
    ) as error:
        raise Failure(
            Problem(
                "E402",
                f"`{path}` is damaged or no .npz file: {error or type(error).__name__}",
                path,
                help=_mend(path),
            )
        ) from None
    except OSError as error:
        raise cannot_read(path, error) from None


def _mend(path: Path) -> str:
    """A zip archive has its list of contents at its end."""
    with suppress(OSError), path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(path):
            return "it begins as one, and its end is missing: copy or download it again"
    return "write it with numpy.savez or numpy.savez_compressed"


class Npz(_NamedArrays):
    """Arrays of an .npz file, by name.

    Validation and test arrays may be absent. Arrays that would have to be unpickled are refused. Integer targets are
    read when shapes are asked for, to count their classes; of everything else the header suffices.
    """

    examples = (Example({"path": "data.npz"}),)

    def open(self, path: Path) -> AbstractContextManager[Archive]:
        return open_archive(path)

    def fingerprint(self, base: Path, seed: int) -> str:
        return digest_of_files([base / self.path])
