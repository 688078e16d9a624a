"""Tables of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kerascli.component import Example, FilePath
from kerascli.sources.table import Format
from kerascli.sources.tabular import _Tabular


def _one_file_trains(value: Any) -> Any:
    return {"train": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


_OneOrMore = BeforeValidator(
    _one_file_trains, json_schema_input_type=str | dict[Literal["train", "validation", "test"], str]
)


class Csv(_Tabular):
    """A table in a text file: a row of column names, then a sample a row.

    Kinds are inferred: a column where every value is a number is numeric, any other is a category. Empty, `NA`, `N/A`,
    `NaN`, `null` and `?` are missing values. UTF-8; quotation marks as in RFC 4180.
    """

    examples = (Example({"path": "table.csv", "target": "label", "validation_split": 0.2}),)

    path: Annotated[dict[Literal["train", "validation", "test"], FilePath], _OneOrMore] = Field(min_length=1)
    """The file, or one for each split: `{train: …, validation: …, test: …}`."""
    target: Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])] = Field(
        min_length=1
    )
    """The column to predict, or a list of columns."""
    separator: str | None = Field(None, min_length=1, max_length=1)
    """The character between values; by default that one of `,` `;` tab `|` that fits the first rows."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of numbers."""

    def files(self, base: Path) -> dict[str, Path]:
        return {split: base / name for split, name in self.path.items()}

    def target_columns(self) -> Sequence[str]:
        return self.target

    def text_format(self) -> Format:
        return Format(self.separator, self.decimal)
