"""Matrix products, biases and sums over the batch: the ops that meet the weights.

Legend: n rows of a block, K inputs, O outputs, M rows of a product (all leading axes of a value together).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from math import prod

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Scope, ShapeError, Site, Type, Value

BIG_MATRIX = 1 << 17
"""Numbers in a matrix that takes about all of a core's second-level cache."""
HUGE_MATRIX = 1 << 22
"""Numbers in a matrix that takes about all of the cache that cores share."""
SHARED_FLOPS = 1 << 18
"""Multiplications from which a product is worth cutting into strips for the lanes."""


def rows_of(x: Array) -> Array:
    """All leading axes together: (..., K) → (M, K), without a copy."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def product(a: Array, b: Array, out: Array) -> Call:
    """out = a @ b for matrices; np.dot is called faster than np.matmul, but not for columns cut out of a matrix."""
    whole = a.flags.forc and b.flags.forc and out.flags.c_contiguous
    return partial(np.dot if whole else np.matmul, a, b, out)


def _strips(size: int, count: int) -> list[tuple[int, int]]:
    """Where at most `count` strips of about equal width begin and end."""
    cuts = [size * k // count for k in range(count + 1)]
    return [(a, b) for a, b in pairwise(cuts) if a < b]


def one_row_a_sample(x: Value) -> bool:
    return x.scope == Scope.BLOCK and len(x.shape) == 1 and x.times == 1


class MatMul(Op):
    """y = x @ w over the last axis of x; with `columns`, x is stored (K, ...) and y = xᵀ @ w."""

    columns: bool = False
    cheap = False

    def infer(self, x: Value, w: Value) -> Type:
        inner = x.shape[0] if self.columns else x.shape[-1]
        if len(w.shape) != 2 or inner != w.shape[0]:
            raise ShapeError(f"cannot multiply {x.shape} by {w.shape}")
        if self.columns:
            return Type((*x.shape[1:], w.shape[1]), batch_axis=x.batch_axis - 1)
        return Type((*x.shape[:-1], w.shape[1]), batch_axis=x.batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, w = inputs
        left = x.reshape(x.shape[0], -1).T if self.columns else rows_of(x)
        return [product(left, w, rows_of(out))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        x, w = y.inputs
        dx = None if self.columns else matmul(dy, transpose_matrix(w))
        if x.scope != Scope.BLOCK:
            return dx, y.trace.add(MatMul(), transpose_matrix(x), dy)
        if one_row_a_sample(x):
            return dx, y.trace.add(BatchProduct(), x, dy)
        return dx, y.trace.add(RowsProduct(self.columns), x, dy)

    def strips(self, site: Site, count: int, out: Array, *inputs: Array) -> list[Sequence[Call]]:
        x, w = inputs
        if out.ndim != 2 or out.size * len(w) < SHARED_FLOPS:
            return [self.bind(site, out, x, w)]
        rows, columns = out.shape
        if columns > rows:  # each strip goes through its own part of the matrix, the bigger of the two
            return [[product(x, w[:, a:b], out[:, a:b])] for a, b in _strips(columns, count)]
        return [[product(x[a:b], w, out[a:b])] for a, b in _strips(rows, count)]

    def at_once(self, y: Value) -> bool:
        """A matrix that fills the cache would be read anew for the few rows of every block."""
        x, w = y.inputs
        return one_row_a_sample(x) and x.batch_axis == 0 and w.size >= BIG_MATRIX

    def awaited(self, y: Value) -> bool:
        """Such a matrix had better be read once a step, by all lanes together, than by each of them."""
        return self.at_once(y) and y.inputs[1].size >= HUGE_MATRIX

    def flops(self, y: Value, rows: int) -> int:
        return 2 * y.inputs[1].shape[0] * super().flops(y, rows)


class RowsProduct(Op):
    """w' = xᵀ @ dy summed over all rows of all samples: the gradient of the matrix in y = x @ w."""

    columns: bool = False
    contracts = True

    def infer(self, x: Value, dy: Value) -> Type:
        return Type((x.shape[0] if self.columns else x.shape[-1], dy.shape[-1]))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, dy = inputs
        left = x.reshape(x.shape[0], -1) if self.columns else rows_of(x).T
        return [product(left, rows_of(dy), out)]

    def slices(self, y: Value) -> int:
        return y.shape[0]

    def slice(self, first: int, end: int, out: Array, *inputs: Array) -> tuple[Array, ...]:
        x, dy = inputs
        return out[first:end], x[first:end] if self.columns else x[..., first:end], dy

    def flops(self, y: Value, rows: int) -> int:
        x, dy = y.inputs
        return 2 * rows * dy.size * (x.shape[0] if self.columns else x.shape[-1])


