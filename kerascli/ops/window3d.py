"""Windows over volumes (D, H, W, C) as rows for a product, and their adjoint.

Legend: a b c extents of the output, C channels, K numbers of a window: its extent times C.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.window import Windows


class GatherWindows3(Op):
    """Every window as one row of K numbers: (D, H, W, C) → (a, b, c, K)."""

    windows: Windows

    def infer(self, x: Value) -> Type:
        return Type((*self.windows.outputs(x.shape), prod(self.windows.kernel) * x.shape[-1]))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,) = inputs
        channels = x.shape[-1]
        views = self.windows.views(x, (*out.shape[:-1], channels))
        places = [out[..., k * channels : (k + 1) * channels] for k in range(len(views))]
        return [partial(np.copyto, place, view) for place, view in zip(places, views, strict=True)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(SpreadWindows3(self.windows, y.inputs[0].shape), dy),)


class SpreadWindows3(Op):
    """The adjoint: rows (a, b, c, K) added up at the places of their windows."""

    windows: Windows
    shape: Shape

    def infer(self, rows: Value) -> Type:
        return Type(self.shape)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (rows,) = inputs
        channels = out.shape[-1]
        calls: list[Call] = [partial(out.fill, 0)]
        for k, place in enumerate(self.windows.views(out, (*rows.shape[:-1], channels))):
            calls.append(partial(np.add, place, rows[..., k * channels : (k + 1) * channels], place))
        return calls

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(GatherWindows3(self.windows), dy),)
