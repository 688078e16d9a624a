"""Products of two matrices of the same sample."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Op, ShapeError, Site, Type, Value
from kerascli.ops.shape import batch_major


class SampleProduct(Op):
    """y = a @ b in every sample: (M, K), (K, N) → (M, N); `left` or `right` says that one is read transposed.

    Further axes in front, the same in both, are more matrices of the sample.
    """

    left: bool = False
    right: bool = False
    cheap = False

    def infer(self, a: Value, b: Value) -> Type:
        *front, rows, inner = (*a.shape[:-2], a.shape[-1], a.shape[-2]) if self.left else a.shape
        *others, other, columns = (*b.shape[:-2], b.shape[-1], b.shape[-2]) if self.right else b.shape
        if inner != other or front != others:
            raise ShapeError(f"cannot multiply {a.shape} by {b.shape}")
        return Type((*front, rows, columns))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a, b = inputs
        return [
            partial(np.matmul, a.swapaxes(-1, -2) if self.left else a, b.swapaxes(-1, -2) if self.right else b, out)
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        a, b = y.inputs
        da = sample_product(b, dy, self.right, True) if self.left else sample_product(dy, b, False, not self.right)
        db = sample_product(dy, a, True, self.left) if self.right else sample_product(a, dy, not self.left, False)
        return da, db

    def flops(self, y: Value, rows: int) -> int:
        a = y.inputs[0]
        return 2 * (a.shape[-2] if self.left else a.shape[-1]) * super().flops(y, rows)


def sample_product(a: Value, b: Value, left: bool = False, right: bool = False) -> Value:
    """a @ b in every sample, aᵀ with `left`, bᵀ with `right`."""
    a, b = batch_major(a), batch_major(b)
    return a.trace.add(SampleProduct(left, right), a, b)
