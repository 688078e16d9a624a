"""Convolution and pooling as ONNX nodes. Padding that stands before them becomes their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from kerascli.exporters.onnx_registry import becomes, reads
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.ops import linear, pooling, shape, window, window3d
from kerascli.ops.ir import Value

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
@dataclass(frozen=True)
class Convolution:
    """A product of windows and a kernel, or of each group of channels and its own."""

    windows: Windows
    matrices: tuple[Value, ...]
    """Of each group: (kh·kw·C, O)."""


def convolution(v: Value) -> Convolution | None:
    """The convolution that a value is: a product, or products of groups of channels, joined."""
    if isinstance(v.op, shape.Concatenate) and v.op.axis == v.rank - 1:
        parts = [convolution(x) for x in v.inputs]
        found = [part for part in parts if part and len(part.matrices) == 1]
        return _joined(found) if len(found) == len(parts) else None
    op = v.inputs[0].op if isinstance(v.op, linear.MatMul) else None
    if not isinstance(op, (window.Im2Col, window3d.GatherWindows3)):
        return None
    return Convolution(windows_over(v.inputs[0].inputs[0], op.windows, 0), (v.inputs[1],))


def _joined(parts: Sequence[Convolution]) -> Convolution | None:
    """One convolution, where all have the same windows over the parts of one value, in order."""
    first = parts[0].windows
    sources = [part.windows.source for part in parts]
    whole = sources[0].inputs[0] if isinstance(sources[0].op, shape.Slice) else sources[0]
    width = sources[0].shape[-1]
    for k, (part, source) in enumerate(zip(parts, sources, strict=True)):
        cut = shape.Slice(whole.rank - 1, k * width, (k + 1) * width)
        if source.op != cut or source.inputs[0] is not whole or replace(part.windows, source=first.source) != first:
            return None
    if width * len(parts) != whole.shape[-1] or len({part.matrices[0].shape for part in parts}) > 1:
        return None
    geometry = window.Windows(first.kernel, first.strides, first.dilation)
    return Convolution(windows_over(whole, geometry, 0), tuple(part.matrices[0] for part in parts))


def convolved(g: Sheet, found: Convolution, x: str, bias: str = "") -> str:
    """x (n, H, W, C) with kernels of all groups → (n, a, b, O)"""
    windows, size = found.windows, len(found.windows.kernel)
    matrix = np.concatenate([g.array(matrix) for matrix in found.matrices], axis=1)
    kernel = matrix.reshape(*windows.kernel, -1, matrix.shape[1])  # (kh, kw, C, O)
    y = g.node(
        "Conv",
        first_channels(g, x, size),
        g.constant(np.transpose(kernel, (size + 1, size, *range(size))), f"{g.prefix}/kernel"),
        *([bias] if bias else []),
        group=len(found.matrices),
        kernel_shape=windows.kernel,
        strides=windows.strides,
        dilations=windows.dilation,
        pads=windows.pads,
    )
    return last_channels(g, y, size)


# ---------------------------------------------------------------- pooling
def pooled(v: Value) -> Windows:
    (x,), op = v.inputs, v.op
    if isinstance(op, pooling.MaxPool):
        return windows_over(x, window.Windows(op.pool, op.pool, (1, 1)), -np.inf)
    assert isinstance(op, (pooling.MaxWindows, pooling.SumWindows))
    return windows_over(x, op.windows, 0 if isinstance(op, pooling.SumWindows) else -np.inf)


@reads(pooling.MaxPool, pooling.MaxWindows, pooling.SumWindows)
def _pool_reads(v: Value) -> Sequence[Value]:
    return (pooled(v).source,)


@becomes(pooling.MaxPool, pooling.MaxWindows)
def _max_pool(g: Sheet, v: Value, x: str) -> str:
    found = pooled(v)
    size = len(found.kernel)
    if isinstance(found.source.op, window.Pad):  # onnxruntime 1.31 mistakes zeros before it for its own margins
        x = g.elementwise("Max", x, g.number(-np.inf))
    y = g.node("MaxPool", first_channels(g, x, size), kernel_shape=found.kernel, strides=found.strides, pads=found.pads)
    return last_channels(g, y, size)


@becomes(pooling.SumWindows)
def _sum_pool(g: Sheet, v: Value, x: str) -> str:
    """Means of all places, margins included, times how many they are."""
    found = pooled(v)
    y = averaged(g, found, x, margins=True)
    return g.elementwise("Mul", y, g.number(prod(found.kernel)))


def averaged(g: Sheet, found: Windows, x: str, margins: bool) -> str:
    """Means of windows; `margins` count as places or do not."""
    size = len(found.kernel)
    y = g.node(
        "AveragePool",
        first_channels(g, x, size),
        kernel_shape=found.kernel,
        strides=found.strides,
        pads=found.pads,
        count_include_pad=int(margins),
    )
    return last_channels(g, y, size)
