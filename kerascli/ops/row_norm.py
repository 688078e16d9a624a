"""Rows brought to a length: the heart of RMS and unit normalisation.

Legend: a row is the last axes of a sample together; all rows of all samples are treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.shape import batch_major


class ScaleRows(Op):
    """y = r x with r = 1 / √max(share · Σx² + epsilon, floor), over the last `axes` axes; r is kept for later."""

    axes: int
    share: float
    epsilon: float = 0.0
    floor: float = 0.0

    def infer(self, x: Value) -> Type:
        return x.type

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return (Type(inputs[0].shape[: -self.axes]),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, y = flat_rows(inputs[0], self.axes), flat_rows(out, self.axes)
        r = site.aux[0].reshape(-1)
        share, epsilon = np.asarray(self.share, r.dtype), np.asarray(self.epsilon, r.dtype)
        return [
            partial(np.einsum, "ij,ij->i", x, x, out=r),
            partial(np.multiply, r, share, r),
            partial(np.add, r, epsilon, r),
            partial(np.maximum, r, site.constant(self.floor, r.shape), out=r),
            partial(np.sqrt, r, r),
            partial(np.reciprocal, r, r),
            partial(np.multiply, x, r[:, None], y),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(ScaleRowsGradient(self.axes, self.share), dy, y, y.further[0]),)

    def flops(self, y: Value, rows: int) -> int:
        return 3 * super().flops(y, rows)


class ScaleRowsGradient(Op):
    """dx = r (dy - y · share · Σ(dy · y)), the sum over a row."""

    axes: int
    share: float
    in_place = (0, 1)

    def infer(self, dy: Value, y: Value, r: Value) -> Type:
        return y.type

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        whole = inputs[1].whole(rows)
        return (whole, "float"), ((prod(whole[: -self.axes]),), "float")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        dy, y, dx, t = (flat_rows(a, self.axes) for a in (inputs[0], inputs[1], out, site.scratch[0]))
        r, slope = inputs[2].reshape(-1, 1), site.scratch[1]
        return [
            partial(np.einsum, "ij,ij->i", dy, y, out=slope),
            partial(np.multiply, slope, np.asarray(self.share, slope.dtype), slope),
            partial(np.multiply, y, slope[:, None], t),
            partial(np.subtract, dy, t, dx),
            partial(np.multiply, dx, r, dx),
        ]

    def flops(self, y: Value, rows: int) -> int:
        return 5 * super().flops(y, rows)


def flat_rows(x: Array, axes: int) -> Array:
    """The last axes of an array as the rows of a matrix."""
    return x.reshape(-1, prod(x.shape[-axes:]))


def rms_normalise(x: Value, axes: int, epsilon: float) -> Value:
    """x with a mean square of 1 over the last `axes` axes of each sample."""
    x = batch_major(x)
    return x.trace.add(ScaleRows(axes, 1 / prod(x.shape[-axes:]), epsilon), x)


def unit_normalise(x: Value, axes: int, shortest: float) -> Value:
    """x with Σx² = 1 over the last `axes` axes of each sample; rows below `shortest` count as that long."""
    x = batch_major(x)
    return x.trace.add(ScaleRows(axes, 1.0, 0.0, shortest**2), x)
