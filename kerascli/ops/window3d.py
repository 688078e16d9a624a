"""Windows over volumes (D, H, W, C): rows for a product, their adjoint, and pooling.

Legend: n samples, a b c extents of the output, C channels, K numbers of a window: its extent times C.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kerascli.ops.elementwise import multiply
from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value, constant
from kerascli.ops.linear import matmul, transpose_matrix
from kerascli.ops.shape import concatenate, cut, reshape
from kerascli.ops.transposed import margins
from kerascli.ops.window import Pairs, crop, pad

Triple = tuple[int, int, int]


class _Windows3(Op):
    """The geometry of a window over a volume."""

    kernel: Triple
    strides: Triple
    dilation: Triple

    def reach(self) -> Shape:
        """Extent of the input that one window sees."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def outputs(self, shape: Shape) -> Shape:
        """How many windows there are along each axis."""
        sizes = zip(shape[:3], self.reach(), self.strides, strict=True)
        return tuple((size - reach) // stride + 1 for size, reach, stride in sizes)

    def same_padding(self, shape: Shape) -> Pairs:
        """Zeros around the input so that there are ceil(input / stride) windows, more of them after."""
        pairs = []
        for size, reach, stride in zip(shape[:3], self.reach(), self.strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            pairs.append((total // 2, total - total // 2))
        return (*pairs, (0, 0))

    def views(self, x: Array, shape: Shape) -> list[Array]:
        """For each position in the window, a view (n, a, b, c, C) of what all windows have there."""
        s = x.strides
        steps = (s[0], *(stride * t for stride, t in zip(self.strides, s[1:4], strict=True)), s[4])
        found = []
        for place in product(*map(range, self.kernel)):
            i, j, k = (p * d for p, d in zip(place, self.dilation, strict=True))
            found.append(as_strided(x[:, i:, j:, k:], shape, steps))
        return found


class GatherWindows3(_Windows3):
    """Every window as one row of K numbers: (D, H, W, C) → (a, b, c, K)."""

    def infer(self, x: Value) -> Type:
        return Type((*self.outputs(x.shape), prod(self.kernel) * x.shape[-1]))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,) = inputs
        channels = x.shape[-1]
        views = self.views(x, (*out.shape[:4], channels))
        places = [out[..., k * channels : (k + 1) * channels] for k in range(len(views))]
        return [partial(np.copyto, place, view) for place, view in zip(places, views, strict=True)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(SpreadWindows3(self.kernel, self.strides, self.dilation, y.inputs[0].shape), dy),)


class SpreadWindows3(_Windows3):
    """The adjoint: rows (a, b, c, K) added up at the places of their windows."""

    shape: Shape

    def infer(self, rows: Value) -> Type:
        return Type(self.shape)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (rows,) = inputs
        channels = out.shape[-1]
        calls: list[Call] = [partial(out.fill, 0)]
        for k, place in enumerate(self.views(out, (*rows.shape[:4], channels))):
            calls.append(partial(np.add, place, rows[..., k * channels : (k + 1) * channels], place))
        return calls

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(GatherWindows3(self.kernel, self.strides, self.dilation), dy),)


class MaxWindows3(_Windows3):
    """The largest of every window, of an input already padded with -inf."""

    def infer(self, x: Value) -> Type:
        return Type((*self.outputs(x.shape), x.shape[-1]))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        first, *others = self.views(inputs[0], out.shape)
        return [partial(np.copyto, out, first), *(partial(np.maximum, out, view, out=out) for view in others)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(MaxWindows3Gradient(self.kernel, self.strides, self.dilation), dy, y.inputs[0], y),)


class MaxWindows3Gradient(_Windows3):
    """Adds each dy to the first input of its window that equals the maximum."""

    def infer(self, dy: Value, x: Value, y: Value) -> Type:
        return x.type

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        whole = inputs[0].whole(rows)
        return (whole, "bool"), (whole, "bool"), (whole, "float")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        dy, x, y = inputs
        free, here, part = site.scratch
        calls: list[Call] = [partial(out.fill, 0), partial(free.fill, True)]
        for view, place in zip(self.views(x, y.shape), self.views(out, y.shape), strict=True):
            calls.append(partial(np.equal, view, y, here))
            calls.append(partial(np.logical_and, here, free, here))
            calls.append(partial(np.logical_xor, free, here, free))
            calls.append(partial(np.multiply, dy, here, part))
            calls.append(partial(np.add, place, part, place))
        return calls


class SumWindows3(_Windows3):
    """The sum of every window."""

    def infer(self, x: Value) -> Type:
        return Type((*self.outputs(x.shape), x.shape[-1]))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        first, *others = self.views(inputs[0], out.shape)
        return [partial(np.copyto, out, first), *(partial(np.add, out, view, out) for view in others)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(SpreadSums3(self.kernel, self.strides, self.dilation, y.inputs[0].shape), dy),)


class SpreadSums3(_Windows3):
    """The adjoint of SumWindows3."""

    shape: Shape

    def infer(self, dy: Value) -> Type:
        return Type(self.shape)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (dy,) = inputs
        return [partial(out.fill, 0), *(partial(np.add, p, dy, p) for p in self.views(out, dy.shape))]


ONES: Triple = (1, 1, 1)


def conv3d(x: Value, kernel: Value, strides: Triple, padding: str, dilation_rate: Triple, groups: int = 1) -> Value:
    """x (D, H, W, C), kernel (kd, kh, kw, C / groups, O) → (a, b, c, O)."""
    *extent, channels, filters = kernel.shape
    windows = GatherWindows3((extent[0], extent[1], extent[2]), strides, dilation_rate)
    if padding == "same":
        x = pad(x, windows.same_padding(x.shape))
    if groups > 1:
        each = filters // groups
        parts = [
            conv3d(
                cut(x, g * channels, (g + 1) * channels),
                cut(kernel, g * each, (g + 1) * each),
                strides,
                "valid",
                dilation_rate,
            )
            for g in range(groups)
        ]
        return concatenate(parts, -1)
    return matmul(x.trace.add(windows, x), reshape(kernel, (prod(extent) * channels, filters)))


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
    reach = tuple((k - 1) * d + 1 for k, d in zip(extent, dilation_rate, strict=True))
    cuts = [margins(*each) for each in zip(reach, strides, (padding,) * 3, output_padding, strict=True)]
    sizes = zip(x.shape[:3], reach, strides, cuts, strict=True)
    shape = (*((size - 1) * stride + r + max(-cut[1], 0) for size, r, stride, cut in sizes), filters)
    rows = matmul(x, transpose_matrix(reshape(kernel, (prod(extent) * filters, channels))))
    spread = SpreadWindows3((extent[0], extent[1], extent[2]), strides, dilation_rate, shape)
    whole = x.trace.add(spread, rows)
    return crop(whole, (*((before, max(after, 0)) for before, after in cuts), (0, 0)))


def max_pool3d(x: Value, pool: Triple, strides: Triple, padding: str) -> Value:
    """The largest of every window: (D, H, W, C) → (a, b, c, C)."""
    windows = MaxWindows3(pool, strides, ONES)
    if padding == "same":
        x = pad(x, windows.same_padding(x.shape), -np.inf)
    return x.trace.add(windows, x)


def average_pool3d(x: Value, pool: Triple, strides: Triple, padding: str) -> Value:
    """The mean of every window, of the inputs that are really there: (D, H, W, C) → (a, b, c, C)."""
    windows = SumWindows3(pool, strides, ONES)
    if padding == "valid":
        return multiply(x.trace.add(windows, x), 1 / prod(pool))
    widths = windows.same_padding(x.shape)
    total = x.trace.add(windows, pad(x, widths))
    there = np.pad(np.ones((1, *x.shape[:3], 1)), ((0, 0), *widths))
    counts = np.sum(windows.views(there, (1, *total.shape[:3], 1)), axis=0)[0]
    return multiply(total, constant(x.trace, 1 / counts))
