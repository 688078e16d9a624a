"""The `search:` section of a spec: which of its values a sweep varies, between what, and how it looks for the best.

Keys that are no settings are places of the spec, written as for `--set`, each with its range.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from kerascli.component import nearest

SETTINGS = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
EXAMPLES = "`{choice: [16, 32]}`, `{int: [1, 8]}`, `{uniform: [0.0, 0.5]}` or `{log: [1e-4, 0.1]}`"
_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([smhd]?)\s*")

Number = int | float


def _ends(values: list[Any]) -> list[Any]:
    if len(values) != 2:
        raise PydanticCustomError("ends", "must be two numbers, the lowest and the highest")
    low, high = values
    if low > high:
        meant = f"[{high!r}, {low!r}]"
        raise PydanticCustomError("ends", "must begin with the lower end, as in `{meant}`", {"meant": meant})
    if low == high:
        raise PydanticCustomError("ends", "must have two ends that differ, for between equal ones is nothing to search")
    return values


def _above_zero(values: list[Any]) -> list[Any]:
    if values[0] <= 0:
        raise PydanticCustomError("ends", "must begin above 0, where logarithms begin")
    return values


def _different(values: list[Any]) -> list[Any]:
    for index, value in enumerate(values):
        if any(type(other) is type(value) and other == value for other in values[:index]):
            message = "must be values that differ; item {index}, counted from 0, is a repetition"
            raise PydanticCustomError("repeated", message, {"index": index})
    return values


class Choice(BaseModel):
    """One of several values: numbers, texts, lists, or whole components."""

    model_config = SETTINGS

    choice: Annotated[list[Any], AfterValidator(_different)] = Field(min_length=1)
    """The values."""


class Uniform(BaseModel):
    """A number, every one as likely."""

    model_config = SETTINGS

    uniform: Annotated[list[float], AfterValidator(_ends)]
    """The lowest and the highest."""
    step: float | None = Field(None, gt=0)
    """From one number to the next; by default any number in between."""


class Whole(BaseModel):
    """A whole number, every one as likely."""

    model_config = SETTINGS

    ends: Annotated[list[int], AfterValidator(_ends)] = Field(alias="int")
    """The lowest and the highest."""
    step: int = Field(1, ge=1)
    """From one number to the next."""


class Log(BaseModel):
    """A number whose logarithm is uniform; two whole numbers as ends give whole numbers."""

    model_config = SETTINGS

    log: Annotated[list[Number], AfterValidator(_ends), AfterValidator(_above_zero)]
    """The lowest and the highest, both above 0."""


Range = Choice | Uniform | Whole | Log
KINDS: dict[str, type[Choice] | type[Uniform] | type[Whole] | type[Log]] = {
    "choice": Choice,
    "uniform": Uniform,
    "int": Whole,
    "log": Log,
}


def parsed(value: Any) -> Range:
    """A range as the spec writes it."""
    if not isinstance(value, Mapping):
        raise PydanticCustomError("range", f"must be a range such as {EXAMPLES}")
    kinds = [key for key in value if key in KINDS]
    if len(kinds) == 1:
        unknown = [key for key in value if key not in (kinds[0], "step")]
        if unknown or ("step" in value and kinds[0] in ("choice", "log")):
            message = f"has no key `{[*unknown, 'step'][0]}` beside `{kinds[0]}`"
            raise PydanticCustomError("range", f"{message}{'; did you mean `step`?' if unknown else ''}")
        return KINDS[kinds[0]].model_validate(value)
    if kinds:
        message = f"must be one range; `{kinds[0]}` and `{kinds[1]}` are two"
        raise PydanticCustomError("range", message)
    word = str(next(iter(value), ""))
    near = nearest(word, list(KINDS)) or {"values": "choice", "range": "int", "float": "uniform"}.get(word, "")
    meant = f"; `{word}` is none, did you mean `{near}`?" if near else ""
    raise PydanticCustomError("range", f"must be a range such as {EXAMPLES}{meant}")


def _checked(value: Any) -> Any:
    parsed(value)
    return value


def seconds(time: str | float) -> float:
    """`90`, `90s`, `15m`, `2h` or `1d` in seconds."""
    found = _TIME.fullmatch(str(time))
    if not found or not float(found[1]):
        raise PydanticCustomError("time", "must be a time above 0 such as `90s`, `15m`, `2h` or `1d`")
    return float(found[1]) * UNITS[found[2]]


def _time(value: Any) -> Any:
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise PydanticCustomError("time", "must be a time above 0 such as `90s`, `15m`, `2h` or `1d`")
    seconds(value)
    return value


class Search(BaseModel):
    """What `kerascli sweep` varies, and how.

    Every key that is no setting is a place of the spec, as `--set` names it, with its range:

        layers[1].filters: {choice: [16, 32]}             # values, lists, or whole components
        layers[2].units: {int: [16, 128], step: 16}
        layers[3].rate: {uniform: [0.0, 0.5]}             # with a `step`, if need be
        optimizer.learning_rate: {log: [1e-4, 1e-1]}      # of two whole numbers: whole numbers
    """

    model_config = SETTINGS | ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[dict[str, Any], BeforeValidator(_checked, json_schema_input_type=Range)]]

    sampler: Literal["tpe", "random", "grid", "cmaes"] = "tpe"
    """How values are chosen: by the tree-structured Parzen estimator, at random, all of a grid in turn, by CMA-ES."""
    monitor: str | None = None
    """The figure to make best, named as in `expect`; by default `val_loss`, or `loss` without a validation split."""
    direction: Literal["minimize", "maximize"] | None = None
    """Which way the figure is better; by default as its metric says."""
    pruner: Literal["none", "median", "halving", "hyperband"] = "none"
    """How trials that promise nothing are ended early, by the figure after each epoch."""
    trials: int | None = Field(None, ge=1)
    """Values to try, at most; by default 20, or the whole grid."""
    time: Annotated[str | float | None, BeforeValidator(lambda v: v if v is None else _time(v))] = None
    """How long new trials are begun, such as `90s`, `15m`, `2h`; by default as long as there are any."""
    seeds: int = Field(1, ge=1)
    """Trainings of each, with `seed` and the numbers after it; what counts is their mean."""

    @property
    def ranges(self) -> dict[str, Range]:
        """The range of each place, in the order of the spec."""
        return {path: parsed(value) for path, value in (self.model_extra or {}).items()}
