"""What an optimizer is: a rule on arrays, most often elementwise, and the options that all of Keras's optimizers share.

A training step is two calls, in Keras's order of events:

- `prepare`, once, on the whole gradients: accumulate, clip;
- `advance`, in parallel: decay the weights, apply the rule, average the weights; on any slices of the flat vectors, or
  on whole weights where the rule is not elementwise.

Constraints come after both. Steps are Keras's iterations: batches counted from 0, accumulated ones included.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Component
from kerascli.ops.ir import Array, Shape
from kerascli.schedules import Rate, Schedule

AVERAGE = "average"
ACCUMULATOR = "gradient_accumulator"
Factor = float | np.float32


class Optimizer(Component):
    """A rule that changes the weights by their gradients."""

    family = "optimizer"
    scratches: ClassVar[int] = 1
    """Temporary arrays that `advance` needs, as long as the slice."""
    elementwise: ClassVar[bool] = True
    """Whether the rule treats numbers one by one; if not, `advance` is given whole weights in their shapes."""

    @classmethod
    def find(cls, name: str) -> type[Component] | None:
        return super().find(name) or super().find(name.lower())

    learning_rate: Rate = 0.001
    """Size of the steps: a number, or a schedule by the step."""
    name: str | None = None
    """Name of the optimizer; it has no effect."""
    weight_decay: float | None = Field(None, ge=0)
    """Part of each weight, times the learning rate, that is taken off before a step."""
    clipnorm: float | None = Field(None, ge=0)
    """Largest norm of each weight's gradient; a longer gradient is shortened to it. 0 is no limit, as in Keras."""
    clipvalue: float | None = Field(None, ge=0)
    """Largest absolute value of a gradient's elements; 0 is no limit."""
    global_clipnorm: float | None = Field(None, ge=0)
    """Largest norm of all gradients together; 0 is no limit."""
    use_ema: bool = False
    """Whether to keep a moving average of the weights, which replaces them at the end of training."""
    ema_momentum: float = Field(0.99, ge=0, le=1)
    """Part of the old average that stays at each step."""
    ema_overwrite_frequency: int | None = Field(None, ge=1)
    """Number of steps after which the weights are replaced by their average, again and again."""
    loss_scale_factor: float | None = Field(None, gt=0)
    """Factor of the loss that is undone in the gradients, against underflow in half precision; in this engine's float32
    the two cancel out, so neither is done."""
    gradient_accumulation_steps: int | None = Field(None, ge=2)
    """Number of batches whose mean gradient makes one step."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        limits = [n for n in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, n) is not None]
        if len(limits) > 1:
            raise PydanticCustomError(
                "clip_conflict",
                "only one of `clipnorm`, `clipvalue` and `global_clipnorm` may be set, not {limits}",
                {"limits": " and ".join(f"`{n}`" for n in limits)},
            )
        return self

    # What a rule defines.

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        """The rule's slots and first values, in groups; Keras keeps the slots of a group together, weight by weight."""
        return ()

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        """The rule, in place; `t` counts updates from 1. `g` stays as it is."""
        raise NotImplementedError

    def rule_of(self, path: str, shape: Shape) -> "Optimizer":
        """The rule for this weight: one for all, unless the optimizer is made of several."""
        return self

    def slot_shape(self, slot: str, shape: Shape) -> Shape:
        """What Keras keeps in a slot of such a weight; in the engine it begins an array as long as the weight."""
        return shape

    def totals(self, iteration: int) -> dict[str, float]:
        """Numbers that Keras keeps after all slots, and that follow from the iteration."""
        return {}

    # State.

    def slots(self) -> dict[str, float]:
        """Every slot, as long as the weights, and its first value."""
        return {name: first for group in self._groups() for name, first in group.items()}

    def variables(self, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, str, Shape]]:
        """(slot, weight, shape) as Keras saves them, after `iteration` and, unless scheduled, `learning_rate`."""
        rules = {path: self.rule_of(path, shape) for path, shape in shapes.items()}
        for index, _ in enumerate(self._groups()):
            for path, rule in rules.items():
                for name in list(rule._groups())[index]:
                    yield name, path, rule.slot_shape(name, shapes[path])

    def _groups(self) -> Iterator[dict[str, float]]:
        if self.use_ema:
            yield {AVERAGE: 0.0}
        if self.gradient_accumulation_steps:
            yield {ACCUMULATOR: 0.0}
        yield from self.rule_slots()

    # Time.

    def rate(self, iteration: int, current: float) -> float:
        """The learning rate of a batch: the schedule's if there is one, else `current`, which callbacks may change."""
        if isinstance(self.learning_rate, Schedule):
            return self.learning_rate.rate(iteration)
        return float(np.float32(current))

    def due(self, iteration: int) -> bool:
        """Whether this batch ends in an update of the weights, rather than adding to the accumulated gradients."""
        return not self.gradient_accumulation_steps or (iteration + 1) % self.gradient_accumulation_steps == 0

    def updates(self, iteration: int) -> int:
        """Updates made before this batch."""
        return iteration // (self.gradient_accumulation_steps or 1)

    # One training step.

    def prepare(self, gradients: Sequence[Array], accumulators: Sequence[Array], iteration: int) -> bool:
        """Make the gradients ready, one contiguous array a weight, in place; False where no update is due.

        `accumulators` are the slots of that name, or empty.
        """
        if self.gradient_accumulation_steps and not self._accumulate(gradients, accumulators, iteration):
            return False
        self.clip(gradients)
        return True

    def advance(
        self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], iteration: int, lr: float
    ) -> None:
        """Everything that follows `prepare`, on slices or whole weights; called whether an update is due or not."""
        if self.due(iteration):
            if self.weight_decay is not None:
                self.decay(w, scratch, lr)
            self.step(w, g, slots, scratch, self.updates(iteration) + 1, lr)
        if self.use_ema:
            self.average(w, slots[AVERAGE], scratch, iteration)

    def finish(self, w: Array, slots: Mapping[str, Array]) -> None:
        """At the end of training: the average becomes the weights."""
        if self.use_ema:
            np.copyto(w, slots[AVERAGE])

    def _accumulate(self, gradients: Sequence[Array], accumulators: Sequence[Array], iteration: int) -> bool:
        due, steps = self.due(iteration), self.gradient_accumulation_steps or 1
        for g, total in zip(gradients, accumulators, strict=True):
            if due:
                np.add(g, total, out=g)
                np.divide(g, steps, out=g)
                total.fill(0)
            else:
                np.add(total, g, out=total)
        return due

    def clip(self, gradients: Sequence[Array]) -> None:
        """Limit the gradients in place.

        clipnorm: g · min(1, limit / ‖g‖), weight by weight; global_clipnorm: with the norm of all, and NaN where that
        is infinite; clipvalue: elements between -limit and limit.
        """
        if self.clipvalue:
            for g in gradients:
                np.clip(g, -self.clipvalue, self.clipvalue, out=g)
        elif self.clipnorm:
            for g in gradients:
                _shorten(g, norm(g), self.clipnorm)
        elif self.global_clipnorm:
            whole = math.hypot(*[norm(g) for g in gradients])
            for g in gradients:
                _shorten(g, whole if whole < math.inf else math.nan, self.global_clipnorm)

    def decay(self, w: Array, scratch: Sequence[Array], lr: float) -> None:
        """w - w · weight_decay · lr. One multiplication by 1 - weight_decay · lr would round that number badly."""
        assert self.weight_decay is not None
        np.multiply(w, self.weight_decay * lr, out=scratch[0])
        np.subtract(w, scratch[0], out=w)

    def average(self, w: Array, average: Array, scratch: Sequence[Array], iteration: int) -> None:
        """average · momentum + w · (1 - momentum), where momentum is 0 until the first update has been counted."""
        updates = self.updates(iteration)
        if updates == 0:
            np.copyto(average, w)
        else:
            momentum = np.float32(self.ema_momentum)
            blend(average, momentum, w, np.float32(1) - momentum, scratch[0])
        if self.ema_overwrite_frequency and (updates + 1) % self.ema_overwrite_frequency == 0:
            np.copyto(w, average)


