"""Windows over images as rows of a matrix (im2col), their adjoint, the product with a kernel, and padding.

Legend: n samples, H W extents of the input, C its channels, kh kw the kernel, O filters, a b extents of the output,
K = kh·kw·C. A *phased* value keeps its positions as (p, q, n, a/p, b/q): the inputs of a p×q pooling window then lie
in p·q contiguous planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kerascli.ops.ir import Array, Call, Op, Shape, ShapeError, Site, Type, Value
from kerascli.ops.linear import MatMul, RowsProduct, matmul, transpose_matrix
from kerascli.ops.shape import reshape

Pairs = tuple[tuple[int, int], ...]


class Pad(Op):
    """The sample's axes widened by (before, after), filled with `value`."""

    widths: Pairs
    value: float = 0.0

    def infer(self, x: Value) -> Type:
        if len(self.widths) != len(x.shape):
            raise ShapeError(f"padding {self.widths} does not fit {x.shape}")
        return Type(tuple(d + a + b for d, (a, b) in zip(x.shape, self.widths, strict=True)), x.dtype, x.batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,) = inputs
        axis = out.ndim - len(self.widths) - 1
        widths = [(0, 0)] * (axis + 1) + list(self.widths)
        calls: list[Call] = []
        inside: list[slice] = []
        for k, (before, after) in enumerate(widths):
            for border in (slice(0, before), slice(out.shape[k] - after, None)):
                if (before if border.start == 0 else after) > 0:
                    calls.append(partial(np.copyto, out[(*inside, border)], self.value))
            inside.append(slice(before, out.shape[k] - after))
        return [*calls, partial(np.copyto, out[tuple(inside)], x)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(Crop(self.widths), dy),)


class Crop(Op):
    """The sample's axes narrowed by (before, after)."""

    widths: Pairs

    def infer(self, x: Value) -> Type:
        shape = tuple(d - a - b for d, (a, b) in zip(x.shape, self.widths, strict=True))
        if min(shape) < 1:
            raise ShapeError(f"nothing is left of {x.shape} when {self.widths} is cut off")
        return Type(shape, x.dtype, x.batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        lead = (slice(None),) * (out.ndim - len(self.widths))
        part = tuple(slice(a, d + a) for d, (a, _) in zip(out.shape[len(lead) :], self.widths, strict=True))
        return [partial(np.copyto, out, inputs[0][lead + part])]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(Pad(self.widths), dy),)


