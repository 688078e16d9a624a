"""JSON lines: an object a line, whose keys are the columns."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerascli.component import Example
from kerascli.errors import Failure, Problem, Span
from kerascli.sources.cells import ValueCells
from kerascli.sources.files import _TableFiles
from kerascli.sources.table import BATCH, MOST_PROBLEMS, Batch
from kerascli.sources.textfile import Readable, lines, open_text


class Jsonl(_TableFiles):
    """A table of JSON lines: an object a line, a sample an object.

    Kinds are inferred: a key whose values are numbers is numeric, one of texts a category, a date or a text. Absent
    keys and null are missing values. A target of lists (`["red", "round"]`) has several labels a sample. Long texts
    take no more memory than those of `csv`.
    """

    examples = (Example({"path": "table.jsonl", "target": "label", "validation_split": 0.2}),)

    def table_format(self) -> "JsonLines":
        return JsonLines()


@dataclass(frozen=True)
class JsonLines:
    """The format of such files."""

    @contextmanager
    def open(self, path: Path) -> Iterator["Objects"]:
        with open_text(path) as file:
            yield Objects(str(path), file.stream, file.shown)


@dataclass
class Objects:
    """A table that is being read from the top."""

    name: str
    stream: Readable
    shown: str = ""
    header: tuple[str, ...] | None = None
    cells: ValueCells = field(default_factory=ValueCells)
    lines_read: int = 0
    rows_read: int = 0

    def place(self, line: int) -> Span:
        return Span(self.name, line, 1)

    def batches(self, names: Collection[str] | None = None) -> Iterator[Batch]:
        """Lines that are no objects are problems; ten of them are told."""
        faults: list[Problem] = []
        places: list[int] = []
        rows: list[dict[str, Any]] = []
        for text in lines(self.stream, self.name):
            self.lines_read += 1
            if not text.strip():
                continue
            row = self._object(text)
            if isinstance(row, Problem):
                faults.append(row)
                if len(faults) == MOST_PROBLEMS or self.lines_read == 1:
                    break
                continue
            places.append(self.lines_read)
            rows.append(row)
            if len(rows) == BATCH:
                if not faults:
                    yield self._batch(places, rows)
                places, rows = [], []
        if faults:
            raise Failure(faults)
        if rows:
            yield self._batch(places, rows)
        elif not self.rows_read:
            raise Failure(Problem("E407", f"`{self.name}` is empty", Path(self.name), help="an object a line"))

    def _object(self, text: str) -> dict[str, Any] | Problem:
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            return self._fault(f"is no JSON: {error.msg[:1].lower()}{error.msg[1:]}", error.colno)
        except (ValueError, RecursionError):
            return self._fault("has a number too long, or lists in lists without end")
        if not isinstance(found, dict):
            return self._fault(f"is no JSON object: `{text.strip()[:40]}`")
        return found

    def _fault(self, what: str, column: int = 1) -> Problem:
        help = 'write an object a line, such as `{"age": 31, "label": "yes"}`'
        help += "; separated values are `type: csv`" * (self.lines_read == 1)
        return Problem("E407", f"line {self.lines_read} {what}", Span(self.name, self.lines_read, column), help=help)

    def _batch(self, places: list[int], rows: list[dict[str, Any]]) -> Batch:
        first, self.rows_read = self.rows_read, self.rows_read + len(rows)
        names = dict.fromkeys(key for row in rows for key in row)
        return Batch(first, places, {name: [row.get(name) for row in rows] for name in names})
