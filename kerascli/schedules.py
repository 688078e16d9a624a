"""Learning rates that change with the step, in Keras's float32 arithmetic."""

import math
from itertools import pairwise
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from kerascli.component import Component, Example, as_tuple

f32 = np.float32
PI = f32(math.pi)


Floats = Annotated[tuple[float, ...], BeforeValidator(as_tuple)]


class Schedule(Component):
    """A learning rate as a function of the step."""

    family = "schedule"
    name: str
    """Keras's name of the schedule; it has no effect."""

    def rate(self, step: int) -> float:
        """The learning rate of that step, counted from 0."""
        raise NotImplementedError


class RateSchema:
    """A number or a Schedule, looked up by hand: a union would put its branches into the path of an error."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"family": Schedule.family}]}

    @staticmethod
    def parse(value: Any) -> float | Schedule:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if not 0 <= value < math.inf:
                raise PydanticCustomError("learning_rate", "must be a finite number of 0 or more")
            return float(value)
        return Schedule.parse(value)


Rate = Annotated[float | Schedule, RateSchema]
"""A learning rate: a number, or a schedule."""


class ExponentialDecay(Schedule):
    """Multiplies the rate by `decay_rate` every `decay_steps` steps.

    rate = initial_learning_rate · decay_rate ^ (step / decay_steps)
    """

    examples = (
        Example({"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.9}),
        Example({"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.9, "staircase": True}),
    )

    initial_learning_rate: float
    """The rate at step 0."""
    decay_steps: int = Field(gt=0)
    """Steps in which the rate is multiplied by `decay_rate` once."""
    decay_rate: float = Field(ge=0)
    """Factor of the decay."""
    staircase: bool = False
    """Whether the exponent is rounded down, so that the rate falls in steps."""
    name: str = "ExponentialDecay"
    """Keras's name of the schedule; it has no effect."""

    def rate(self, step: int) -> float:
        p = _fraction(step, self.decay_steps, self.staircase)
        return float(f32(self.initial_learning_rate) * np.power(f32(self.decay_rate), p))