@dataclass(frozen=True)
class Windows:
    """The geometry of a window that slides over all axes of an input (H, W, C) or (D, H, W, C) but the channels."""

    kernel: Shape
    strides: Shape
    dilation: Shape

    def reach(self) -> Shape:
        """Extent of the input that one window sees."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def outputs(self, shape: Shape) -> Shape:
        """How many windows there are along each axis of a sample of that shape; ShapeError where none fits."""
        sizes = zip(shape[:-1], self.reach(), self.strides, strict=True)
        found = tuple((size - reach) // stride + 1 for size, reach, stride in sizes)
        if min(found) < 1:
            raise ShapeError(f"a {'×'.join(map(str, self.reach()))} window does not fit into {shape[:-1]}")
        return found

    def same_padding(self, shape: Shape) -> Pairs:
        """Zeros around the input so that the output's extent is ceil(input / stride), more of them after."""
        pairs = []
        for size, reach, stride in zip(shape[:-1], self.reach(), self.strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            pairs.append((total // 2, total - total // 2))
        return (*pairs, (0, 0))

    def views(self, x: Array, shape: Shape) -> list[Array]:
        """For each position in the window, a view (n, a, b, C) of what all windows have there."""
        s = x.strides
        steps = (s[0], *(stride * t for stride, t in zip(self.strides, s[1:], strict=False)), s[-1])
        found = []
        for place in product(*map(range, self.kernel)):
            start = (slice(k * d, None) for k, d in zip(place, self.dilation, strict=True))
            found.append(as_strided(x[(slice(None), *start)], shape, steps))
        return found


class Im2Col(Op):
    """Every window of the input as one row of K numbers, in order (kh, kw, C).

    `extent` is how many outputs are computed (the rest is dropped by what follows); `phase` orders the rows for
    pooling; with `columns` the matrix is stored (K, rows), which copies longer runs where the input has few channels.
    """

    windows: Windows
    extent: Shape
    phase: tuple[int, int] = (1, 1)
    columns: bool = False

    def infer(self, x: Value) -> Type:
        (kh, kw), (p, q), (a, b) = self.windows.kernel, self.phase, self.extent
        count = kh * kw * x.shape[-1]
        phased = (p, q) != (1, 1)
        lead = (p, q) if phased else ()
        rows = (a // p, b // q)
        if self.columns:
            return Type((count, *lead, *rows), batch_axis=1 + len(lead))
        return Type((*lead, *rows, count), batch_axis=len(lead))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        if not self._staged():
            return ()
        height, width = self._stage()
        (p, q), (a, b) = self.phase, self.extent
        return (((height, width, inputs[0].shape[-1], rows * (a // p) * (b // q)), "float"),)

    def _staged(self) -> bool:
        return self.columns and self.windows.dilation == (1, 1)

    def _stage(self) -> tuple[int, int]:
        (kh, kw), (sh, sw), (p, q) = self.windows.kernel, self.windows.strides, self.phase
        return (p - 1) * sh + kh, (q - 1) * sw + kw

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,) = inputs
        n, _, _, channels = x.shape
        (kh, kw), (sh, sw), (dh, dw) = self.windows.kernel, self.windows.strides, self.windows.dilation
        (p, q), (a, b) = self.phase, (self.extent[0] // self.phase[0], self.extent[1] // self.phase[1])
        s = x.strides
        if self._staged():
            (stage,) = site.scratch
            height, width = stage.shape[:2]
            planes = as_strided(
                x, (height, width, channels, n, a, b), (s[1], s[2], s[3], s[0], p * sh * s[1], q * sw * s[2])
            )
            t = stage.strides
            seen = as_strided(
                stage, (kh, kw, channels, p, q, n * a * b), (t[0], t[1], t[2], sh * t[0], sw * t[1], t[3])
            )
            return [
                partial(np.copyto, stage.reshape(planes.shape), planes),
                partial(np.copyto, out.reshape(seen.shape), seen),
            ]
        if self.columns:
            seen = as_strided(
                x,
                (kh, kw, channels, p, q, n, a, b),
                (dh * s[1], dw * s[2], s[3], sh * s[1], sw * s[2], s[0], p * sh * s[1], q * sw * s[2]),
            )
            return [partial(np.copyto, out.reshape(seen.shape), seen)]
        runs = ((kh, kw * channels), (s[1], s[3])) if dw == 1 and dh == 1 else None
        tail_shape, tail_strides = runs or ((kh, kw, channels), (dh * s[1], dw * s[2], s[3]))
        seen = as_strided(
            x,
            (p, q, n, a, b, *tail_shape),
            (sh * s[1], sw * s[2], s[0], p * sh * s[1], q * sw * s[2], *tail_strides),
        )
        return [partial(np.copyto, out.reshape(seen.shape), seen)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        # dy holds natural rows (n, a, b, K), whatever the layout of y: see ConvolutionProduct.
        return (y.trace.add(Col2Im(self.windows, y.inputs[0].shape), dy),)


class Col2Im(Op):
    """The adjoint of Im2Col: rows (n, a, b, K) added up at the places they were read from."""

    windows: Windows
    shape: Shape

    def infer(self, dcols: Value) -> Type:
        return Type(self.shape)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (dcols,) = inputs
        n, a, b, _ = dcols.shape
        channels = self.shape[-1]
        (kh, kw), (sh, sw), (dh, dw) = self.windows.kernel, self.windows.strides, self.windows.dilation
        s = out.strides
        if (dh, dw) == (1, 1):
            return self._runs(out, dcols.reshape(n, a, b, kh, kw * channels), kh, kw, sh, sw)
        source = dcols.reshape(n, a, b, kh, kw, channels)
        calls: list[Call] = [partial(out.fill, 0)]
        for i in range(kh):
            for j in range(kw):
                place = as_strided(out[:, i * dh :, j * dw :], (n, a, b, channels), (s[0], sh * s[1], sw * s[2], s[3]))
                calls.append(partial(np.add, place, source[:, :, :, i, j], place))
        return calls

    @staticmethod
    def _runs(out: Array, source: Array, kh: int, kw: int, sh: int, sw: int) -> list[Call]:
        """Whole rows of a window (kw·C numbers) at a time; windows that do not overlap share one call."""
        n, a, b, _, run = source.shape
        s, apart = out.strides, -(-kw // sw)
        calls: list[Call] = []
        for i in range(kh):
            for r in range(min(apart, b)):
                count = len(range(r, b, apart))
                place = as_strided(out[:, i:, r * sw :], (n, a, count, run), (s[0], sh * s[1], apart * sw * s[2], s[3]))
                part = source[:, :, r::apart, i]
                if not calls and sh == 1 and apart * sw == kw:  # the first call can write instead of add
                    calls.append(partial(np.copyto, place, part))
                    calls.append(partial(np.copyto, out[:, :a, count * kw :], 0))
                    calls.append(partial(np.copyto, out[:, a:], 0))
                    continue
                if not calls:
                    calls.append(partial(out.fill, 0))
                calls.append(partial(np.add, place, part, place))
        return calls


class ConvolutionProduct(MatMul):
    """Windows times the kernel matrix. The gradient of the windows is made in natural row order."""

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        cols, w = y.inputs
        natural = unphase(dy, cols.op.extent) if dy.batch_axis == 2 and isinstance(cols.op, Im2Col) else dy
        return matmul(natural, transpose_matrix(w)), y.trace.add(RowsProduct(self.columns), cols, dy)


class Unphase(Op):
    """(p, q, n, a, b, C) → (n, a·p, b·q, C), of which the last `crop` rows and columns are dropped."""

    crop: tuple[int, int] = (0, 0)

    def infer(self, x: Value) -> Type:
        p, q, a, b, channels = x.shape
        return Type((a * p - self.crop[0], b * q - self.crop[1], channels))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.copyto, natural, phased) for natural, phased in _phases(out, inputs[0])]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        p, q = y.inputs[0].shape[:2]
        return (phase(dy, (p, q)),)


class Phase(Op):
    """(n, H, W, C) → (p, q, n, a, b, C), zeros in the places beyond the extent where p or q does not divide it."""

    phase: tuple[int, int]

    def infer(self, x: Value) -> Type:
        (p, q), (height, width, channels) = self.phase, x.shape
        return Type((p, q, -(-height // p), -(-width // q), channels), batch_axis=2)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,), (p, q) = inputs, self.phase
        calls: list[Call] = []
        if x.shape[1] % p:
            calls.append(partial(np.copyto, out[x.shape[1] % p :, :, :, -1], 0))
        if x.shape[2] % q:
            calls.append(partial(np.copyto, out[:, x.shape[2] % q :, :, :, -1], 0))
        return [*calls, *(partial(np.copyto, phased, natural) for natural, phased in _phases(x, out))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (unphase(dy, y.inputs[0].shape[:2]),)


def _phases(natural: Array, phased: Array) -> list[tuple[Array, Array]]:
    """Views of the same numbers in both orders: whole windows, then those that the extent cuts off."""
    p, q = phased.shape[:2]
    s = natural.strides
    pairs = []
    for i, a, height in _whole_and_rest(natural.shape[1], p):
        for j, b, width in _whole_and_rest(natural.shape[2], q):
            seen = as_strided(
                natural[:, i * p :, j * q :],
                (height, width, len(natural), a, b, natural.shape[3]),
                (s[1], s[2], s[0], p * s[1], q * s[2], s[3]),
            )
            pairs.append((seen, phased[:height, :width, :, i : i + a, j : j + b]))
    return pairs


def _whole_and_rest(extent: int, size: int) -> list[tuple[int, int, int]]:
    """(first, count, length) of the windows of one size that lie within the extent, and of the one cut off."""
    whole, rest = divmod(extent, size)
    return ([(0, whole, size)] if whole else []) + ([(whole, 1, rest)] if rest else [])


def phase(x: Value, size: tuple[int, int]) -> Value:
    """x (H, W, C) as (p, q, ·, a, b, C)."""
    if isinstance(x.op, Unphase) and x.op.crop == (0, 0) and x.inputs[0].shape[:2] == size:
        return x.inputs[0]
    return x.trace.add(Phase(size), x)


def unphase(x: Value, extent: tuple[int, ...]) -> Value:
    """x (p, q, ·, a, b, C) in natural order, of which the first rows and columns are kept."""
    p, q, a, b, _ = x.shape
    if isinstance(x.op, Phase) and x.inputs[0].shape[:2] == extent:
        return x.inputs[0]
    return x.trace.add(Unphase((a * p - extent[0], b * q - extent[1])), x)


def pad(x: Value, widths: Pairs, value: float = 0.0) -> Value:
    """The sample's axes widened by (before, after) and filled with `value`."""
    return x.trace.add(Pad(widths, value), x) if any(map(any, widths)) else x


def crop(x: Value, widths: Pairs) -> Value:
    """The sample's axes narrowed by (before, after)."""
    return x.trace.add(Crop(widths), x) if any(map(any, widths)) else x


def one_row(x: Value) -> Value:
    """A sequence, or the kernel of one, as an image of one row."""
    return reshape(x, (1, *x.shape))
