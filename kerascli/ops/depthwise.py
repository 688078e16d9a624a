"""Depthwise convolution: every channel has a window of its own, so there is no product of matrices to make.

Legend: n samples, H W extents of the (padded) input, C channels, kh kw the kernel, a b extents of the output.
A window position is one multiply-add over whole rows of b·C numbers, for which the kernel's C numbers are repeated
along the row (`times` over). Where windows lie more than a column apart, the input's columns are first dealt out by
their remainder, so that rows are contiguous again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kerascli.ops.broadcast import broadcast_to
from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.shape import reshape
from kerascli.ops.window import Windows, one_row, pad

LONGEST_ROW = 2048
"""Numbers of a repeated kernel row: long enough to run fast, short enough to stay in the first-level cache."""


class _Depthwise(Op):
    """What the convolution and its two derivatives share: views of the input under each window position."""

    windows: Windows
    extent: Shape
    times: int

    def dealt(self, x: Value, rows: int) -> tuple[tuple[Shape, str], ...]:
        """The array for the columns dealt out, if the windows' stride wants one."""
        step = self.windows.strides[1]
        height, width, channels = x.shape
        return (((step, rows, height, -(-width // step), channels), "float"),) if step > 1 else ()

    def views(self, x: Array) -> list[Array]:
        """(n, a, b / times, times·C) of the input at each of the kh·kw positions; x is whole, or dealt out."""
        (kh, kw), (sh, sw), (dh, dw) = self.windows.kernel, self.windows.strides, self.windows.dilation
        a, b = self.extent
        found = []
        for i in range(kh):
            for j in range(kw):
                part, start = (x, j * dw) if sw == 1 else (x[j * dw % sw], j * dw // sw)
                s, channels = part.strides, part.shape[-1]
                shape = (len(part), a, b // self.times, self.times * channels)
                steps = (s[0], sh * s[1], self.times * s[2], s[3])
                found.append(as_strided(part[:, i * dh :, start:], shape, steps))
        return found

    def deal(self, x: Array, dealt: Array, back: bool = False) -> list[Call]:
        """Columns of x by their remainder; or, `back`, put where they came from."""
        calls: list[Call] = []
        for k, part in enumerate(dealt):
            columns = x[:, :, k :: len(dealt)]
            pair = (part[:, :, : columns.shape[2]], columns)
            calls.append(partial(np.copyto, *(reversed(pair) if back else pair)))
        return calls

    def rows(self, y: Array) -> Array:
        """The output, or its gradient, as (n, a, b / times, times·C)."""
        n, a, b, channels = y.shape
        return y.reshape(n, a, b // self.times, self.times * channels)

    def flops(self, y: Value, rows: int) -> int:
        (kh, kw), (a, b) = self.windows.kernel, self.extent
        return 2 * rows * kh * kw * a * b * y.inputs[0].shape[-1]


class DepthwiseConvolution(_Depthwise):
    """y = Σ over the window of x · kernel; x (H, W, C), the kernel's rows repeated: (kh, kw, times·C) → (a, b, C)."""

    cheap = False

    def infer(self, x: Value, kernel: Value) -> Type:
        return Type((*self.extent, x.shape[-1]))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        x, _ = inputs
        return (((rows, *self.extent, x.shape[-1]), "float"), *self.dealt(x, rows))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, kernel = inputs
        part, *dealt = site.scratch
        calls: list[Call] = self.deal(x, dealt[0]) if dealt else []
        factors = kernel.reshape(-1, kernel.shape[-1])
        y, t = self.rows(out), self.rows(part)
        for k, view in enumerate(self.views(dealt[0] if dealt else x)):
            calls.append(partial(np.multiply, view, factors[k], t if k else y))
            if k:
                calls.append(partial(np.add, y, t, y))
        return calls

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        x, kernel = y.inputs
        fields = (self.windows, self.extent, self.times)
        return (
            y.trace.add(DepthwiseInputGradient(*fields, x.shape), dy, kernel),
            y.trace.add(DepthwiseKernelGradient(*fields), x, dy),
        )


class DepthwiseInputGradient(_Depthwise):
    """dx: each dy times the kernel, added up at the places that its window read."""

    shape: Shape
    cheap = False

    def infer(self, dy: Value, kernel: Value) -> Type:
        return Type(self.shape)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        dy, _ = inputs
        step = self.windows.strides[1]
        height, width, channels = self.shape
        dealt = (((step, rows, height, -(-width // step), channels), "float"),) if step > 1 else ()
        return ((dy.whole(rows), "float"), *dealt)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        dy, kernel = inputs
        part, *dealt = site.scratch
        target = dealt[0] if dealt else out
        calls: list[Call] = [partial(target.fill, 0)]
        factors = kernel.reshape(-1, kernel.shape[-1])
        g, t = self.rows(dy), self.rows(part)
        for k, place in enumerate(self.views(target)):
            calls.append(partial(np.multiply, g, factors[k], t))
            calls.append(partial(np.add, place, t, place))
        return [*calls, *(self.deal(out, dealt[0], back=True) if dealt else [])]


class DepthwiseKernelGradient(_Depthwise):
    """Σ x · dy over all samples and rows, for each window position: (kh, kw, times·C)."""

    contracts = True

    def infer(self, x: Value, dy: Value) -> Type:
        return Type((*self.windows.kernel, self.times * x.shape[-1]))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return self.dealt(inputs[0], rows)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, dy = inputs
        dealt = site.scratch
        calls: list[Call] = self.deal(x, dealt[0]) if dealt else []
        sums, g = out.reshape(-1, out.shape[-1]), self.rows(dy)
        for k, view in enumerate(self.views(dealt[0] if dealt else x)):
            calls.append(partial(np.einsum, "nabc,nabc->c", view, g, out=sums[k]))
        return calls


def depthwise_conv(
    x: Value,
    kernel: Value,
    strides: Shape = (1, 1),
    padding: str = "valid",
    dilation_rate: Shape = (1, 1),
) -> Value:
    """Each channel with `m` kernels of its own: x (H, W, C), kernel (kh, kw, C, m) → (a, b, C·m); or sequences."""
    if len(kernel.shape) == 3:
        y = depthwise_conv(one_row(x), one_row(kernel), (1, *strides), padding, (1, *dilation_rate))
        return reshape(y, y.shape[1:])
    kh, kw, channels, multiplier = kernel.shape
    windows = Windows((kh, kw), strides, dilation_rate)
    if padding == "same":
        x = pad(x, windows.same_padding(x.shape))
    extent = windows.outputs(x.shape)
    if multiplier > 1:
        height, width, _ = x.shape
        wide = broadcast_to(reshape(x, (height, width, channels, 1)), (height, width, channels, multiplier))
        x = reshape(wide, (height, width, channels * multiplier))
        channels *= multiplier
    times = max((t for t in range(1, extent[1] + 1) if extent[1] % t == 0 and t * channels <= LONGEST_ROW), default=1)
    row = broadcast_to(reshape(kernel, (kh, kw, 1, channels)), (kh, kw, times, channels))
    tiled = reshape(row, (kh, kw, times * channels))
    return x.trace.add(DepthwiseConvolution(windows, extent, times), x, tiled)
