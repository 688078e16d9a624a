"""Parquet files, read some rows at a time: the one door to pyarrow, which is an extra."""

import importlib.util
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kerascli.component import Example
from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.sources.cells import ValueCells
from kerascli.sources.files import _TableFiles
from kerascli.sources.table import BATCH, Batch

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile


class Parquet(_TableFiles):
    """A table in a Parquet file; needs the package pyarrow (`pip install "kerascli[parquet]"`).

    Kinds are inferred from the values: numbers are numeric, points in time dates, texts a category or a text. null and
    NaN are missing values. A target of lists has several labels a sample.
    """

    examples = (Example({"path": "table.parquet", "target": "label", "validation_split": 0.2}),)

    def table_format(self) -> "ParquetRows":
        return ParquetRows()


@dataclass(frozen=True)
class ParquetRows:
    """The format of such files."""

    @contextmanager
    def open(self, path: Path) -> Iterator["Groups"]:
        if importlib.util.find_spec("pyarrow") is None:
            help = '`pip install "kerascli[parquet]"`'
            raise Failure(
                Problem("E516", f"`{path}` is read by the package pyarrow, which is not installed", help=help)
            )
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        try:
            with ParquetFile(path) as file:
                yield Groups(str(path), file, tuple(file.schema_arrow.names))
        except ArrowException as error:
            message = f"`{path}` is damaged or no Parquet file: {error}"
            raise Failure(Problem("E402", message, path)) from None
        except OSError as error:
            if error.strerror is None:  # pyarrow's own
                raise Failure(Problem("E402", f"`{path}` is damaged: {error}", path)) from None
            raise cannot_read(path, error) from None


@dataclass
class Groups:
    """A table that is being read from the top."""

    name: str
    file: "ParquetFile"
    header: tuple[str, ...]
    cells: ValueCells = field(default_factory=ValueCells)
    shown: str = "Parquet"
    rows_read: int = 0
    _batches: Iterator[Batch] | None = None

    def place(self, line: int) -> Path:
        return Path(self.name)

    def batches(self, names: Collection[str] | None = None) -> Iterator[Batch]:
        """Goes on where it stopped, as other tables do."""
        if self._batches is None:
            self._batches = self._read(names)
        return self._batches

    def _read(self, names: Collection[str] | None) -> Iterator[Batch]:
        wanted = None if names is None else list(names)
        for group in self.file.iter_batches(BATCH, columns=wanted):
            first, self.rows_read = self.rows_read, self.rows_read + group.num_rows
            numbers = list(range(first + 1, self.rows_read + 1))
            columns = zip(group.schema.names, group.columns, strict=True)
            yield Batch(first, numbers, {name: column.to_pylist() for name, column in columns})
