"""Circle loss: every sample of a batch against every other.

d(i, j) = max(1 - x(i)·x(j), 0), e = d for pairs of one label (like), e = 1 - d for others (unlike)
v = γ · max(e + m, 0) · (e - m), whose slope by e is 2 γ e where e + m > 0
l(i) = softplus(log Σ exp v(i, like) + log Σ exp v(i, unlike)), which is 0 for a sample that lacks one of the two

Legend: n samples of the whole batch, D numbers in an embedding, γ `gamma`, m `margin`. Source: Sun et al., 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, ShapeError, Site, Type, Value
from kerascli.ops.shape import batch_major

LOWEST = -1e30
"""What stands for the logarithm of 0 where a difference is taken."""


class _Pairs(Op):
    """What loss and gradient share: all pairs of a batch."""

    gamma: float
    margin: float
    remove_diagonal: bool
    mixes = True
    cheap = False

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        """d, e, v and one more of all pairs; which pairs do not count; v's largest and sum by sample."""
        pairs = rows, rows
        return *((pairs, "float"),) * 4, (pairs, "bool"), ((rows, 1), "float"), ((rows, 1), "float")

    def distances(self, site: Site, x: Array, d: Array) -> list[Call]:
        return [
            partial(np.matmul, x, x.T, d),
            partial(np.subtract, 1, d, d),
            partial(np.maximum, d, site.constant(0, d.shape, d.dtype), out=d),
        ]

    def side(self, site: Site, labels: Array, like: bool, room: Sequence[Array]) -> list[Call]:
        """e and v of the pairs of one label, or of the others; v is -infinity where a pair does not count."""
        d, e, v, other, left_out, *_ = room
        flat = labels.reshape(-1)
        diagonal = [partial(np.fill_diagonal, left_out, True)] if self.remove_diagonal else []
        return [
            partial(np.not_equal if like else np.equal, flat[:, None], flat, left_out),
            *(diagonal if like else ()),
            partial(np.copyto, e, d) if like else partial(np.subtract, 1, d, e),
            partial(np.add, e, self.margin, v),
            partial(np.maximum, v, site.constant(0, v.shape, v.dtype), out=v),
            partial(np.subtract, e, self.margin, other),
            partial(np.multiply, v, other, v),
            partial(np.multiply, v, self.gamma, v),
            partial(np.copyto, v, -np.inf, where=left_out),
        ]

    def flops(self, y: Value, rows: int) -> int:
        return 4 * rows * rows * (y.inputs[0].size + 10)


class CircleLoss(_Pairs):
    """l. Inputs: embeddings (D,) and labels, whole numbers. Further outputs: the two logarithms, like and unlike."""

    def infer(self, x: Value, labels: Value) -> Type:
        return Type(())

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return Type(()), Type(())

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, labels = inputs
        d, _, v, _, _, high, total = room = site.scratch
        calls = self.distances(site, x, d)
        for like, result in zip((True, False), site.aux, strict=True):
            column = result[:, None]
            calls += [
                *self.side(site, labels, like, room),
                partial(np.maximum.reduce, v, 1, None, high, True),
                partial(np.maximum, high, site.constant(LOWEST, high.shape, high.dtype), out=high),
                partial(np.subtract, v, high, v),
                partial(np.exp, v, v),
                partial(np.add.reduce, v, 1, None, total, True),
                partial(np.log, total, total),
                partial(np.add, total, high, column),
            ]
        both = site.aux
        return [*calls, partial(np.add, *both, out), partial(np.logaddexp, out, 0, out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        x, labels = y.inputs
        own = CircleGradient(self.gamma, self.margin, self.remove_diagonal)
        return y.trace.add(own, x, labels, *y.further, dy), None


class CircleGradient(_Pairs):
    """The gradient of the embeddings. Inputs: those of the loss, its further outputs, dy."""

    def infer(self, x: Value, *inputs: Value) -> Type:
        return x.type

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return *super().scratch(rows, *inputs), ((rows, rows), "float"), (inputs[0].whole(rows), "float")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, labels, *logarithms, dy = inputs
        *room, ds, part = site.scratch
        d, e, v, other, flags, column, _ = room
        calls = self.distances(site, x, d)
        for like, logarithm in zip((True, False), logarithms, strict=True):
            calls += [
                *self.side(site, labels, like, room),
                partial(np.maximum, logarithm[:, None], site.constant(LOWEST, column.shape, v.dtype), out=column),
                partial(np.subtract, v, column, v),
                partial(np.exp, v, v),
                partial(np.multiply, v, e, v),
                partial(np.add, e, self.margin, other),
                partial(np.greater, other, 0, flags),
                partial(np.multiply, v, flags, v),
                partial(np.copyto, ds, v) if like else partial(np.subtract, ds, v, ds),
            ]
        like_log, unlike_log = logarithms
        slope = column[:, 0]
        return [
            *calls,
            partial(np.greater, d, 0, flags),
            partial(np.multiply, ds, flags, ds),
            partial(np.add, like_log, unlike_log, slope),
            partial(np.negative, slope, slope),
            partial(np.exp, slope, slope),
            partial(np.add, slope, 1, slope),
            partial(np.divide, dy, slope, slope),
            partial(np.multiply, slope, -2 * self.gamma, slope),
            partial(np.multiply, ds, column, ds),
            partial(np.matmul, ds, x, out),
            partial(np.matmul, ds.T, x, part),
            partial(np.add, out, part, out),
        ]


def circle(labels: Value, x: Value, gamma: float, margin: float, remove_diagonal: bool) -> Value:
    """Class numbers (n,) and embeddings (n, D) → (n,)."""
    if len(x.shape) != 1:
        raise ShapeError(f"Circle compares embeddings of one axis, not {x.shape}")
    return x.trace.add(CircleLoss(gamma, margin, remove_diagonal), batch_major(x), labels)
