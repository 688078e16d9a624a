"""Cells of tables as numbers and texts: those of text files, which are all text, and those that have a type."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from math import isnan, nan
from typing import Any, Literal, Protocol

import numpy as np

from kerascli.columns import Kind
from kerascli.dates import seconds
from kerascli.ops.ir import Array

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "?"})
"""Texts that stand for a missing value in a text file, in lower case."""
BETWEEN_LABELS = "\x1f"
"""Between the labels of a cell that was a list."""
MOSTLY = 20
"""Distinct numbers for each other text from which a column is one of numbers with faults in it."""
_THOUSANDS = re.compile(r"[-+]?\d{1,3}([.,'’]\d{3})+([.,]\d+)?")
Spoilt = Literal["", "commas", "thousands", "words"]
"""What keeps a column of numbers from being read as one: decimal commas, parted thousands, a few other texts."""
Texts = list[str | None]


class Cells(Protocol):
    """How the cells of a format are read."""

    def read(self, kind: Kind, cells: Sequence[Any]) -> tuple[Array | Texts, int | None]:
        """Numbers (NaN is a missing one) or texts (None), and the place of the first cell that is not of the kind."""
        ...

    def types(self, cells: Sequence[Any]) -> dict[str, int]:
        """The types that the cells have, where they have any, and the place of the first of each."""
        ...

    def spoilt(self, texts: Collection[str]) -> Spoilt:
        """What keeps these distinct texts from being numbers, where they nearly are."""
        ...

    def shown(self, cell: Any) -> str:
        """A cell in a message."""
        ...


@dataclass(frozen=True)
class TextCells:
    """Every cell is a text, without blanks around it."""

    decimal: str = "."

    def read(self, kind: Kind, cells: Sequence[str]) -> tuple[Array | Texts, int | None]:
        match kind.name:
            case "numeric" | "integer":
                values, wrong = numbers(cells, self.decimal)
                return values, _not_whole(values) if wrong is None and kind.name == "integer" else wrong
            case "date":
                return _moments([None if c.lower() in MISSING else c for c in cells], kind.format)
            case "string":
                return list(cells), None
            case "labels":
                return [None if c and c.lower() in MISSING else c for c in cells], None
            case _:
                return [None if c.lower() in MISSING else c for c in cells], None

    def types(self, cells: Sequence[str]) -> dict[str, int]:
        return {}

    def spoilt(self, texts: Collection[str]) -> Spoilt:
        others = [text for text in texts if not _is_number(text, self.decimal)]
        if not others:
            return ""
        if all(map(_THOUSANDS.fullmatch, others)):
            return "thousands"
        if self.decimal == "." and all(_is_number(text, ",") for text in others):
            return "commas"
        return "words" if MOSTLY * len(others) <= len(texts) else ""

    def shown(self, cell: str) -> str:
        return cell[:40]


def numbers(cells: Sequence[str], decimal: str) -> tuple[Array, int | None]:
    """The numbers in the cells, NaN for missing ones, and the place of the first that is neither."""
    if decimal == "." and "_" not in "".join(cells):  # Python reads 1_000 as a number, a table means a text by it
        try:
            return np.array(list(map(float, cells)), np.float64), None
        except ValueError:
            pass
    values = np.full(len(cells), nan)
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


def _not_whole(values: Array) -> int | None:
    """The place of the first value that is missing or no whole number of 32 bits."""
    whole = (values == np.floor(values)) & (np.abs(values) < 2**31)
    return None if whole.all() else int(np.argmin(whole))


def _moments(texts: Texts, form: str | None) -> tuple[Array, int | None]:
    values = np.full(len(texts), nan)
    for place, text in enumerate(texts):
        try:
            if text is not None:
                values[place] = seconds(text, form)
        except (ValueError, OverflowError):
            return values, place
    return values, None


_TYPES: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    Decimal: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
    bytes: "bytes",
    datetime: "a date",
    date: "a date",
}


class ValueCells:
    """Cells have types, as in JSON and Parquet; None and NaN are missing values."""

    def read(self, kind: Kind, cells: Sequence[Any]) -> tuple[Array | Texts, int | None]:
        match kind.name:
            case "numeric" | "integer":
                values = np.full(len(cells), nan)
                wrong = _each(cells, values, _number)
                return values, _not_whole(values) if wrong is None and kind.name == "integer" else wrong
            case "date":
                texts: Texts = [None] * len(cells)
                wrong = _each(cells, texts, plain_text)
                values, unread = _moments(texts, kind.format)
                return values, min((place for place in (wrong, unread) if place is not None), default=None)
            case _:
                found: Texts = [None] * len(cells)
                return found, _each(cells, found, _labels if kind.name == "labels" else plain_text)

    def types(self, cells: Sequence[Any]) -> dict[str, int]:
        found: dict[str, int] = {}
        for kind in set(map(type, cells)) - {type(None)}:
            place = next(place for place, cell in enumerate(cells) if type(cell) is kind)
            name = _TYPES.get(kind, f"a {kind.__name__}")
            found[name] = min(place, found.get(name, place))
        return found

    def spoilt(self, texts: Collection[str]) -> Spoilt:
        return ""  # a text among numbers has another type

    def shown(self, cell: Any) -> str:
        if isinstance(cell, bool):
            return str(cell).lower()
        return f'"{cell[:40]}"' if isinstance(cell, str) else str(cell)[:40]


def _each(cells: Sequence[Any], found: Any, convert: Callable[[Any], Any]) -> int | None:
    """Put the converted cells into `found`; the place of the first that cannot be."""
    for place, cell in enumerate(cells):
        if cell is not None:
            try:
                found[place] = convert(cell)
            except (TypeError, OverflowError):
                return place
    return None


def _number(cell: Any) -> float:
    if isinstance(cell, bool) or not isinstance(cell, (int, float, Decimal)):
        raise TypeError
    return float(cell)


def plain_text(cell: Any) -> str | None:
    """A value as a text file would have it; the empty text is a missing value there too."""
    match cell:
        case str():
            return cell or None
        case bool():
            return "true" if cell else "false"
        case float():
            return None if isnan(cell) else str(int(cell)) if cell.is_integer() else repr(cell)
        case int() | Decimal():
            return str(cell)
        case date() | time():
            return cell.isoformat()
    raise TypeError


def _labels(cell: Any) -> str | None:
    if not isinstance(cell, list):
        return plain_text(cell)
    texts = [plain_text(label) for label in cell]
    return BETWEEN_LABELS.join(text for text in texts if text)
