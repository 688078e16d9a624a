"""Numbers to the bins that they fall into."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Site, Type, Value


class Digitize(Op):
    """How many boundaries, which are sorted, are not above x: bin 0 ends before the first one."""

    boundaries: tuple[float, ...]

    def infer(self, x: Value) -> Type:
        return Type(x.shape, "int32", x.batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(_digitize, inputs[0], np.array(self.boundaries, site.dtype), out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (None,)


def _digitize(x: Array, boundaries: Array, out: Array) -> None:
    out[...] = boundaries.searchsorted(x, side="right")  # NumPy's search always makes an array


def digitize(x: Value, boundaries: Sequence[float]) -> Value:
    """The number of the bin of every x."""
    return x.trace.add(Digitize(tuple(boundaries)), x)
