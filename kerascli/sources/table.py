"""Tables of any format: rows in batches, looked over in one pass, then read column by column.

Every fault is named by file, row and column, and no more than a batch of cells is held at a time.
"""

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kerascli.columns import Column, Kind, NumericColumn, TextColumn
from kerascli.dates import seconds
from kerascli.errors import Failure, Problem, Span
from kerascli.ops.ir import Array
from kerascli.sources.cells import Cells, Spoilt

MOST_CATEGORIES = 1_000
"""A column of texts with more distinct values than this is no category unless the spec says so."""
MOST_TEXTS = 10_000
"""Distinct values that a declared category or a target may have."""
BATCH = 4096
MOST_PROBLEMS = 10
NUMERIC = Kind("numeric")
_NOT = {
    "numeric": "is not a number",
    "integer": "is no whole number of 32 bits",
    "date": "is no date",
    "labels": "is no list of labels",
}


@dataclass
class Batch:
    """Some rows of a table."""

    first: int
    """Rows before it."""
    lines: list[int]
    """Of each row: the line it begins in, or its number where the file has no lines."""
    columns: Mapping[str, Sequence[Any]]
    """The cells of each column that these rows have."""


class Table(Protocol):
    """A table that is being read from the top."""

    @property
    def name(self) -> str: ...

    @property
    def header(self) -> tuple[str, ...] | None:
        """The columns; None where each row names its own."""
        ...

    @property
    def cells(self) -> Cells: ...

    @property
    def shown(self) -> str:
        """What was found out about the file, such as its encoding."""
        ...

    def batches(self, names: Collection[str] | None = None) -> Iterator[Batch]:
        """The next rows; of these columns where it spares work to know them."""
        ...

    def place(self, line: int) -> Span | Path: ...


class Format(Protocol):
    """How files of a kind are opened."""

    def __hash__(self) -> int: ...

    def open(self, path: Path) -> AbstractContextManager[Table]:
        """Faults of the file become problems, wherever in the block they show."""
        ...


@dataclass
class ColumnSurvey:
    """What one pass over the rows tells of a column."""

    most_texts: int
    numeric: bool = True
    whole: bool = True
    """Whether every number is an integer."""
    other: tuple[int, Span | Path, str] | None = None
    """Row, place and text of the first value that is no number."""
    spoilt: Spoilt = ""
    """What keeps a column that is not numeric from being so, where it nearly is."""
    dates: bool = True
    """Whether every value is a date as ISO 8601 writes it."""
    times: bool = False
    """Whether some date has a time of the day."""
    present: int = 0
    """Rows that have a value, of a column that is not numeric."""
    words: int = 0
    """In all these values."""
    texts: set[str] | None = field(default_factory=set)
    """The distinct texts; None once there are too many."""
    types: dict[str, tuple[int, Span | Path]] = field(default_factory=dict)
    """The types that the cells have, where they have any, with the row and place of the first of each."""

    def add(self, cells: Sequence[Any], batch: Batch, table: Table) -> None:
        reader = table.cells
        for name, place in reader.types(cells).items():
            self.types.setdefault(name, (batch.first + place + 1, table.place(batch.lines[place])))
        if self.numeric:
            self._look_at_numbers(cells, batch, table)
        if self.numeric and self.texts is None:
            return
        texts, _ = reader.read(Kind("labels"), cells)
        present = [text for text in texts if text]
        if self.texts is not None:
            self.texts.update(present)
            if len(self.texts) > self.most_texts:
                self.settle(reader)
                self.texts = None
        if self.numeric:
            return
        self.present += len(present)
        self.words += sum(text.count(" ") + 1 for text in present)
        self.dates = self.dates and self._are_dates(present)

    def settle(self, reader: Cells) -> None:
        """Once all distinct texts are known, or too many: whether they are nearly numbers."""
        if self.texts is not None:
            self.spoilt = "words" if self.numeric else reader.spoilt(self.texts)

    def _are_dates(self, texts: Sequence[str]) -> bool:
        try:
            clocks = [seconds(text) % 86400 for text in texts]
        except (ValueError, OverflowError):
            return False
        self.times = self.times or any(clocks)
        return True

    def _look_at_numbers(self, cells: Sequence[Any], batch: Batch, table: Table) -> None:
        values, wrong = table.cells.read(NUMERIC, cells)
        if wrong is not None:
            self.numeric = False
            self.dates = self.texts == set()  # the numbers before are none
            self.other = (batch.first + wrong + 1, table.place(batch.lines[wrong]), table.cells.shown(cells[wrong]))
        elif self.whole:
            found = np.asarray(values, np.float64)
            present = found[~np.isnan(found)]
            self.whole = bool((np.isfinite(present) & (np.floor(present) == present)).all())


@dataclass(frozen=True)
class Survey:
    """One pass over a table: its columns in order, and the number of rows."""

    name: str
    rows: int
    columns: dict[str, ColumnSurvey]
    shown: str = ""
    headed: bool = True
    """Whether every row has every column."""