class InverseTimeDecay(Schedule):
    """Divides the rate by a number that grows linearly.

    rate = initial_learning_rate / (1 + decay_rate · step / decay_steps)
    """

    examples = (
        Example({"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5}),
        Example({"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5, "staircase": True}),
    )

    initial_learning_rate: float
    """The rate at step 0."""
    decay_steps: int = Field(gt=0)
    """Steps in which the divisor grows by `decay_rate`."""
    decay_rate: float = Field(ge=0)
    """What the divisor grows by."""
    staircase: bool = False
    """Whether the number of decays is rounded down, so that the rate falls in steps."""
    name: str = "InverseTimeDecay"
    """Keras's name of the schedule; it has no effect."""

    def rate(self, step: int) -> float:
        p = _fraction(step, self.decay_steps, self.staircase)
        return float(f32(self.initial_learning_rate) / (f32(1) + f32(self.decay_rate) * p))


class PolynomialDecay(Schedule):
    """Goes from the initial rate to `end_learning_rate` along a polynomial.

    rate = (initial_learning_rate - end_learning_rate) · (1 - step / decay_steps) ^ power + end_learning_rate
    """

    examples = (
        Example({"initial_learning_rate": 0.1, "decay_steps": 9}),
        Example({"initial_learning_rate": 0.1, "decay_steps": 9, "power": 0.5, "end_learning_rate": 0.01}),
        Example({"initial_learning_rate": 0.1, "decay_steps": 9, "power": 2.0, "cycle": True}),
    )

    initial_learning_rate: float
    """The rate at step 0."""
    decay_steps: int = Field(gt=0)
    """Steps after which `end_learning_rate` is reached."""
    end_learning_rate: float = 0.0001
    """The last rate."""
    power: float = Field(1.0, ge=0)
    """Exponent of the polynomial; 1 is a straight line."""
    cycle: bool = False
    """Whether the decay starts again, over a longer span, when it has reached its end."""
    name: str = "PolynomialDecay"
    """Keras's name of the schedule; it has no effect."""

    def rate(self, step: int) -> float:
        span = f32(self.decay_steps)
        if self.cycle:
            at = f32(step)
            span *= f32(1) if step == 0 else np.ceil(at / span)
        else:
            at = f32(min(step, self.decay_steps))
        initial, end = f32(self.initial_learning_rate), f32(self.end_learning_rate)
        return float((initial - end) * np.power(f32(1) - at / span, f32(self.power)) + end)


class PiecewiseConstantDecay(Schedule):
    """Keeps each rate up to and including its boundary step.

    rate = values[i] for boundaries[i - 1] < step <= boundaries[i]; fractions of boundaries are dropped, as Keras does.
    """

    examples = (Example({"boundaries": [3, 8], "values": [0.1, 0.01, 0.001]}),)

    boundaries: Floats = Field(min_length=1)
    """Last steps of all rates but the last, increasing."""
    values: Floats = Field(min_length=2)
    """The rates, one more than there are boundaries."""
    name: str = "PiecewiseConstant"
    """Keras's name of the schedule; it has no effect."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.values) != len(self.boundaries) + 1:
            raise PydanticCustomError(
                "piecewise_lengths",
                "needs one value more than boundaries, not {values} values for {boundaries} boundaries",
                {"values": len(self.values), "boundaries": len(self.boundaries)},
            )
        if any(low >= high for low, high in pairwise(self.boundaries)):
            raise PydanticCustomError("piecewise_order", "`boundaries` must increase")
        return self

    def rate(self, step: int) -> float:
        passed = sum(step > int(boundary) for boundary in self.boundaries)
        return float(f32(self.values[passed]))


class CosineDecay(Schedule):
    """Half a cosine wave, after an optional linear warm-up that is not part of `decay_steps`.

    rate = start · ((1 - alpha) · (1 + cos(π · step / decay_steps)) / 2 + alpha), where start is `warmup_target` if set.
    """

    examples = (
        Example({"initial_learning_rate": 0.1, "decay_steps": 9, "alpha": 0.1}),
        Example({"initial_learning_rate": 0.001, "decay_steps": 9, "warmup_target": 0.1, "warmup_steps": 4}),
        Example({"initial_learning_rate": 0.001, "decay_steps": 9, "warmup_target": 0.1}),
    )

    initial_learning_rate: float
    """The rate at step 0."""
    decay_steps: int = Field(gt=0)
    """Steps of the decay, warm-up excluded."""
    alpha: float = 0.0
    """The last rate, as a fraction of the first of the decay."""
    name: str = "CosineDecay"
    """Keras's name of the schedule; it has no effect."""
    warmup_target: float | None = None
    """The rate that the warm-up reaches; without it there is no warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps of the warm-up."""

    def rate(self, step: int) -> float:
        start, warmup = f32(self.initial_learning_rate), 0
        if self.warmup_target is not None:
            target, warmup = f32(self.warmup_target), self.warmup_steps
            if step < warmup:
                return float((target - start) * (f32(step) / f32(warmup)) + start)
            start = target
        p = f32(min(step - warmup, self.decay_steps)) / f32(self.decay_steps)
        wave = f32(0.5) * (f32(1) + np.cos(PI * p))
        return float(start * (f32(1 - self.alpha) * wave + f32(self.alpha)))


class CosineDecayRestarts(Schedule):
    """Cosine decays one after the other, each `t_mul` times as long and `m_mul` times as high as the one before.

    rate = initial · ((1 - alpha) · m_mul ^ i · (1 + cos(π · p)) / 2 + alpha), p the part done of decay number i.
    Source: Loshchilov and Hutter, SGDR, 2016.
    """

    examples = (
        Example({"initial_learning_rate": 0.1, "first_decay_steps": 5}),
        Example({"initial_learning_rate": 0.1, "first_decay_steps": 5, "t_mul": 1.0, "m_mul": 0.8, "alpha": 0.1}),
        Example({"initial_learning_rate": 0.1, "first_decay_steps": 4, "t_mul": 1.5, "m_mul": 0.9}),
    )

    initial_learning_rate: float
    """The rate at step 0."""
    first_decay_steps: int = Field(gt=0)
    """Steps of the first decay."""
    t_mul: float = Field(2.0, ge=1)
    """How many times as long as the last one each decay is; below 1 Keras's rate would end as NaN."""
    m_mul: float = 1.0
    """How many times as high as the last one each decay starts."""
    alpha: float = 0.0
    """The lowest rate, as a fraction of the initial one."""
    name: str = "SGDRDecay"
    """Keras's name of the schedule; it has no effect."""

    def rate(self, step: int) -> float:
        restarts, p = self._position(f32(step) / f32(self.first_decay_steps))
        height = f32(0.5) * np.power(f32(self.m_mul), restarts)
        wave = height * (f32(1) + np.cos(PI * p))
        alpha = f32(self.alpha)
        return float(f32(self.initial_learning_rate) * ((f32(1) - alpha) * wave + alpha))

    def _position(self, p: np.float32) -> tuple[np.float32, np.float32]:
        """Number of the decay, and the part of it that is done; `p` is the step in first decays."""
        if self.t_mul == 1:
            return np.floor(p), p - np.floor(p)
        one, t = f32(1), f32(self.t_mul)
        restarts = np.floor(np.log(one - p * (one - t)) / np.log(t))
        length = np.power(t, restarts)
        return restarts, (p - (one - length) / (one - t)) / length


def _fraction(step: int, decay_steps: int, staircase: bool) -> np.float32:
    p = f32(step) / f32(decay_steps)
    return np.floor(p) if staircase else p
