"""Transposed convolution: the adjoint of a convolution as a forward pass, a product and then windows added up.

Legend: a b extents of the input, C its channels, O filters, K numbers of a window, … axes that windows slide along.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from kerascli.ops.ir import Shape, Value
from kerascli.ops.linear import matmul, transpose_matrix
from kerascli.ops.shape import reshape
from kerascli.ops.window import Col2Im, Im2Col, Pairs, Windows, crop, one_row
from kerascli.ops.window3d import SpreadWindows3

Extra = tuple[int | None, ...]
"""Places more at the end of each axis; None for as many as Keras thinks fit."""


class SpreadRows(Col2Im):
    """Rows (a, b, K) added up at the places of their windows; what is added up again is its derivative's windows."""

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        a, b, _ = y.inputs[0].shape
        return (y.trace.add(Im2Col(self.windows, (a, b)), dy),)


def margins(reach: int, stride: int, padding: str, output_padding: int | None) -> tuple[int, int]:
    """How many places Keras cuts off before and after the (size - 1) · stride + reach that windows cover.

    A negative number stands for zeros added. Keras fills the output up to size · stride where `same` says nothing
    else; with `output_padding`, `same` gives (size - 1) · stride + reach % 2 + output_padding.
    """
    if padding == "valid":
        return 0, -(max(stride - reach, 0) if output_padding is None else output_padding)
    total = stride + reach - 2 if output_padding is None else reach + reach % 2 - 2 + output_padding
    before = min(total // 2 + total % 2, reach - 1)
    return reach - 1 - before, reach - 1 - (total - before)


def spread_shape(
    windows: Windows, shape: Shape, filters: int, padding: str, output_padding: Extra
) -> tuple[Shape, Pairs]:
    """Of an input's shape: that of the array which takes all its windows, and what is cut off of it in the end."""
    each = zip(windows.reach(), windows.strides, output_padding, strict=True)
    cuts = [margins(reach, stride, padding, extra) for reach, stride, extra in each]
    sizes = zip(shape[:-1], windows.reach(), windows.strides, cuts, strict=True)
    extents = ((size - 1) * stride + reach + max(-cut[1], 0) for size, reach, stride, cut in sizes)
    return (*extents, filters), (*((before, max(after, 0)) for before, after in cuts), (0, 0))


def conv_transpose(
    x: Value,
    kernel: Value,
    strides: Shape = (1, 1),
    padding: str = "valid",
    output_padding: Extra = (None, None),
    dilation_rate: Shape = (1, 1),
) -> Value:
    """x (…, C), kernel (…, O, C) → (…, O), the shape that a convolution would have read."""
    *extent, filters, channels = kernel.shape
    if len(extent) == 1:
        geometry = (1, *strides), padding, (None, *output_padding), (1, *dilation_rate)
        y = conv_transpose(one_row(x), one_row(kernel), *geometry)
        return reshape(y, y.shape[1:])
    windows = Windows(tuple(extent), strides, dilation_rate)
    shape, cuts = spread_shape(windows, x.shape, filters, padding, output_padding)
    rows = matmul(x, transpose_matrix(reshape(kernel, (prod(extent) * filters, channels))))
    spread = SpreadRows(windows, shape) if len(extent) == 2 else SpreadWindows3(windows, shape)
    return crop(x.trace.add(spread, rows), cuts)
