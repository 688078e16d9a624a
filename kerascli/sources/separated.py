"""Text files of separated values: the one door to the csv module."""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from kerascli.errors import Failure, Problem, Span
from kerascli.sources.cells import TextCells
from kerascli.sources.table import BATCH, MOST_PROBLEMS, Batch
from kerascli.sources.textfile import LONGEST_LINE, Readable, lines, open_text

SEPARATORS = (",", ";", "\t", "|")
_HEAD = 1 << 16
_SHOWN = {"\t": "tab", " ": "blank"}
_SAID = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
"""A first line that tells Excel the separator."""
csv.field_size_limit(LONGEST_LINE)


class Dialect(NamedTuple):
    """How rows are cut into values."""

    separator: str
    quote: str = '"'
    escape: str | None = None

    def reader(self, text: Iterator[str], strict: bool) -> Any:
        return csv.reader(
            text,
            delimiter=self.separator,
            quotechar=self.quote,
            escapechar=self.escape,
            skipinitialspace=True,
            strict=strict,
        )

    @property
    def shown(self) -> str:
        """In words, as far as it is not RFC 4180's."""
        found = f"separated by `{_SHOWN.get(self.separator, self.separator)}`"
        quoted = f", quoted by `{self.quote}`" if self.quote != '"' else ""
        return found + quoted + (f", escaped by `{self.escape}`" if self.escape else "")


@dataclass(frozen=True)
class Separated:
    """The format of such files; what is None is found out."""

    separator: str | None = None
    decimal: str = "."
    encoding: str | None = None
    headed: bool = True
    """Whether the first row holds the column names."""

    @contextmanager
    def open(self, path: Path) -> Iterator["Rows"]:
        with open_text(path, self.encoding) as file:
            yield self.read(file.stream, str(path), file.shown)

    def read(self, stream: Readable, name: str, encoding: str = "") -> "Rows":
        """The table in a stream of text."""
        help = "a row of column names comes first" if self.headed else ""
        empty = Problem("E407", f"`{name}` is empty", Path(name), help=help)
        head = list(lines(stream, name, _HEAD))
        if not any(line.strip() for line in head):
            raise Failure(empty)
        if head[0].startswith(("{", "[{")):
            where, help = Span(name, 1, 1), "a file of one JSON object a line is `type: jsonl`"
            raise Failure(Problem("E407", f"`{name}` holds JSON, no separated values", where, help=help))
        said = _SAID.fullmatch(head[0])
        dialect = _dialect(head[1:], said[1]) if said else _dialect(head, self.separator)
        shown = ", ".join(part for part in (encoding, dialect.shown) if part)
        rows = _rows(chain(head, lines(stream, name)), name, dialect, skipped=1 if said else 0)
        if not self.headed:
            return Rows(name, (), TextCells(self.decimal), shown, rows)
        line, header = next(rows, (0, []))
        while header and not header[-1]:
            header.pop()  # Excel ends every line with a separator where a column was once
        if not header:
            raise Failure(empty)
        _require_names(name, line, header)
        return Rows(name, tuple(header), TextCells(self.decimal), shown, rows)


