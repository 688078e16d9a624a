"""Rows brought to mean 0 and variance 1: the heart of layer normalisation.

Legend: M rows (the batch and all leading axes of a sample), W numbers in a row (the last axes of a sample).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.row_norm import flat_rows
from kerascli.ops.shape import batch_major


class Standardise(Op):
    """y = (x - μ) r with r = 1 / √(σ² + ε), over the last `axes` axes of a sample; r is kept for the derivative."""

    axes: int
    epsilon: float

    def infer(self, x: Value) -> Type:
        return x.type

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return (Type(inputs[0].shape[: -self.axes]),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, y, ones = flat_rows(inputs[0], self.axes), flat_rows(out, self.axes), _ones(inputs[0], self.axes, site)
        r = site.aux[0].reshape(-1)
        share = np.asarray(1 / len(ones), r.dtype)
        return [
            partial(np.dot, x, ones, r),
            partial(np.multiply, r, share, r),
            partial(np.subtract, x, r[:, None], y),
            partial(np.einsum, "ij,ij->i", y, y, out=r),
            partial(np.multiply, r, share, r),
            partial(np.add, r, np.asarray(self.epsilon, r.dtype), r),
            partial(np.sqrt, r, r),
            partial(np.reciprocal, r, r),
            partial(np.multiply, y, r[:, None], y),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(StandardiseGradient(self.axes), dy, y, y.further[0]),)

    def flops(self, y: Value, rows: int) -> int:
        return 5 * super().flops(y, rows)


class StandardiseGradient(Op):
    """dx = r (dy - mean(dy) - y · mean(dy · y)), the means over a row."""

    axes: int
    in_place = (0, 1)

    def infer(self, dy: Value, y: Value, r: Value) -> Type:
        return y.type

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        whole = inputs[1].whole(rows)
        one = (prod(whole[: -self.axes]),)
        return (whole, "float"), (one, "float"), (one, "float")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        dy, y, dx, t = (flat_rows(a, self.axes) for a in (inputs[0], inputs[1], out, site.scratch[0]))
        r, ones = inputs[2].reshape(-1, 1), _ones(out, self.axes, site)
        mean, slope = site.scratch[1:]
        share = np.asarray(1 / len(ones), dx.dtype)
        return [
            partial(np.dot, dy, ones, mean),
            partial(np.multiply, mean, share, mean),
            partial(np.einsum, "ij,ij->i", dy, y, out=slope),
            partial(np.multiply, slope, share, slope),
            partial(np.multiply, y, slope[:, None], t),
            partial(np.subtract, dy, t, dx),
            partial(np.subtract, dx, mean[:, None], dx),
            partial(np.multiply, dx, r, dx),
        ]

    def flops(self, y: Value, rows: int) -> int:
        return 7 * super().flops(y, rows)


def _ones(x: Array, axes: int, site: Site) -> Array:
    return site.constant(1, (prod(x.shape[-axes:]),))


def standardise(x: Value, axes: int, epsilon: float) -> Value:
    """x with mean 0 and variance 1 over the last `axes` axes of each sample."""
    x = batch_major(x)
    return x.trace.add(Standardise(axes, epsilon), x)
