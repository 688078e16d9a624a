"""How the spec wants the columns of a table turned into numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import as_tuple
from kerascli.dates import Part
from kerascli.text import Output, Side, TextOptions

_MISSING = {
    "numeric": ("mean", "median", "constant", "drop"),
    "category": ("own", "most_frequent", "drop"),
    "date": ("mean", "median", "constant", "drop"),
    "text": ("empty", "drop"),
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "numeric": {"missing": "mean", "scale": "standard"},
    "category": {"missing": "own", "encoding": "one_hot"},
    "date": {"missing": "mean", "scale": "standard"},
    "text": {"missing": "empty", **{name: field.default for name, field in TextOptions.model_fields.items()}},
    "ignore": {},
}
_FURTHER = {"numeric": {"constant"}, "date": {"constant", "parts", "format"}}
"""What they take and have no default for."""


class FeatureOptions(BaseModel):
    """How the spec wants one column of a table turned into numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    kind: Literal["numeric", "category", "date", "text", "ignore"] | None = None
    """What the column holds; by default `numeric` where every value is a number, `date` where every value is an ISO
    date, `text` where most values are different and have five words or more, else `category`."""
    missing: Literal["mean", "median", "constant", "own", "most_frequent", "empty", "drop"] | None = None
    """What stands for a missing value: `mean` (default), `median` or `constant` for numbers and dates, `own` (a slot of
    its own, default) or `most_frequent` for categories, `empty` (default) for texts; `drop` leaves the row out."""
    constant: float | None = None
    """The number that `missing: constant` puts in; 0 by default."""
    scale: Literal["standard", "minmax", "none"] | None = None
    """How numbers and the parts of dates are scaled: `standard` (default: mean 0, population standard deviation 1),
    `minmax` (0 to 1), `none`."""
    encoding: Literal["one_hot", "integer"] | None = None
    """A category as a vector (`one_hot`, the default), or as the number of its slot, for Embedding: from 0 in sorted
    order, the last slot for missing and unseen values, so that `input_dim` is one more than there are categories."""
    parts: Annotated[tuple[Part, ...], BeforeValidator(as_tuple)] | None = Field(None, min_length=1)
    """The numbers taken of a date; by default year, month, day and weekday (Monday is 0), and the hour where a date has
    a time. `days` are those since 1970."""
    format: str | None = None
    """How dates are written, as Python's strptime has it, such as `%d.%m.%Y`; by default as ISO 8601: 2031-12-24."""
    vocabulary: int | None = Field(None, ge=3)
    """Numbers for the words of a text, those for padding (0) and for unknown words (1) included: 5000 by default."""
    sequence_length: int | None = Field(None, ge=1)
    """Numbers of a text with `output: int`: 100 by default."""
    output: Output | None = None
    """A text as the numbers of its words in order (`int`, the default), as which words there are (`multi_hot`), or as
    how often each one is (`count`)."""
    lower: bool | None = None
    """Whether capital letters of a text are taken for small ones: true by default."""
    strip_html: bool | None = None
    """Whether tags such as `<br />` are left out of a text: true by default."""
    padding: Side | None = None
    """Where zeros fill up a short text: `pre` by default, as Keras's pad_sequences."""
    truncating: Side | None = None
    """Where a long text is cut: `pre` by default, as Keras's pad_sequences."""

    @field_validator("format")
    @classmethod
    def _is_a_format(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                datetime.strptime(datetime(2031, 12, 24).strftime(value), value)
        except ValueError as error:
            message = "is no format of dates: {error}; write one such as `%d.%m.%Y`"
            raise PydanticCustomError("date_format", message, {"error": str(error)}) from None
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind is not None:
            allowed = {"kind", *_DEFAULTS[self.kind], *_FURTHER.get(self.kind, ())}
            for name in type(self).model_fields:
                if getattr(self, name) is not None and name not in allowed:
                    others = " and ".join(f"`{kind}`" for kind in _DEFAULTS if self._takes(kind, name))
                    message = "a {kind} feature takes no `{name}`, which is for {others}"
                    raise PydanticCustomError(
                        "feature_option", message, {"kind": self.kind, "name": name, "others": others}
                    )
        if self.kind in _MISSING and self.missing not in (None, *_MISSING[self.kind]):
            raise PydanticCustomError(
                "feature_missing",
                "a {kind} feature takes {names} for `missing`",
                {"kind": self.kind, "names": ", ".join(f"`{n}`" for n in _MISSING[self.kind])},
            )
        if self.constant is not None and self.missing != "constant":
            raise PydanticCustomError("feature_constant", "`constant` needs `missing: constant`", {})
        return self

    @staticmethod
    def _takes(kind: str, name: str) -> bool:
        return name in _DEFAULTS[kind] or name in _FURTHER.get(kind, ())

    def decided(self, kind: str, parts: tuple[Part, ...]) -> FeatureOptions:
        """The same with every default written out; raises ValidationError where an option is not the kind's."""
        given = self.model_dump(exclude_none=True)
        more: dict[str, Any] = {"parts": parts} if kind == "date" else {}
        if given.get("missing") == "constant":
            more = {**more, "constant": 0.0}
        return FeatureOptions.model_validate({**_DEFAULTS[kind], **more, **given, "kind": kind})

    def text(self) -> TextOptions:
        """What they say of texts."""
        given = {name: getattr(self, name) for name in TextOptions.model_fields}
        return TextOptions(**{name: value for name, value in given.items() if value is not None})

    def plain(self) -> dict[str, Any]:
        """As the YAML would write it."""
        found = self.model_dump(exclude_none=True)
        return found | ({"parts": list(self.parts)} if self.parts else {})


def _written_short(value: Any) -> Any:
    """A list of names means inferred kinds; a bare string stands for a mapping with that `kind` alone."""
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return {name: {} for name in value}
    if isinstance(value, Mapping):
        shorts = {name: {"kind": options} for name, options in value.items() if isinstance(options, str)}
        return {**value, **shorts}
    return value


Features = Annotated[dict[str, FeatureOptions], BeforeValidator(_written_short)]
