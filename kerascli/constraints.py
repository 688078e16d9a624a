"""Rules that a weight is forced back under after each training step. EPSILON is Keras's fuzz factor."""

from typing import Annotated, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Component, Example, as_tuple
from kerascli.ops.ir import Array, Shape, ShapeError

EPSILON = 1e-7


class Constraint(Component):
    """A rule that a weight obeys."""

    family = "constraint"
    snake_names = True

    def check(self, shape: Shape) -> None:
        """Raise ShapeError where a weight of that shape cannot obey this rule."""

    def apply(self, w: Array) -> None:
        """Change `w` in place, as little as the rule asks."""
        raise NotImplementedError


class NonNeg(Constraint):
    """No element is negative."""

    examples = (Example(),)

    def apply(self, w: Array) -> None:
        np.maximum(w, 0, out=w)


Axes = Annotated[int | tuple[int, ...], BeforeValidator(as_tuple)]


class _Norm(Constraint):
    """A rule about the Euclidean norms along some axes."""

    axis: Axes = 0
    """Axis or axes along which norms are taken: 0 for the inputs of Dense units, [0, 1, 2] for Conv2D filters."""

    def check(self, shape: Shape) -> None:
        for axis in self._axes():
            if not -len(shape) <= axis < len(shape):
                raise ShapeError(
                    f"{type(self).__name__} takes norms along axis {axis}, but the weight is {list(shape)}"
                )

    def _axes(self) -> tuple[int, ...]:
        return (self.axis,) if isinstance(self.axis, int) else self.axis

    def _norms(self, w: Array) -> Array:
        """Norms with the axes kept, in float64; squares are summed without an array of squares."""
        letters = list(range(w.ndim))
        dropped = {axis % w.ndim for axis in self._axes()}
        kept = [letter for letter in letters if letter not in dropped]
        squares: Array = np.einsum(w, letters, w, letters, kept, dtype=np.float64)
        norms: Array = np.sqrt(np.expand_dims(squares, tuple(dropped)))
        return norms


class UnitNorm(_Norm):
    """Norms are 1.

    w / (ε + norm)
    """

    examples = (Example(), Example({"axis": [0, 1]}))

    def apply(self, w: Array) -> None:
        np.divide(w, (self._norms(w) + EPSILON).astype(w.dtype), out=w)


class MaxNorm(_Norm):
    """Norms are at most `max_value`.

    w · min(norm, max_value) / (ε + norm)
    """

    examples = (Example({"max_value": 0.5}), Example({"max_value": 1, "axis": [0, 1]}))

    max_value: float = Field(2.0, ge=0)
    """The largest norm."""

    def apply(self, w: Array) -> None:
        norms = self._norms(w)
        factors = np.minimum(norms, self.max_value) / (norms + EPSILON)
        np.multiply(w, factors.astype(w.dtype), out=w)


class MinMaxNorm(_Norm):
    """Norms are drawn into a range.

    w · (rate · clip(norm, min_value, max_value) + (1 - rate) · norm) / (ε + norm)
    """

    examples = (
        Example({"min_value": 0.5, "max_value": 0.8}),
        Example({"min_value": 0.5, "max_value": 0.8, "rate": 0.3, "axis": -1}),
    )

    min_value: float = Field(0.0, ge=0)
    """The smallest norm."""
    max_value: float = Field(1.0, ge=0)
    """The largest norm."""
    rate: float = Field(1.0, ge=0, le=1)
    """How far one step goes: 1 is all the way."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_value > self.max_value:
            raise PydanticCustomError("norm_range", "`min_value` must not exceed `max_value`")
        return self

    def apply(self, w: Array) -> None:
        norms = self._norms(w)
        wanted = self.rate * np.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        np.multiply(w, (wanted / (norms + EPSILON)).astype(w.dtype), out=w)