@dataclass
class Rows:
    """A table that is being read from the top: its header, then (line, values) of each row."""

    name: str
    header: tuple[str, ...]
    cells: TextCells
    shown: str
    values: Iterator[tuple[int, list[str]]]
    rows_read: int = 0

    def place(self, line: int) -> Span:
        return Span(self.name, line, 1)

    def batches(self, names: Collection[str] | None = None) -> Iterator[Batch]:
        """A row whose number of values differs from the header's is a problem; ten of them are told."""
        ragged: list[Problem] = []
        places: list[int] = []
        rows: list[list[str]] = []
        for line, row in self.values:
            if len(row) > len(self.header) and not any(row[len(self.header) :]):
                row = row[: len(self.header)]
            if len(row) != len(self.header):
                number = self.rows_read + len(rows) + len(ragged) + 1
                message = f"row {number} has {len(row)} values, the header has {len(self.header)}"
                ragged.append(
                    Problem("E407", message, self.place(line), help="quote values that contain the separator")
                )
                if len(ragged) == MOST_PROBLEMS:
                    break
                continue
            places.append(line)
            rows.append(row)
            if len(rows) == BATCH:
                if not ragged:
                    yield self._batch(places, rows)
                places, rows = [], []
        if ragged:
            raise Failure(ragged)
        if rows:
            yield self._batch(places, rows)

    def _batch(self, places: list[int], rows: list[list[str]]) -> Batch:
        first, self.rows_read = self.rows_read, self.rows_read + len(rows)
        return Batch(first, places, dict(zip(self.header, zip(*rows, strict=True), strict=True)))


def _rows(text: Iterator[str], name: str, dialect: Dialect, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """(line it begins in, values without surrounding blanks) of every row that has one."""
    reader, begin = dialect.reader(islice(text, skipped, None), strict=True), 1 + skipped
    try:
        for row in reader:
            values = list(map(str.strip, row))
            if any(values):
                yield begin, values
            begin = reader.line_num + 1 + skipped
    except csv.Error as error:
        message = f"the text cannot be read as a table: {error}"
        help = "is a quotation mark left open, or one inside a value not doubled?"
        raise Failure(Problem("E407", message, Span(name, begin, 1), help=help)) from None


def _require_names(name: str, line: int, header: list[str]) -> None:
    """Every column must have a name of its own."""
    problems = [
        Problem(
            "E407",
            f"column {place + 1} has no name",
            Span(name, line, 1),
            help="pandas writes such a column unless told `to_csv(index=False)`",
        )
        for place in islice((place for place, title in enumerate(header) if not title), MOST_PROBLEMS)
    ]
    problems += [
        Problem("E407", f"column name `{title}` occurs {count} times", Span(name, line, 1))
        for title, count in islice(((t, n) for t, n in Counter(header).items() if n > 1 and t), MOST_PROBLEMS)
    ]
    if problems:
        raise Failure(problems)


def _dialect(head: list[str], separator: str | None) -> Dialect:
    """The dialect under which the most rows have as many values as the first; the earlier of equals.

    The csv module's own sniffer counts letters too and is easily misled; a few candidates are enough. Apostrophes as
    quotation marks and backslashes are believed only where they make every row fit that did not fit before.
    """
    separators = (separator,) if separator else SEPARATORS
    best = max((Dialect(sign) for sign in separators), key=lambda dialect: _fitness(head, dialect))
    if _fits(head, best):
        return best
    text = "".join(head)
    quoting = [('"', "\\")] * ('\\"' in text) + [("'", None)] * ('"' not in text)
    others = [Dialect(sign, quote, escape) for quote, escape in quoting for sign in separators]
    better = max(others, key=lambda dialect: _fitness(head, dialect), default=best)
    return better if _fits(head, better) else best


def _fits(head: list[str], dialect: Dialect) -> bool:
    """Whether all rows have several values, as many as the first, and every quotation mark is where it may be."""
    try:
        for _ in dialect.reader(iter(head), strict=True):
            pass
    except csv.Error as error:
        if "unexpected end" not in str(error):  # the head may end inside a value
            return False
    return _fitness(head, dialect)[:2] == (True, 1.0)


def _fitness(head: list[str], dialect: Dialect) -> tuple[bool, float, int]:
    """Whether there are several columns, the share of rows that have as many as the first, and how many."""
    try:
        widths = [len(row) for row in dialect.reader(iter(head[:200]), strict=False) if row]
    except csv.Error:
        return (False, 0.0, 0)
    if not widths:
        return (False, 0.0, 0)
    return (widths[0] > 1, sum(width == widths[0] for width in widths) / len(widths), widths[0])
