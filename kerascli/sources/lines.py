"""Texts as data: bytes decoded, and files of one text a line for a network that reads nothing else."""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.preprocessing import Array, Preprocessing, Raw

LONGEST_LINE = 1 << 24


class Sample(Protocol):
    """What an input is."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...


def decoded(values: Array) -> Array:
    """Texts of any length; bytes are UTF-8."""
    if values.dtype.kind != "S":
        return values
    try:
        found: Array = np.strings.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        message = f"a text is not UTF-8: {bytes(error.object[:40])!r}"
        raise Failure(Problem("E402", message, help="store str arrays")) from None
    return found


class Lines:
    """A stream of text whose first line was looked at already."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.name = name
        self._stream = stream
        self.first = self._next()
        self._kept = True

    def readline(self, size: int = -1) -> str:
        if self._kept:
            self._kept = False
            return self.first
        return self._stream.readline(size)

    def blocks(self, shape: tuple[int, ...], rows: int) -> Iterator[Array]:
        """One text a line, in blocks."""
        lines = iter(self._line, None)
        count = 0
        while block := list(islice(lines, rows)):
            count += len(block)
            yield np.array(block, np.dtypes.StringDType()).reshape(-1, *shape)
        if not count:
            raise Failure(Problem("E403", f"`{self.name}` has no samples", Path(self.name)))

    def _line(self) -> str | None:
        line = self.readline(LONGEST_LINE) if self._kept else self._next()
        return line.rstrip("\r\n") if line else None

    def _next(self) -> str:
        try:
            line = self._stream.readline(LONGEST_LINE)
        except UnicodeDecodeError as error:
            message = f"`{self.name}` is not UTF-8 text: byte {error.object[error.start]:#04x}"
            raise Failure(Problem("E402", message, Path(self.name), help="save it as UTF-8")) from None
        if len(line) == LONGEST_LINE:
            message = f"`{self.name}` has a line of more than {LONGEST_LINE:,} characters"
            raise Failure(Problem("E407", message, Path(self.name), help="is this a text file?"))
        return line

    def is_table_with(self, column: str) -> bool:
        """Whether the first line is a header that names the column."""
        rows: Any = (next(csv.reader([self.first], delimiter=sign), ()) for sign in (",", ";", "\t", "|"))
        return any(column in [cell.strip() for cell in row] for row in rows)


@contextmanager
def open_lines(path: str, stdin: TextIO) -> Iterator[Lines]:
    """A text file, or standard input for `-`."""
    if path == "-":
        yield Lines(stdin, "<stdin>")
        return
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            yield Lines(stream, path)
    except OSError as error:
        raise cannot_read(Path(path), error) from None


def only_text(preprocessing: Preprocessing, specs: Mapping[str, Sample]) -> str | None:
    """The name of a network's only input where that is one text a sample; else None."""
    name, info = next(iter(specs.items()))
    plain = len(specs) == 1 and info.dtype == "string" and info.shape in ((), (1,))
    return name if plain and all(isinstance(feature, Raw) for feature in preprocessing.features) else None
