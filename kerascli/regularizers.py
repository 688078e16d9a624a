"""Penalties on an array that training adds to the loss."""

from typing import Literal

import numpy as np
from pydantic import Field

from kerascli.component import Component, Example
from kerascli.ops.elementwise import abs, add, divide, maximum, multiply, sqrt, square
from kerascli.ops.ir import Scope, Shape, ShapeError, Value, constant
from kerascli.ops.linear import batch_sum, matmul, transpose_matrix
from kerascli.ops.reduction import sum

EPSILON = 1e-7


class Regularizer(Component):
    """A penalty on an array, such as a weight or a layer's output."""

    family = "regularizer"
    snake_names = True

    def check(self, shape: Shape) -> None:
        """Raise ShapeError where an array of that shape has no such penalty."""

    def penalty(self, w: Value) -> Value:
        """A scalar: the amount that the loss grows by. For blocks of samples it is the sum over the batch."""
        raise NotImplementedError


class L1(Regularizer):
    """l1 · Σ|w|"""

    examples = (Example(), Example({"l1": 0.1}))

    l1: float = Field(0.01, ge=0)
    """Factor of the sum."""

    def penalty(self, w: Value) -> Value:
        return multiply(_total(abs(w)), self.l1)


class L2(Regularizer):
    """l2 · Σw²"""

    examples = (Example(), Example({"l2": 0.1}))

    l2: float = Field(0.01, ge=0)
    """Factor of the sum."""

    def penalty(self, w: Value) -> Value:
        return multiply(_total(square(w)), self.l2)


class L1L2(Regularizer):
    """l1 · Σ|w| + l2 · Σw²"""

    aliases = ("l1_l2",)
    examples = (Example({"l1": 0.1, "l2": 0.2}), Example({"l2": 0.2}), Example())

    l1: float = Field(0.0, ge=0)
    """Factor of the sum of absolute values."""
    l2: float = Field(0.0, ge=0)
    """Factor of the sum of squares."""

    def penalty(self, w: Value) -> Value:
        first, second = L1(l1=self.l1), L2(l2=self.l2)
        if not self.l2:
            return first.penalty(w)
        return add(first.penalty(w), second.penalty(w)) if self.l1 else second.penalty(w)


class OrthogonalRegularizer(Regularizer):
    """Mean absolute cosine between the rows (or columns) of a matrix, times `factor`.

    factor · Σ_{i<j} |ŵᵢ · ŵⱼ| / pairs, ŵ of length 1. A single row has no pairs: the penalty is 0, Keras's NaN.
    """

    examples = (Example(), Example({"factor": 0.1, "mode": "columns"}))

    factor: float = Field(0.01, ge=0)
    """Factor of the mean."""
    mode: Literal["rows", "columns"] = "rows"
    """Whether rows or columns are to be orthogonal."""

    def check(self, shape: Shape) -> None:
        if len(shape) != 2:
            raise ShapeError(f"OrthogonalRegularizer takes matrices only, but the array is {list(shape)}")

    def penalty(self, w: Value) -> Value:
        self.check(w.shape)
        if w.scope == Scope.BLOCK:
            raise ShapeError("OrthogonalRegularizer compares the rows of a weight, not those of a batch")
        length = sqrt(maximum(sum(square(w), 1 if self.mode == "rows" else 0, keepdims=True), EPSILON**2))
        unit = divide(w, length)
        flipped = transpose_matrix(unit)
        cosines = matmul(unit, flipped) if self.mode == "rows" else matmul(flipped, unit)
        count = cosines.shape[0]
        pairs = max(1, count * (count - 1) // 2)
        others = constant(w.trace, 1 - np.eye(count))
        return multiply(sum(abs(multiply(cosines, others))), self.factor * 0.5 / pairs)


def _total(x: Value) -> Value:
    """Σ over all axes, the batch included."""
    return batch_sum(sum(x)) if x.scope == Scope.BLOCK else sum(x)
