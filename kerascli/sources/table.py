"""Tables in text form: one door to the csv module, bounded in memory, every fault named by file, row and column."""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from kerascli.errors import Failure, Problem, Span
from kerascli.files import cannot_read
from kerascli.preprocessing import Column, NumericColumn, TextColumn

SEPARATORS = (",", ";", "\t", "|")
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "?"})
"""Texts that stand for a missing value, in lower case."""
MOST_CATEGORIES = 1_000
"""A column of texts with more distinct values than this is no category unless the spec says so."""
MOST_TEXTS = 10_000
"""Distinct values that a declared category or a target may have."""
_LONGEST_LINE = 1 << 24
_HEAD = 1 << 16
_BATCH = 4096
_MOST_PROBLEMS = 10


class Readable(Protocol):
    """What lines are read from."""

    def readline(self, size: int = -1, /) -> str: ...


@dataclass(frozen=True)
class Format:
    """How the text is to be read; no separator means: find out."""

    separator: str | None = None
    decimal: str = "."


@dataclass
class Batch:
    """Some rows of a table, as texts without surrounding blanks."""

    first: int
    lines: list[int]
    rows: list[list[str]]


@dataclass
class TableText:
    """A table that is being read from the top: its header, then batches of rows."""

    name: str
    header: tuple[str, ...]
    lines: Iterator[tuple[int, list[str]]]
    decimal: str = "."
    rows_read: int = 0

    def place(self, line: int) -> Span:
        return Span(self.name, line, 1)

    def batches(self) -> Iterator[Batch]:
        """Rows in batches; a row whose number of values differs from the header's is a problem."""
        ragged: list[Problem] = []
        batch = Batch(self.rows_read, [], [])
        for line, row in self.lines:
            if len(row) != len(self.header):
                number = batch.first + len(batch.rows) + len(ragged) + 1
                ragged.append(
                    Problem(
                        "E407",
                        f"row {number} has {len(row)} values, the header has {len(self.header)}",
                        self.place(line),
                        help="quote values that contain the separator",
                    )
                )
                if len(ragged) == _MOST_PROBLEMS:
                    break
                continue
            batch.lines.append(line)
            batch.rows.append(row)
            if len(batch.rows) == _BATCH:
                self.rows_read += _BATCH
                if not ragged:
                    yield batch
                batch = Batch(self.rows_read, [], [])
        if ragged:
            raise Failure(ragged)
        if batch.rows:
            self.rows_read += len(batch.rows)
            yield batch