def norm(x: Array) -> float:
    """The root of the sum of squares, at any shape."""
    flat = x.reshape(-1)
    return math.sqrt(np.dot(flat, flat))


def blend(average: Array, kept: Factor, value: Array, share: Factor, s: Array) -> None:
    """average ← kept · average + share · value, by way of `s`, which may be the value itself."""
    np.multiply(value, share, out=s)
    np.multiply(average, kept, out=average)
    np.add(average, s, out=average)


def approach(average: Array, value: Array, share: Factor, s: Array) -> None:
    """average ← average + share · (value - average), by way of `s`, which may be the value itself.

    The same as `blend` but for rounding: Keras has some averages one way, some the other.
    """
    np.subtract(value, average, out=s)
    np.multiply(s, share, out=s)
    np.add(average, s, out=average)


def moments(m: Array, v: Array, g: Array, shares: tuple[Factor, Factor], s: Array) -> None:
    """Adam's averages of gradients and of their squares, each moved by its share towards what is new."""
    approach(m, g, shares[0], s)
    np.multiply(g, g, out=s)
    approach(v, s, shares[1], s)


@lru_cache(maxsize=4)  # every slice of a step asks for the same few
def start_correction(beta: float, t: int) -> float:
    """1 - betaᵗ in float32, for Keras's rounding of it shows."""
    return float(np.float32(1) - np.power(np.float32(beta), np.float32(t)))


def _shorten(g: Array, length: float, limit: float) -> None:
    if not length <= limit:
        np.multiply(g, limit / length, out=g)