def survey(path: Path, form: Format, generous: Collection[str] = ()) -> Survey:
    """Read a table once; the columns in `generous` may have many distinct texts."""

    def begun(name: str) -> ColumnSurvey:
        return ColumnSurvey(MOST_TEXTS if name in generous else MOST_CATEGORIES)

    with form.open(path) as table:
        columns = {name: begun(name) for name in table.header or ()}
        rows = 0
        for batch in table.batches():
            rows += len(batch.lines)
            for name, cells in batch.columns.items():
                columns.setdefault(name, begun(name)).add(cells, batch, table)
        if not rows:
            raise Failure(Problem("E407", f"`{path}` has column names but no rows", path))
        for column in columns.values():
            column.settle(table.cells)
        return Survey(str(path), rows, columns, table.shown, table.header is not None)


@dataclass(frozen=True)
class Columns:
    """The wanted columns of a table, whole, and the line of every row."""

    name: str
    lines: Array
    by_name: dict[str, Column]
    in_lines: bool = True
    """Whether the rows stand in lines of a text file."""
    first: int = 0
    """Rows of the table before these."""

    def place(self, row: int) -> Span | Path:
        return Span(self.name, int(self.lines[row]), 1) if self.in_lines else Path(self.name)

    def number(self, row: int) -> int:
        """The row's number in the table, from 1."""
        return self.first + row + 1

    def __len__(self) -> int:
        return len(self.lines)


def read_columns(path: Path, form: Format, kinds: Mapping[str, Kind]) -> Columns:
    """All rows of these columns."""
    with form.open(path) as table:
        return gather(table, kinds)


def blocks(path: Path, form: Format, kinds: Mapping[str, Kind]) -> Iterator[Columns]:
    """All rows of these columns, some thousand at a time."""
    with form.open(path) as table:
        while len(found := gather(table, kinds, BATCH)):
            yield found


def gather(table: Table, kinds: Mapping[str, Kind], most_rows: int | None = None) -> Columns:
    """The next rows of an open table, at most about `most_rows`; zero rows at its end."""
    require_columns(table, kinds)
    readers = {name: _Reader(name, kind) for name, kind in kinds.items()}
    lines: array[int] = array("q")
    problems: list[Problem] = []
    first = 0
    for batch in table.batches(kinds):
        first = first if lines else batch.first
        if not batch.first and not {*batch.columns} & {*kinds}:
            require_columns(table, kinds, batch.columns)
        lines.extend(batch.lines)
        for name, reader in readers.items():
            cells = batch.columns.get(name) or list(repeat(None, len(batch.lines)))
            problems += reader.add(cells, batch, table)
        if len(problems) >= MOST_PROBLEMS or (most_rows and len(lines) >= most_rows):
            break
    if problems:
        raise Failure(problems)
    columns = {name: reader.column() for name, reader in readers.items()}
    return Columns(table.name, np.array(lines, np.int64), columns, isinstance(table.place(1), Span), first)


class _Reader:
    """A column that is being read."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name, self.kind = name, kind
        self.values: array[float] = array("d" if kind.makes_numbers else "q")
        self.codes: dict[str, int] = {}

    def add(self, cells: Sequence[Any], batch: Batch, table: Table) -> list[Problem]:
        values, wrong = table.cells.read(self.kind, cells)
        if isinstance(values, np.ndarray):
            self.values.frombytes(values.tobytes())
        else:
            codes = self.codes
            self.values.extend([-1 if text is None else codes.setdefault(text, len(codes)) for text in values])
        return [] if wrong is None else [self._problem(cells[wrong], batch, wrong, table)]

    def _problem(self, cell: Any, batch: Batch, row: int, table: Table) -> Problem:
        fault = f"`{table.cells.shown(cell)}` {_NOT.get(self.kind.name, 'is a list or an object, and no text')}"
        if self.kind.name == "integer" and table.cells.read(Kind("category"), [cell])[0] == [None]:
            fault = "the value is missing"
        if self.kind.name == "date":
            fault += (
                f" of the format `{self.kind.format}`" if self.kind.format else " as ISO 8601 writes it (2031-12-24)"
            )
        help = _HELP.get(self.kind.name, "")
        message = f"row {batch.first + row + 1}, column `{self.name}`: {fault}"
        return Problem("E408", message, table.place(batch.lines[row]), help=help)

    def column(self) -> Column:
        if self.kind.makes_numbers:
            return NumericColumn(np.array(self.values, np.float64))
        return TextColumn(np.array(self.values, np.int64), list(self.codes))


_HELP = {
    "numeric": "mend it, or leave it out where there is no value",
    "integer": "the network's Input takes whole numbers of this column; fill it, or drop the Input's `dtype`",
    "date": 'say how dates are written, as `strptime` does: `{kind: date, format: "%d.%m.%Y"}`',
}


def require_columns(table: Table, names: Collection[str], have: Collection[str] | None = None) -> None:
    """Raises a problem that tells every name that is no column of the table."""
    header = table.header if have is None else tuple(have)
    absent = [name for name in names if header is not None and name not in header]
    if absent:
        columns = ", ".join(f"`{name}`" for name in (header or ())[:20])
        message = ("there is no column " if len(absent) == 1 else "there are no columns ") + ", ".join(
            f"`{name}`" for name in absent
        )
        none = len(absent) == len(names) > 1 and have is None
        help = f"the columns are {columns}" + "; a first row of column names is missing, perhaps" * none
        raise Failure(Problem("E409", message, table.place(1), help=help))