@contextmanager
def open_table(path: Path, form: Format, headed: bool = True) -> Iterator[TableText]:
    """Open a file as a table; faults of the file become problems, wherever in the block they show."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield read_table(stream, str(path), form, headed)
    except OSError as error:
        raise cannot_read(path, error) from None


def read_table(stream: Readable, name: str, form: Format, headed: bool = True) -> TableText:
    """The table in a stream of text; `headed` says whether the first row holds the column names."""
    empty = Problem(
        "E407", f"`{name}` is empty", Path(name), help="a row of column names comes first" if headed else ""
    )
    head = list(_lines(stream, name, _HEAD))
    if not any(line.strip() for line in head):
        raise Failure(empty)
    separator = form.separator or _separator(head)
    rows = _rows(chain(head, _lines(stream, name)), name, separator)
    if not headed:
        return TableText(name, (), rows, form.decimal)
    line, header = next(rows, (0, []))
    if not header:
        raise Failure(empty)
    problems = [
        Problem(
            "E407",
            f"column {place + 1} has no name",
            Span(name, line, 1),
            help="pandas writes such a column unless told `to_csv(index=False)`",
        )
        for place, title in enumerate(header)
        if not title
    ]
    problems += [
        Problem("E407", f"column name `{title}` occurs {count} times", Span(name, line, 1))
        for title, count in Counter(header).items()
        if count > 1 and title
    ]
    if problems:
        raise Failure(problems)
    return TableText(name, tuple(header), rows, form.decimal)


def _lines(stream: Readable, name: str, most: int | None = None) -> Iterator[str]:
    """Lines of the stream, as many as `most` characters hold; a line may not be without end."""
    size = 0
    try:
        while most is None or size < most:
            line = stream.readline(_LONGEST_LINE)
            if not line:
                return
            if len(line) == _LONGEST_LINE:
                raise Failure(
                    Problem(
                        "E407",
                        f"`{name}` has a line of more than {_LONGEST_LINE:,} characters",
                        Path(name),
                        help="is this a text file?",
                    )
                )
            size += len(line)
            yield line
    except UnicodeDecodeError as error:
        raise Failure(
            Problem(
                "E402",
                f"`{name}` is not UTF-8 text: byte {error.object[error.start]:#04x}",
                Path(name),
                help="save it as UTF-8",
            )
        ) from None


def _rows(lines: Iterator[str], name: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, values) of every row that is not blank."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                yield reader.line_num, [value.strip() for value in row]
    except csv.Error as error:
        raise Failure(
            Problem(
                "E407",
                f"the text cannot be read as a table: {error}",
                Span(name, max(reader.line_num, 1), 1),
                help="is a quotation mark left open?",
            )
        ) from None


def _separator(head: list[str]) -> str:
    """The separator under which the most rows have as many values as the first; the earlier of equals.

    The csv module's own sniffer counts letters too and is easily misled; four candidates are enough.
    """

    def fitness(separator: str) -> tuple[bool, float, int]:
        try:
            widths = [len(row) for row in csv.reader(head[:200], delimiter=separator) if row]
        except csv.Error:
            return (False, 0.0, 0)
        return (widths[0] > 1, sum(width == widths[0] for width in widths) / len(widths), widths[0])

    return max(SEPARATORS, key=fitness)


@dataclass
class ColumnSurvey:
    """What one pass over the rows tells of a column."""

    most_texts: int
    numeric: bool = True
    whole: bool = True
    """Whether every number is an integer."""
    text_row: tuple[int, int, str] | None = None
    """Row, line and text of the first value that is no number."""
    comma_decimals: bool = True
    """Whether all values read as numbers once a decimal comma is taken for a point."""
    texts: dict[str, int] | None = field(default_factory=dict)
    """Each distinct text and the first row that has it; None once there are too many."""

    def add(self, cells: tuple[str, ...], batch: Batch, decimal: str) -> None:
        if self.numeric:
            self._look_at_numbers(cells, batch, decimal)
        if not self.numeric and self.comma_decimals:
            self.comma_decimals = all(_is_number(c, ",") for c in cells if c.lower() not in MISSING)
        if self.texts is None:
            return
        for place, cell in enumerate(cells):
            if cell in self.texts or cell.lower() in MISSING:
                continue
            if len(self.texts) == self.most_texts:
                self.texts = None
                return
            self.texts[cell] = batch.first + place

    def _look_at_numbers(self, cells: tuple[str, ...], batch: Batch, decimal: str) -> None:
        values, wrong = numbers(cells, decimal)
        if wrong is not None:
            self.numeric = False
            self.text_row = (batch.first + wrong + 1, batch.lines[wrong], cells[wrong])
        elif self.whole:
            present = values[~np.isnan(values)]
            self.whole = bool((np.isfinite(present) & (np.floor(present) == present)).all())


@dataclass(frozen=True)
class Survey:
    """One pass over a table: its columns in order, and the number of rows."""

    name: str
    rows: int
    columns: dict[str, ColumnSurvey]


def survey(path: Path, form: Format, generous: frozenset[str] = frozenset()) -> Survey:
    """Read a table once; the columns in `generous` may have many distinct texts."""
    with open_table(path, form) as table:
        columns = {name: ColumnSurvey(MOST_TEXTS if name in generous else MOST_CATEGORIES) for name in table.header}
        rows = 0
        for batch in table.batches():
            rows += len(batch.rows)
            for column, cells in zip(columns.values(), zip(*batch.rows, strict=True), strict=True):
                column.add(cells, batch, form.decimal)
        if not rows:
            raise Failure(Problem("E407", f"`{path}` has column names but no rows", path))
        return Survey(str(path), rows, columns)


def numbers(
    cells: tuple[str, ...] | list[str], decimal: str
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], int | None]:
    """The numbers in the cells, NaN for missing ones, and the place of the first that is neither."""
    if decimal == "." and "_" not in "".join(cells):  # Python reads 1_000 as a number, a table means a text by it
        try:
            return np.array(list(map(float, cells)), np.float64), None
        except ValueError:
            pass
    values = np.full(len(cells), np.nan)
    for place, cell in enumerate(cells):
        if _is_number(cell, decimal):
            values[place] = float(cell.replace(decimal, "."))
        elif cell.lower() not in MISSING:
            return values, place
    return values, None


def _is_number(cell: str, decimal: str) -> bool:
    if "_" in cell or (decimal != "." and "." in cell):
        return False
    try:
        float(cell.replace(decimal, "."))
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Columns:
    """The wanted columns of a table, whole, and the line of every row."""

    name: str
    lines: np.ndarray[tuple[int], np.dtype[np.int64]]
    by_name: dict[str, Column]

    def place(self, row: int) -> Span:
        return Span(self.name, int(self.lines[row]), 1)


def read_columns(path: Path, form: Format, kinds: Mapping[str, str]) -> Columns:
    """The columns in `kinds`, read as `numeric` (or `integer`) or as `category` (or `string`: nothing is missing)."""
    with open_table(path, form) as table:
        return gather(table, kinds)


def gather(table: TableText, kinds: Mapping[str, str], most_rows: int | None = None) -> Columns:
    """The next rows of an open table, at most about `most_rows`; zero rows at its end."""
    require_columns(table, kinds)
    places = {name: table.header.index(name) for name in kinds}
    numeric = {name for name, kind in kinds.items() if kind in ("numeric", "integer")}
    found: dict[str, array[float]] = {name: array("d" if name in numeric else "q") for name in kinds}
    codes: dict[str, dict[str, int]] = {name: {} for name in kinds}
    lines: array[int] = array("q")
    problems: list[Problem] = []
    for batch in table.batches():
        lines.extend(batch.lines)
        columns = list(zip(*batch.rows, strict=True))
        for name, kind in kinds.items():
            cells = columns[places[name]]
            if name not in numeric:
                known, missing = codes[name], MISSING if kind == "category" else frozenset()
                found[name].extend(
                    [-1 if c not in known and c.lower() in missing else known.setdefault(c, len(known)) for c in cells]
                )
                continue
            values, wrong = numbers(cells, table.decimal)
            found[name].frombytes(values.tobytes())
            if wrong is not None:
                problems.append(
                    Problem(
                        "E408",
                        f"row {batch.first + wrong + 1}, column `{name}`: `{cells[wrong][:40]}` is not a number",
                        table.place(batch.lines[wrong]),
                    )
                )
        if len(problems) >= _MOST_PROBLEMS or (most_rows and len(lines) >= most_rows):
            break
    if problems:
        raise Failure(problems)
    return Columns(
        table.name,
        np.array(lines, np.int64),
        {
            name: NumericColumn(np.array(found[name], np.float64))
            if name in numeric
            else TextColumn(np.array(found[name], np.int64), list(codes[name]))
            for name, kind in kinds.items()
        },
    )


def require_columns(table: TableText, names: Mapping[str, object]) -> None:
    """Raises a problem that tells every name that is no column of the table."""
    absent = [name for name in names if name not in table.header]
    if absent:
        columns = ", ".join(f"`{name}`" for name in table.header[:20])
        message = ("there is no column " if len(absent) == 1 else "there are no columns ") + ", ".join(
            f"`{name}`" for name in absent
        )
        raise Failure(Problem("E409", message, table.place(1), help=f"the columns are {columns}"))