class BatchProduct(Op):
    """The same for one row a sample, as a single product for the whole batch once all blocks are done.

    Lanes then share it by strips of rows, and no lane adds up a copy of a big matrix.
    """

    whole_batch = True

    def infer(self, x: Value, dy: Value) -> Type:
        return Type((x.shape[-1], dy.shape[-1]))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, dy = inputs
        return [product(x.T, dy, out)]

    def strips(self, site: Site, count: int, out: Array, *inputs: Array) -> list[Sequence[Call]]:
        x, dy = inputs
        if out.size * len(x) < SHARED_FLOPS:
            return [self.bind(site, out, x, dy)]
        return [[product(x[:, a:b].T, dy, out[a:b])] for a, b in _strips(len(out), count)]

    def flops(self, y: Value, rows: int) -> int:
        return 2 * rows * prod(y.shape)


class TransposeMatrix(Op):
    """A contiguous transposed copy, made once a step, for ops that multiply by it at every step of a sequence.

    A product a block does without: A·Bᵀ is 5 to 25 % slower than A·B, less than the copy costs (see the machine).
    Copied by 64 rows at a time, so that the lines written to stay in the cache: twice as fast.
    """

    def infer(self, w: Value) -> Type:
        return Type((w.shape[1], w.shape[0]), w.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (w,) = inputs
        return [partial(np.copyto, out[:, k : k + 64], w[k : k + 64].T) for k in range(0, len(w), 64)]

    def strips(self, site: Site, count: int, out: Array, *inputs: Array) -> list[Sequence[Call]]:
        calls = self.bind(site, out, *inputs)
        return [calls[len(calls) * k // count : len(calls) * (k + 1) // count] for k in range(count)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (transpose_matrix(dy),)


class BiasAdd(Op):
    """y = x + b along the last axis; b may be repeated to a multiple of the channels (see Tile)."""

    in_place = (0,)

    def infer(self, x: Value, b: Value) -> Type:
        if len(b.shape) != 1 or b.size % x.shape[-1]:
            raise ShapeError(f"cannot add a bias {b.shape} to {x.shape}")
        return x.type

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, b = inputs
        wide = (-1, b.size)
        return [partial(np.add, x.reshape(wide), b, out.reshape(wide))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return dy, column_sums(dy, y.inputs[1].size)


class Tile(Op):
    """A vector repeated `times` over: broadcasting along long rows is 3–5 times faster than along few channels."""

    times: int

    def infer(self, b: Value) -> Type:
        return Type((b.size * self.times,))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.copyto, out.reshape(self.times, -1), inputs[0])]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(FoldSum(self.times), dy),)


class FoldSum(Op):
    """Sum of the `times` parts of a vector."""

    times: int

    def infer(self, x: Value) -> Type:
        return Type((x.size // self.times,))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.add.reduce, inputs[0].reshape(self.times, -1), 0, None, out)]


class ColumnSums(Op):
    """Sums over rows of `width` numbers, over all samples; as ones @ X, which is the fastest form."""

    width: int
    contracts = True

    def infer(self, x: Value) -> Type:
        return Type((self.width,))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        rows = inputs[0].reshape(-1, self.width)
        return [partial(np.dot, site.constant(1, (len(rows),)), rows, out)]


class BatchColumnSums(ColumnSums):
    """The same for one row a sample, once for the whole batch."""

    contracts = False
    whole_batch = True


class BatchSum(Op):
    """Sum over the batch axis, which is `axis` of the array."""

    axis: int
    contracts = True

    def infer(self, x: Value) -> Type:
        return Type(x.shape)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.add.reduce, inputs[0], self.axis, None, out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(SpreadOverBatch(self.axis), dy, y.inputs[0]),)


class SpreadOverBatch(Op):
    """The same STEP value for every sample of a block; the second input only says how many."""

    batch_axis: int

    def infer(self, x: Value, like: Value) -> Type:
        return Type(x.shape, batch_axis=self.batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.copyto, out, np.expand_dims(inputs[0], self.batch_axis))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return batch_sum(dy), None


def matmul(x: Value, w: Value) -> Value:
    """x @ w over the last axis of x: (..., K) @ (K, O) → (..., O)."""
    return x.trace.add(MatMul(), x, w)


def transpose_matrix(w: Value) -> Value:
    return w.inputs[0] if isinstance(w.op, TransposeMatrix) else w.trace.add(TransposeMatrix(), w)


def bias_add(x: Value, b: Value) -> Value:
    """x + b along the last axis, b repeated so that rows are long."""
    channels = b.size
    spatial = x.shape[-2] if len(x.shape) > 1 else 1
    times = max((t for t in range(1, spatial + 1) if spatial % t == 0 and t * channels <= 2048), default=1)
    tiled = b.trace.add(Tile(times), b) if times > 1 and channels < 256 else b
    return x.trace.add(BiasAdd(), x, tiled)


def column_sums(x: Value, width: int) -> Value:
    """Sums of all rows of x, seen as rows of `width` numbers."""
    return x.trace.add((BatchColumnSums if one_row_a_sample(x) else ColumnSums)(width), x)


def batch_sum(x: Value) -> Value:
    """Sum over the batch axis."""
    return x.trace.add(BatchSum(x.batch_axis), x)
