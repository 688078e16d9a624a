"""Tables in files of one's own: what those of every format take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from kerascli.sources.base import PathsBySplit
from kerascli.sources.tabular import _Tabular


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class _TableFiles(_Tabular):
    """A table in a file, or in one for each split."""

    path: PathsBySplit = Field(min_length=1)
    """The file, or one for each split: `{train: …, validation: …, test: …}`."""
    target: Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])] = Field(
        min_length=1
    )
    """The column to predict, or a list of columns."""
    label_separator: str | None = Field(None, min_length=1)
    """The text between the labels of one cell of the target, such as `;` in `red;round`: a sample may then have several
    labels, or none, and the target is a 1 or 0 for each class."""

    def files(self, base: Path) -> dict[str, Path]:
        return {split: base / name for split, name in self.path.items()}

    def target_columns(self) -> Sequence[str]:
        return self.target

    def labels_between(self) -> str | None:
        return self.label_separator
