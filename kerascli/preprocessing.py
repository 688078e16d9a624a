"""From raw rows to arrays, and the names of classes: fitted on the training rows, saved as preprocessing.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from kerascli.errors import Failure, Problem
from kerascli.learned import Learned

Array = npt.NDArray[Any]
Unseen = MutableMapping[str, Counter[str]]
"""Of each feature: the values that training never showed, and how often each was met."""

_MISSING_BY_KIND = {"numeric": ("mean", "median", "constant", "drop"), "category": ("own", "most_frequent", "drop")}


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


def no_value(name: str) -> Failure:
    """The column is empty in all training rows."""
    return Failure(
        Problem(
            "E410",
            f"column `{name}` has no value in the training rows",
            help=f"leave it out: `features: {{{name}: ignore}}`",
        )
    )


_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class FeatureOptions(BaseModel):
    """How the spec wants one column of a table turned into numbers."""

    model_config = _STRICT

    kind: Literal["numeric", "category", "ignore"] | None = None
    """What the column holds; by default `numeric` where every value is a number, else `category`."""
    missing: Literal["mean", "median", "constant", "own", "most_frequent", "drop"] | None = None
    """What stands for a missing value: `mean` (default), `median` or `constant` for numbers, `own` (default: a slot of
    its own) or `most_frequent` for categories; `drop` leaves the row out."""
    constant: float | None = None
    """The number that `missing: constant` puts in; 0 by default."""
    scale: Literal["standard", "minmax", "none"] | None = None
    """How numbers are scaled: `standard` (default: mean 0, population standard deviation 1), `minmax` (0 to 1),
    `none`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind in _MISSING_BY_KIND and self.missing not in (None, *_MISSING_BY_KIND[self.kind]):
            raise PydanticCustomError(
                "feature_missing",
                "a {kind} feature takes {names} for `missing`",
                {"kind": self.kind, "names": ", ".join(f"`{n}`" for n in _MISSING_BY_KIND[self.kind])},
            )
        if self.kind == "category" and self.scale not in (None, "none"):
            raise PydanticCustomError("feature_scale", "a category feature is one-hot and is not scaled", {})
        if self.constant is not None and self.missing != "constant":
            raise PydanticCustomError("feature_constant", "`constant` needs `missing: constant`", {})
        return self


def _written_short(value: Any) -> Any:
    """A list of names means inferred kinds; a bare string stands for a mapping with that `kind` alone."""
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return {name: {} for name in value}
    if isinstance(value, Mapping):
        shorts = {name: {"kind": options} for name, options in value.items() if isinstance(options, str)}
        return {**value, **shorts}
    return value


Features = Annotated[dict[str, FeatureOptions], BeforeValidator(_written_short)]


class Numeric(BaseModel):
    """One number: (value - offset) / factor, with `fill` in the place of a missing value."""

    model_config = _STRICT

    kind: Literal["numeric"] = "numeric"
    name: str
    fill: float | None
    offset: float
    factor: float

    @property
    def width(self) -> int:
        return 1

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
        fill = _fill(options, present)
        values = present if fill is None else np.append(present, np.full(int(column.missing.sum()), fill))
        offset, factor = 0.0, 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            if (options.scale or "standard") == "standard":
                offset, factor = float(values.mean()), float(values.std())
            elif options.scale == "minmax":
                offset, factor = float(values.min()), float(np.ptp(values))
        if not np.isfinite(offset + factor):
            raise Failure(
                Problem(
                    "E410",
                    f"column `{name}` has values too large to be scaled",
                    help=f"`features: {{{name}: {{scale: none}}}}`, or mend the data",
                )
            )
        return cls(name=name, fill=fill, offset=offset, factor=factor or 1.0)

    def encode(self, column: NumericColumn, unseen: Unseen) -> Array:
        """Shapes: (n,) → (n, 1) float32."""
        values = column.values
        if column.missing.any():
            if self.fill is None:
                row = int(np.argmax(column.missing))
                raise Failure(
                    Problem(
                        "E408",
                        f"row {row + 1}, column `{self.name}`: the value is missing",
                        help="this feature was trained with `missing: drop`",
                    )
                )
            values = np.where(column.missing, self.fill, values)
        encoded: Array = ((values - self.offset) / self.factor).astype(np.float32)[:, None]
        return encoded


def _fill(options: FeatureOptions, present: Array) -> float | None:
    match options.missing:
        case "drop":
            return None
        case "constant":
            return options.constant or 0.0
        case "median":
            return float(np.median(present))
        case _:
            return float(present.mean())


