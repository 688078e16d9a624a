"""Convolution and pooling as ONNX nodes. Padding that stands before them becomes their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerascli.exporters.onnx_registry import becomes, reads
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.ops import linear, pooling, window, window3d
from kerascli.ops.ir import Array, Value

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Windows over an extent, and what they read."""

    source: Value
    kernel: Sizes
    strides: Sizes
    dilation: Sizes
    pads: Sizes
    """Before each axis, and then after each."""


def windows_over(v: Value, geometry: window.Windows, filled: float) -> Windows:
    """Windows over v, or over what v pads, where it fills the margins with what the windows' own would hold."""
    size, source, pads = len(geometry.kernel), v, (0,) * 2 * len(geometry.kernel)
    if isinstance(v.op, window.Pad) and v.op.value == filled and not any(v.op.widths[size]):
        source, pads = v.inputs[0], tuple(pair[end] for end in (0, 1) for pair in v.op.widths[:size])
    return Windows(source, geometry.kernel, geometry.strides, geometry.dilation, pads)


def first_channels(g: Sheet, x: str, size: int) -> str:
    """(n, H, W, C) → (n, C, H, W)"""
    return g.transpose(x, (0, size + 1, *range(1, size + 1)))


def last_channels(g: Sheet, x: str, size: int) -> str:
    """(n, C, H, W) → (n, H, W, C)"""
    return g.transpose(x, (0, *range(2, size + 2), 1))


# ---------------------------------------------------------------- convolution
def convolution(v: Value) -> Windows | None:
    """The windows of a product that is a convolution."""
    op = v.inputs[0].op if isinstance(v.op, linear.MatMul) else None
    if not isinstance(op, (window.Im2Col, window3d.GatherWindows3)):
        return None
    return windows_over(v.inputs[0].inputs[0], op.windows, 0)


def convolved(g: Sheet, found: Windows, x: str, matrix: Array, name: str, bias: str = "") -> str:
    """x (n, H, W, C) with a kernel as a matrix (kh·kw·C, O) → (n, a, b, O)"""
    size = len(found.kernel)
    kernel = matrix.reshape(*found.kernel, -1, matrix.shape[1])  # (kh, kw, C, O)
    w = g.constant(np.transpose(kernel, (size + 1, size, *range(size))), name)
    y = g.node(
        "Conv",
        first_channels(g, x, size),
        w,
        *([bias] if bias else []),
        kernel_shape=found.kernel,
        strides=found.strides,
        dilations=found.dilation,
        pads=found.pads,
    )
    return last_channels(g, y, size)


# ---------------------------------------------------------------- pooling
def _pooled(v: Value) -> Windows:
    (x,), op = v.inputs, v.op
    if isinstance(op, pooling.MaxPool):
        return windows_over(x, window.Windows(op.pool, op.pool, (1, 1)), -np.inf)
    assert isinstance(op, (pooling.MaxWindows, pooling.SumWindows))
    return windows_over(x, op.windows, 0 if isinstance(op, pooling.SumWindows) else -np.inf)


@reads(pooling.MaxPool, pooling.MaxWindows, pooling.SumWindows)
def _pool_reads(v: Value) -> Sequence[Value]:
    return (_pooled(v).source,)


@becomes(pooling.MaxPool, pooling.MaxWindows)
def _max_pool(g: Sheet, v: Value, x: str) -> str:
    found = _pooled(v)
    size = len(found.kernel)
    y = g.node("MaxPool", first_channels(g, x, size), kernel_shape=found.kernel, strides=found.strides, pads=found.pads)
    return last_channels(g, y, size)


@becomes(pooling.SumWindows)
def _sum_pool(g: Sheet, v: Value, x: str) -> str:
    """Means of all places, margins included, times how many they are."""
    found = _pooled(v)
    size = len(found.kernel)
    y = g.node(
        "AveragePool",
        first_channels(g, x, size),
        kernel_shape=found.kernel,
        strides=found.strides,
        pads=found.pads,
        count_include_pad=1,
    )
    return last_channels(g, g.elementwise("Mul", y, g.number(float(np.prod(found.kernel)))), size)
