"""What turns a column into numbers, fitted on the training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kerascli.columns import Column, Kind, NumericColumn, TextColumn, Unseen
from kerascli.dates import Part, parts
from kerascli.errors import Failure, Problem
from kerascli.features import FeatureOptions
from kerascli.ops.ir import Array
from kerascli.text import TextEncoder

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


def no_value(name: str) -> Failure:
    """The column is empty in all training rows."""
    return Failure(
        Problem(
            "E410",
            f"column `{name}` has no value in the training rows",
            help=f"leave it out: `features: {{{name}: ignore}}`",
        )
    )


class Numeric(BaseModel):
    """One number: (value - offset) / factor, with `fill` in the place of a missing value."""

    model_config = STRICT

    kind: Literal["numeric"] = "numeric"
    name: str
    fill: float | None
    offset: float
    factor: float

    @property
    def width(self) -> int:
        """Numbers that a value becomes."""
        return 1

    @property
    def reading(self) -> Kind:
        return Kind("numeric")

    @property
    def drops(self) -> bool:
        """Whether rows without a value cannot be encoded."""
        return self.fill is None

    @classmethod
    def fit(cls, name: str, options: FeatureOptions, column: NumericColumn) -> Self:
        """Statistics of the training rows: missing values are filled first, then the scale is taken."""
        present = column.values[np.isfinite(column.values)]
        if not len(present):
            raise no_value(name)
        offset, factor = 0.0, 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            fill = _fill(options, present)
            values = present if fill is None else np.append(present, np.full(int(column.missing.sum()), fill))
            if options.scale == "standard":
                offset, factor = float(values.mean()), float(values.std())
            elif options.scale == "minmax":
                offset, factor = float(values.min()), float(np.ptp(values))
        if not np.isfinite(offset + factor + (fill or 0)):
            raise Failure(
                Problem(
                    "E410",
                    f"column `{name}` has values too large to be scaled",
                    help=f"`features: {{{name}: {{scale: none}}}}`, or mend the data",
                )
            )
        return cls(name=name, fill=fill, offset=offset, factor=factor or 1.0)

    def encode(self, column: Column, unseen: Unseen) -> Array:
        """Shapes: (n,) → (n, 1) float32."""
        assert isinstance(column, NumericColumn)
        values = column.values if self.fill is None else np.where(column.missing, self.fill, column.values)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, and that is reported
            encoded: Array = ((values - self.offset) / self.factor).astype(np.float32)[:, None]
        return encoded


def _fill(options: FeatureOptions, present: Array) -> float | None:
    match options.missing:
        case "drop":
            return None
        case "constant":
            return options.constant
        case "median":
            return float(np.median(present))
        case _:
            return float(present.mean())


class Category(BaseModel):
    """A slot for each category in sorted order; the last one is for missing values and for those never seen."""

    model_config = STRICT

    kind: Literal["category"] = "category"
    name: str
    fill: str | None
    drop: bool = False
    encoding: Literal["one_hot", "integer"] = "one_hot"
    categories: tuple[str, ...]

    @property
    def width(self) -> int:
        """Numbers that a value becomes."""
        return len(self.categories) + 1 if self.encoding == "one_hot" else 1

    @property
    def dtype(self) -> str:
        return "float32" if self.encoding == "one_hot" else "int32"

    @property
    def reading(self) -> Kind:
        return Kind("category")

    @property
    def drops(self) -> bool:
        """Whether rows without a value cannot be encoded."""
        return self.drop

    @classmethod
    def fit(cls, name: str, options: FeatureOptions, column: TextColumn) -> Self:
        """The categories are those of the training rows."""
        counts = np.bincount(column.codes[~column.missing], minlength=len(column.texts))
        categories = tuple(sorted(text for text, count in zip(column.texts, counts, strict=True) if count))
        if not categories:
            raise no_value(name)
        fill = None
        if options.missing == "most_frequent":
            often = dict(zip(column.texts, counts.tolist(), strict=True))
            fill = max(categories, key=lambda text: often[text])
        drop, encoding = options.missing == "drop", options.encoding or "one_hot"
        return cls(name=name, fill=fill, drop=drop, encoding=encoding, categories=categories)

    def encode(self, column: Column, unseen: Unseen) -> Array:
        """Shapes: (n,) → (n, categories + 1) float32, or (n, 1) int32."""
        found = self.slots(column, unseen)
        if self.encoding == "integer":
            return found[:, None]
        encoded = np.zeros((len(found), self.width), np.float32)
        encoded[np.arange(len(found)), found] = 1
        return encoded

    def slots(self, column: Column, unseen: Unseen) -> Array:
        """The place of each value: (n,) int32."""
        assert isinstance(column, TextColumn)
        other = len(self.categories)
        slots = {text: slot for slot, text in enumerate(self.categories)}
        slot_of_code = np.array(
            [*(slots.get(text, other) for text in column.texts), other if self.fill is None else slots[self.fill]],
            np.int32,
        )
        counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.texts))
        for text, count in zip(column.texts, counts.tolist(), strict=True):
            if count and text not in slots:
                unseen.setdefault(self.name, Counter())[text] += count
        found: Array = slot_of_code[column.codes]
        return found


class Date(BaseModel):
    """Parts of a date such as the month, each a number of its own."""

    model_config = STRICT

    kind: Literal["date"] = "date"
    name: str
    format: str | None
    parts: tuple[Part, ...]
    numbers: tuple[Numeric, ...]
    """Of each part, how it is filled and scaled."""

    @property
    def width(self) -> int:
        """Numbers that a value becomes."""
        return len(self.parts)

    @property
    def reading(self) -> Kind:
        return Kind("date", self.format)

    @property
    def drops(self) -> bool:
        """Whether rows without a value cannot be encoded."""
        return self.numbers[0].drops

    @classmethod
    def fit(cls, name: str, options: FeatureOptions, column: NumericColumn) -> Self:
        """Each part has its own mean and deviation."""
        wanted = options.parts or ()
        if column.missing.all():
            raise no_value(name)
        found = parts(column.values, wanted)
        numbers = tuple(
            Numeric.fit(f"{name}.{part}", options, NumericColumn(found[:, k])) for k, part in enumerate(wanted)
        )
        return cls(name=name, format=options.format, parts=wanted, numbers=numbers)

    def encode(self, column: Column, unseen: Unseen) -> Array:
        """Shapes: (n,) → (n, parts) float32."""
        assert isinstance(column, NumericColumn)
        found = parts(column.values, self.parts)
        columns = [number.encode(NumericColumn(found[:, k]), unseen) for k, number in enumerate(self.numbers)]
        return np.concatenate(columns, axis=1)


class Text(BaseModel):
    """Words as numbers."""

    model_config = STRICT

    kind: Literal["text"] = "text"
    name: str
    drop: bool
    encoder: TextEncoder

    @property
    def width(self) -> int:
        """Numbers that a value becomes."""
        return self.encoder.width

    @property
    def reading(self) -> Kind:
        return Kind("text")

    @property
    def drops(self) -> bool:
        """Whether rows without a value cannot be encoded."""
        return self.drop

    @classmethod
    def fit(cls, name: str, options: FeatureOptions, texts: Iterable[str]) -> Self:
        """The texts of the training rows are read once."""
        encoder = TextEncoder.fit(texts, options.text())
        if not encoder.words:
            raise no_value(name)
        return cls(name=name, drop=options.missing == "drop", encoder=encoder)

    def encode(self, column: Column, unseen: Unseen) -> Array:
        """Shapes: (n,) → (n, sequence_length) int32, or (n, vocabulary) float32. A missing text is the empty one."""
        assert isinstance(column, TextColumn)
        used, places = np.unique(column.codes, return_inverse=True)
        return self.encoder.encode([column.texts[code] if code >= 0 else "" for code in used.tolist()])[places]


class Raw(BaseModel):
    """A column as it stands, for layers that read texts or whole numbers."""

    model_config = STRICT

    kind: Literal["string", "integer"]
    name: str

    @property
    def dtype(self) -> str:
        return "string" if self.kind == "string" else "int32"

    @property
    def width(self) -> int:
        """Numbers that a value becomes."""
        return 1

    @property
    def reading(self) -> Kind:
        return Kind(self.kind)

    @property
    def drops(self) -> bool:
        return False

    def encode(self, column: Column, unseen: Unseen) -> Array:
        """Shapes: (n,) → (n, 1), texts or int32. An empty cell is the empty text."""
        if isinstance(column, TextColumn):
            return np.array([*column.texts, ""], np.dtypes.StringDType())[column.codes][:, None]
        return column.values.astype(np.int32)[:, None]


Encoder = Annotated[Numeric | Category | Date | Text | Raw, Field(discriminator="kind")]
