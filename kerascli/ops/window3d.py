"""Convolution over volumes (D, H, W, C): windows as rows for a product, and their adjoint.

Legend: n samples, a b c extents of the output, C channels, O filters, K numbers of a window: its extent times C.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.linear import matmul, transpose_matrix
from kerascli.ops.shape import reshape
from kerascli.ops.transposed import spread_shape
from kerascli.ops.window import Windows, crop, grouped, pad

Triple = tuple[int, int, int]


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


def conv3d(x: Value, kernel: Value, strides: Triple, padding: str, dilation_rate: Triple, groups: int = 1) -> Value:
    """x (D, H, W, C), kernel (kd, kh, kw, C / groups, O) → (a, b, c, O)."""
    *extent, channels, filters = kernel.shape
    windows = Windows(tuple(extent), strides, dilation_rate)
    if padding == "same":
        x = pad(x, windows.same_padding(x.shape))
    if groups > 1:
        return grouped(x, kernel, groups, lambda part, own: conv3d(part, own, strides, "valid", dilation_rate))
    return matmul(x.trace.add(GatherWindows3(windows), x), reshape(kernel, (prod(extent) * channels, filters)))


def conv3d_transpose(
    x: Value,
    kernel: Value,
    strides: Triple,
    padding: str,
    output_padding: tuple[int | None, ...],
    dilation_rate: Triple,
) -> Value:
    """x (a, b, c, C), kernel (kd, kh, kw, O, C) → (D, H, W, O): see ops/transposed.py."""
    *extent, filters, channels = kernel.shape
    windows = Windows(tuple(extent), strides, dilation_rate)
    shape, cuts = spread_shape(windows, x.shape, filters, padding, output_padding)
    rows = matmul(x, transpose_matrix(reshape(kernel, (prod(extent) * filters, channels))))
    return crop(x.trace.add(SpreadWindows3(windows, shape), rows), cuts)
