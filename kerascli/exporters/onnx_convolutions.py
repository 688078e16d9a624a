"""Depthwise and transposed convolution as ONNX nodes: separable layers are the first and a plain convolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerascli.exporters.onnx_registry import becomes, reads
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.exporters.onnx_windows import Windows, first_channels, last_channels, windows_over
from kerascli.ops import broadcast, depthwise, linear, shape, transposed, window3d
from kerascli.ops.ir import Value


# ---------------------------------------------------------------- depthwise
def _depthwise_windows(v: Value) -> Windows:
    """Over the input, or over what it repeats every channel of: an ONNX group of one channel has several kernels."""
    assert isinstance(v.op, depthwise.DepthwiseConvolution)
    x = v.inputs[0]
    wide = x.inputs[0] if isinstance(x.op, shape.Reshape) else x
    if isinstance(wide.op, broadcast.BroadcastTo):
        once = wide.inputs[0]
        *extent, channels, single = once.shape
        if single == 1 and (*extent, channels * wide.shape[-1]) == x.shape:
            whole = isinstance(once.op, shape.Reshape) and once.inputs[0].shape == (*extent, channels)
            x = once.inputs[0] if whole else once
    return windows_over(x, v.op.windows, 0)


@reads(depthwise.DepthwiseConvolution)
def _depthwise_reads(v: Value) -> Sequence[Value]:
    return (_depthwise_windows(v).source,)


@becomes(depthwise.DepthwiseConvolution)
def _depthwise(g: Sheet, v: Value, x: str) -> str:
    found, filters = _depthwise_windows(v), v.shape[-1]
    size, (*extent, channels) = len(found.kernel), found.source.shape
    if len(extent) > size:  # (H, W, C, 1)
        channels = extent.pop()
        x = g.reshape(x, (-1, *extent, channels))
    kernel = g.array(v.inputs[1])[..., :filters]  # (kh, kw, O)
    y = g.node(
        "Conv",
        first_channels(g, x, size),
        g.constant(kernel.transpose(2, 0, 1)[:, None], f"{g.prefix}/kernel"),
        group=channels,
        kernel_shape=found.kernel,
        strides=found.strides,
        dilations=found.dilation,
        pads=found.pads,
    )
    return last_channels(g, y, size)


# ---------------------------------------------------------------- transposed
@reads(transposed.SpreadRows, window3d.SpreadWindows3)
def _spread_reads(v: Value) -> Sequence[Value]:
    """What the product before it reads: both are one operator."""
    rows = v.inputs[0]
    assert isinstance(rows.op, linear.MatMul) and not rows.op.columns
    return (rows.inputs[0],)


@becomes(transposed.SpreadRows, window3d.SpreadWindows3)
def _spread(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, (transposed.SpreadRows, window3d.SpreadWindows3))
    windows, (rows,) = v.op.windows, v.inputs
    size, sizes = len(windows.kernel), (v.shape, rows.shape, windows.strides, windows.reach())
    matrix = g.array(rows.inputs[1])  # (C, kh·kw·O)
    kernel = matrix.reshape(len(matrix), *windows.kernel, v.shape[-1])
    y = g.node(
        "ConvTranspose",
        first_channels(g, x, size),
        g.constant(np.moveaxis(kernel, -1, 1), f"{g.prefix}/kernel"),
        kernel_shape=windows.kernel,
        strides=windows.strides,
        dilations=windows.dilation,
        output_padding=[whole - (n - 1) * stride - reach for whole, n, stride, reach in zip(*sizes, strict=False)],
    )
    return last_channels(g, y, size)