class Category(BaseModel):
    """One-hot over the categories in sorted order; the last slot is for missing values and for those never seen."""

    model_config = _STRICT

    kind: Literal["category"] = "category"
    name: str
    fill: str | None
    drop: bool = False
    categories: tuple[str, ...]

    @property
    def width(self) -> int:
        return len(self.categories) + 1

    @property
    def drops(self) -> bool:
        """Whether rows without a value cannot be encoded."""
        return self.drop

    @classmethod
    def fit(cls, name: str, options: FeatureOptions, column: TextColumn, categories: tuple[str, ...]) -> Self:
        """`categories` are those of the training rows, sorted."""
        fill = None
        if options.missing == "most_frequent":
            counts = np.bincount(column.codes[~column.missing], minlength=len(column.texts))
            fill = max(categories, key=lambda text: counts[column.texts.index(text)])
        return cls(name=name, fill=fill, drop=options.missing == "drop", categories=categories)

    def encode(self, column: TextColumn, unseen: Unseen) -> Array:
        """Shapes: (n,) → (n, categories + 1) float32."""
        other = len(self.categories)
        slots = {text: slot for slot, text in enumerate(self.categories)}
        slot_of_code = np.array(
            [*(slots.get(text, other) for text in column.texts), other if self.fill is None else slots[self.fill]]
        )
        new = [code for code, text in enumerate(column.texts) if text not in slots]
        for code in new:
            if count := int((column.codes == code).sum()):
                unseen.setdefault(self.name, Counter())[column.texts[code]] += count
        if self.drop and column.missing.any():
            row = int(np.argmax(column.missing))
            raise Failure(
                Problem(
                    "E408",
                    f"row {row + 1}, column `{self.name}`: the value is missing",
                    help="this feature was trained with `missing: drop`",
                )
            )
        encoded = np.zeros((len(column.codes), self.width), np.float32)
        encoded[np.arange(len(column.codes)), slot_of_code[column.codes]] = 1
        return encoded


class Raw(BaseModel):
    """A column as it stands, for layers that read texts or whole numbers."""

    model_config = _STRICT

    kind: Literal["string", "integer"]
    name: str

    @property
    def dtype(self) -> str:
        return "string" if self.kind == "string" else "int32"

    @property
    def drops(self) -> bool:
        return False

    def encode(self, column: Column) -> Array:
        """Shapes: (n,) → (n, 1), texts or int32. An empty cell is the empty text."""
        if isinstance(column, TextColumn):
            return np.array([*column.texts, ""], np.dtypes.StringDType())[column.codes][:, None]
        values = column.values
        wrong = ~((values == np.floor(values)) & (np.abs(values) < 2**31))
        if wrong.any():
            row = int(np.argmax(wrong))
            what = "the value is missing" if np.isnan(values[row]) else f"{values[row]:g} is no whole number of 32 bits"
            help = "the network's Input takes whole numbers of this column; fill it, or drop the Input's `dtype`"
            raise Failure(Problem("E408", f"row {row + 1}, column `{self.name}`: {what}", help=help))
        return values.astype(np.int32)[:, None]


class InputLayout(BaseModel):
    """One input of the network."""

    model_config = _STRICT

    shape: tuple[int, ...]
    dtype: str
    features: tuple[str, ...] = ()
    """The encoded columns that form it, side by side; empty where the data are arrays already."""


class TargetLayout(BaseModel):
    """One target: how labels were encoded, and what the classes are called."""

    model_config = _STRICT

    columns: tuple[str, ...] = ()
    """The columns of the table; empty where the data are arrays already."""
    encoding: Literal["integer", "one_hot", "none"] = "none"
    classes: int | None = None
    class_names: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """How the column of the target is read: `numeric` or `category`."""
        try:
            return "numeric" if all(np.isfinite(float(name)) for name in self.class_names) else "category"
        except ValueError:
            return "category"

    def ids(self, column: Column) -> Array:
        """Shapes: (n,) → (n,) int32: the place in `class_names`, or -1 for a label that training never showed."""
        if isinstance(column, TextColumn):
            places = {text: place for place, text in enumerate(self.class_names)}
            by_code = np.array([*(places.get(text, -1) for text in column.texts), -1], np.int32)
            ids: Array = by_code[column.codes]
            return ids
        values = np.array([float(name) for name in self.class_names])
        found = np.minimum(np.searchsorted(values, column.values), len(values) - 1)
        return np.where(values[found] == column.values, found, -1).astype(np.int32)


class Preprocessing(BaseModel):
    """Everything that raw data need before they enter the network, and class ids after they leave it."""

    model_config = _STRICT

    version: Literal[1] = 1
    decimal: str = "."
    features: tuple[Annotated[Numeric | Category | Raw, Field(discriminator="kind")], ...] = ()
    inputs: dict[str, InputLayout] = {}
    targets: dict[str, TargetLayout] = {}
    layers: dict[str, Learned] = {}
    """What layers have learnt, by their names."""

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Preprocessing:
        """Raises Failure (E402) where the text is not what `to_json` writes."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise Failure(Problem("E402", f"preprocessing.json is damaged: {place}: {first['msg']}")) from None

    @property
    def kinds(self) -> dict[str, str]:
        """Of each column that the inputs need: `numeric`, `category`, `string` or `integer`, in column order."""
        used = {name for layout in self.inputs.values() for name in layout.features}
        return {feature.name: feature.kind for feature in self.features if feature.name in used}

    def encode(self, columns: Mapping[str, Column], unseen: Unseen) -> dict[str, Array]:
        """The inputs' arrays from raw columns; values that training never showed are counted in `unseen`."""
        encoded = {}
        for feature in self.features:
            match feature, columns.get(feature.name):
                case (Numeric(), NumericColumn() as numbers):
                    encoded[feature.name] = feature.encode(numbers, unseen)
                case (Category(), TextColumn() as texts):
                    encoded[feature.name] = feature.encode(texts, unseen)
                case (Raw(), NumericColumn() | TextColumn() as column):
                    encoded[feature.name] = feature.encode(column)
        return {
            name: np.concatenate([encoded[feature] for feature in layout.features], axis=1)
            for name, layout in self.inputs.items()
        }
