"""Columns of a table as arrays, before they are encoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from kerascli.ops.ir import Array

Unseen = MutableMapping[str, Counter[str]]
"""Of each feature: the values that training never showed, and how often each was met."""


class Kind(NamedTuple):
    """How a column is read: `numeric`, `integer` and `date` make numbers, the others texts.

    `date` is seconds since 1970; `string` is the cell as it stands, `labels` too, where an empty one has no label.
    """

    name: Literal["numeric", "integer", "date", "category", "text", "labels", "string"]
    format: str | None = None
    """Of dates, as `strptime` writes it; None is ISO 8601."""

    @property
    def makes_numbers(self) -> bool:
        return self.name in ("numeric", "integer", "date")


LONG = ("text", "string")
"""Kinds of columns that may hold long texts: they are never in memory as a whole."""


@dataclass(frozen=True)
class NumericColumn:
    """Numbers; NaN where the value is missing."""

    values: Array

    def take(self, rows: slice | Array) -> NumericColumn:
        return NumericColumn(self.values[rows])

    @property
    def missing(self) -> Array:
        return np.isnan(self.values)


@dataclass(frozen=True)
class TextColumn:
    """Texts, each distinct one kept once; code -1 where the value is missing."""

    codes: Array
    texts: Sequence[str]

    def take(self, rows: slice | Array) -> TextColumn:
        return TextColumn(self.codes[rows], self.texts)

    @property
    def missing(self) -> Array:
        missing: Array = self.codes < 0
        return missing


Column = NumericColumn | TextColumn
