"""Convolution over one, two or three axes: windows of the input as rows, times the kernel as a matrix.

Legend: C channels of the input, O filters, … the axes that windows slide along.
"""

from __future__ import annotations

from math import prod

from kerascli.ops.ir import Shape, Value
from kerascli.ops.linear import matmul
from kerascli.ops.shape import concatenate, reshape, split
from kerascli.ops.window import ConvolutionProduct, Im2Col, Windows, one_row, pad
from kerascli.ops.window3d import GatherWindows3


def conv(
    x: Value,
    kernel: Value,
    strides: Shape = (1, 1),
    padding: str = "valid",
    dilation_rate: Shape = (1, 1),
    groups: int = 1,
) -> Value:
    """Cross-correlation: x (…, C), kernel (…, C / groups, O) → (…, O)."""
    *extent, channels, filters = kernel.shape
    if len(extent) == 1:
        y = conv(one_row(x), one_row(kernel), (1, *strides), padding, (1, *dilation_rate), groups)
        return reshape(y, y.shape[1:])
    windows = Windows(tuple(extent), strides, dilation_rate)
    if padding == "same":
        x = pad(x, windows.same_padding(x.shape))
    if groups > 1:
        pairs = zip(split(x, groups), split(kernel, groups), strict=True)
        return concatenate([conv(part, own, strides, "valid", dilation_rate) for part, own in pairs])
    if len(extent) == 3:
        return matmul(x.trace.add(GatherWindows3(windows), x), reshape(kernel, (prod(extent) * channels, filters)))
    matrix, columns = reshape(kernel, (prod(extent) * channels, filters)), extent[-1] * channels < 16
    rows = x.trace.add(Im2Col(windows, windows.outputs(x.shape), columns=columns), x)
    return x.trace.add(ConvolutionProduct(columns), rows, matrix)
