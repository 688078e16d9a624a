"""Rows of different lengths in little room: in memory, or, where that would take too much, in a temporary file."""

import os
import tempfile
import weakref
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from kerascli import files
from kerascli.ops.ir import Array

KEPT = 1 << 26
"""Bytes up to which rows are kept in memory."""


class Ragged:
    """Rows of one dtype, one after the other.

    The file has no name: it is gone with the last process that has it open. Forked processes may read it too.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self._parts: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._lengths = array("q")
        self._ends: Array = np.zeros(1, np.int64)
        self.nbytes = 0

    def add(self, rows: Sequence[Array | bytes]) -> None:
        """Further rows; `finish` comes after the last."""
        self._lengths.extend(map(len, rows))
        part = b"".join(row if isinstance(row, bytes) else row.tobytes() for row in rows)
        self.nbytes += len(part)
        self._parts.append(part)
        if self.nbytes > KEPT:
            self._write()

    def _write(self) -> None:
        """Put what is in memory into the file."""
        with files.writing(Path(tempfile.gettempdir())):
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="kerascli-")  # noqa: SIM115 - as long as this object is
                weakref.finalize(self, self._file.close)
            for part in self._parts:
                self._file.write(part)
            self._file.flush()
        self._parts.clear()

    def finish(self) -> None:
        """No more rows come."""
        self._ends = np.cumsum([0, *self._lengths]) * self.dtype.itemsize
        self._lengths = array("q")
        self._parts = [b"".join(self._parts)]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def take(self, rows: Array) -> list[Array]:
        """The rows of these numbers."""
        starts, ends = self._ends[rows].tolist(), self._ends[rows + 1].tolist()
        return [np.frombuffer(self._bytes(start, end), self.dtype) for start, end in zip(starts, ends, strict=True)]

    def _bytes(self, start: int, end: int) -> bytes:
        if self._file is None:
            return self._parts[0][start:end]
        if hasattr(os, "pread"):  # leaves alone where the file stands, which processes share
            return os.pread(self._file.fileno(), end - start, start)
        return np.memmap(self._file, np.uint8, "r", start, (end - start,)).tobytes() if end > start else b""
