"""Files of one text a line, for a network that reads nothing else."""

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO

from kerascli.encoders import Raw, Text
from kerascli.errors import Failure, Problem
from kerascli.preprocessing import Preprocessing
from kerascli.sources.textfile import lines, open_text


class Sample(Protocol):
    """What an input is."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...


class Lines:
    """A stream of text whose first line was looked at already."""

    def __init__(self, stream: TextIO, name: str, shown: str = "") -> None:
        self.name, self.shown = name, shown
        self._stream = stream
        self.first = next(lines(stream, name), "")
        self._kept = True

    def readline(self, size: int = -1) -> str:
        if self._kept:
            self._kept = False
            return self.first
        return self._stream.readline(size)

    def blocks(self, rows: int) -> Iterator[list[str]]:
        """One text a line, in blocks."""
        texts = (line.rstrip("\r\n") for line in lines(self, self.name))
        count = 0
        while block := list(islice(texts, rows)):
            count += len(block)
            yield block
        if not count:
            raise Failure(Problem("E403", f"`{self.name}` has no samples", Path(self.name)))

    def is_table_with(self, column: str) -> bool:
        """Whether the first line is a header that names the column, or a JSON object that has it."""
        rows: Any = (next(csv.reader([self.first], delimiter=sign), ()) for sign in (",", ";", "\t", "|"))
        if any(column in [cell.strip() for cell in row] for row in rows):
            return True
        try:
            return self.is_json and column in json.loads(self.first)
        except (ValueError, RecursionError):
            return False

    @property
    def is_json(self) -> bool:
        """Whether the first line begins a JSON object."""
        return self.first.lstrip("\ufeff \t").startswith("{")


@contextmanager
def open_lines(path: str, stdin: TextIO, encoding: str | None = None) -> Iterator[Lines]:
    """A text file, or standard input for `-`."""
    if path != "-":
        with open_text(Path(path), encoding) as file:
            yield Lines(file.stream, path, file.shown)
        return
    try:
        yield Lines(stdin, "<stdin>")
    except UnicodeDecodeError as error:
        message = f"standard input is not UTF-8 text: byte {error.object[error.start]:#04x}"
        raise Failure(Problem("E402", message, help="send it as UTF-8")) from None


def only_text(preprocessing: Preprocessing, specs: Mapping[str, Sample]) -> str | None:
    """The name of a network's only input where that is made of one text a sample; else None."""
    name, info = next(iter(specs.items()))
    features = preprocessing.features
    stored = info.dtype == "string" and info.shape in ((), (1,)) and all(isinstance(each, Raw) for each in features)
    encoded = len(features) == 1 and isinstance(features[0], Text)
    return name if len(specs) == 1 and (stored or encoded) else None
