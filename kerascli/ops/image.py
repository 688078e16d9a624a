"""Images read at other places than they were stored: the ops behind resizing, cropping, flipping and warping.

Legend: n images, H W height and width of the input, P Q those of the output, C channels. A *coordinate* is a place
along one axis of the input, in pixels from the centre of the first, for every pixel of the output: (P, Q), or (P, 1)
and (1, Q) where all columns or all rows read alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.elementwise import add
from kerascli.ops.ir import Array, Call, Op, Scope, Shape, Site, Type, Value, constant
from kerascli.ops.linear import matmul
from kerascli.ops.shape import batch_major, permute


class Coordinate(Op):
    """Where each pixel reads along one axis: (m₀·x + m₁·y + m₂) / (m₆·x + m₇·y + 1) of a sample's matrix m.

    The horizontal axis uses m₀…m₂, the vertical one m₃…m₅; a matrix of six numbers has no division. `straight`: a
    coordinate depends on its own axis alone.
    """

    height: int
    width: int
    vertical: bool
    straight: bool = False

    def infer(self, matrix: Value) -> Type:
        if not self.straight:
            return Type((self.height, self.width))
        return Type((self.height, 1) if self.vertical else (1, self.width))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        divides = inputs[0].shape[0] == 8
        parts = (((rows, 1, self.width), "float"), ((rows, self.height, 1), "float"))
        return (*parts, ((rows, self.height, self.width), "float")) if divides else parts

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        m = inputs[0].T[:, :, None, None]
        along_x, along_y, *whole = site.scratch
        x, y = np.arange(self.width, dtype=out.dtype), np.arange(self.height, dtype=out.dtype)[:, None]
        a, b, c = m[3:6] if self.vertical else m[:3]
        if self.straight:
            factor, places = (b, y) if self.vertical else (a, x)
            return [partial(np.multiply, factor, places, out), partial(np.add, out, c, out)]

        def plane(a: Array, b: Array, c: Array, target: Array) -> list[Call]:
            return [
                partial(np.multiply, a, x, along_x),
                partial(np.multiply, b, y, along_y),
                partial(np.add, along_y, c, along_y),
                partial(np.add, along_x, along_y, target),
            ]

        calls = plane(a, b, c, out)
        if whole:
            calls += [*plane(m[6], m[7], np.ones((), out.dtype), whole[0]), partial(np.divide, out, whole[0], out)]
        return calls

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (None,)

    def flops(self, y: Value, rows: int) -> int:
        return 3 * super().flops(y, rows)


class _Reader(Op):
    """What reading at coordinates and its adjoint share: for each of the (at most 4) neighbours, places and weights."""

    size: tuple[int, int]
    """H and W."""
    channels: int
    nearest: bool
    fill_mode: str
    fill_value: float

    def room(self, rows: int, y: Value, x: Value) -> tuple[tuple[Shape, str], ...]:
        """Scratch for `neighbours`: of each axis floats, weights and numbers; then places and weights of one."""
        count = 1 if self.nearest else 2
        found: list[tuple[Shape, str]] = []
        for v in (y, x):
            shape = (rows, *v.shape)
            found += [(shape, "float")] * 3 + [(shape, "bool")]
            found += [(shape, "float"), (shape, "int64")] * count
        pixels = (rows, y.shape[0], x.shape[1])
        return (*found, (pixels, "int64"), (pixels, "float"))

    def neighbours(self, scratch: list[Array], y: Array, x: Array) -> tuple[list[Call], list[list[Call]]]:
        """Calls to be made first, and those that fill places and weights for one neighbour after the other."""
        count = 1 if self.nearest else 2
        each = 4 + 2 * count
        places, weights = scratch[-2:]
        calls: list[Call] = []
        axes: list[list[tuple[Array, Array]]] = []
        for k, at in enumerate((y, x)):
            floats, ends = scratch[k * each : k * each + 4], scratch[k * each + 4 : (k + 1) * each]
            pairs = [(ends[2 * j], ends[2 * j + 1]) for j in range(count)]
            calls += self._axis(at, self.size[k], floats, pairs)
            axes.append(pairs)
        height, width = self.size
        first = np.arange(len(x), dtype=np.int64)[:, None, None] * (height * width)
        for _, number in axes[0]:
            calls.append(partial(np.multiply, number, np.int64(width), number))
        for _, number in axes[1]:
            calls.append(partial(np.add, number, first, number))
        taps: list[list[Call]] = [
            [partial(np.add, row, column, places), partial(np.multiply, share_y, share_x, weights)]
            for share_y, row in axes[0]
            for share_x, column in axes[1]
        ]
        return calls, taps

    def _axis(self, at: Array, size: int, floats: list[Array], ends: list[tuple[Array, Array]]) -> list[Call]:
        """Weights and numbers of the pixels on both sides of each coordinate (of the nearest one)."""
        low, t, u, test = floats
        one = np.ones((), at.dtype)
        if self.nearest:  # halves away from zero: trunc(x) + trunc(2 · (x - trunc(x)))
            calls: list[Call] = [
                partial(np.trunc, at, low),
                partial(np.subtract, at, low, t),
                partial(np.add, t, t, t),
                partial(np.trunc, t, t),
                partial(np.add, low, t, low),
            ]
        else:
            calls = [partial(np.floor, at, low)]
        for k, (share, number) in enumerate(ends):
            if self.nearest:
                calls.append(partial(share.fill, 1))
            elif k == 0:
                calls += [partial(np.subtract, at, low, share), partial(np.subtract, one, share, share)]
            else:
                calls += [partial(np.subtract, at, low, share), partial(np.add, low, one, low)]
            calls += self._within(low, size, t, u)
            if self.fill_mode == "constant":
                calls += [partial(np.equal, low, t, test), partial(np.multiply, share, test, share)]
            calls.append(partial(np.copyto, number, t, casting="unsafe"))
        return calls

    def _within(self, i: Array, size: int, out: Array, t: Array) -> list[Call]:
        """The pixel that stands for number i, which may lie outside."""
        last, period = np.asarray(size - 1, out.dtype), np.asarray(size, out.dtype)
        if self.fill_mode in ("constant", "nearest") or size == 1:
            return [partial(np.maximum, i, np.zeros((), out.dtype), out=out), partial(np.minimum, out, last, out=out)]
        if self.fill_mode == "wrap":
            return _remainder(i, period, out, t)
        if self.fill_mode == "reflect":  # d c b a | a b c d | d c b a
            turn = np.asarray(2 * size - 1, out.dtype)
            calls = _remainder(i, np.asarray(2 * size, out.dtype), out, t)
        else:  # mirror: d c b | a b c d | c b a
            turn = np.asarray(2 * size - 2, out.dtype)
            calls = _remainder(i, turn, out, t)
        return [*calls, partial(np.subtract, turn, out, t), partial(np.minimum, out, t, out=out)]


def _remainder(i: Array, period: Array, out: Array, t: Array) -> list[Call]:
    """i modulo the period; exact, for whole numbers in floating point."""
    return [
        partial(np.divide, i, period, t),
        partial(np.floor, t, t),
        partial(np.multiply, t, period, t),
        partial(np.subtract, i, t, out),
    ]


class Resample(_Reader):
    """x (H, W, C) read at coordinates y and x → (P, Q, C), between pixels by distance, or from the nearest pixel."""

    cheap = False

    def infer(self, image: Value, y: Value, x: Value) -> Type:
        return Type((y.shape[0], x.shape[1], self.channels))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        _, y, x = inputs
        pixels = (rows, y.shape[0], x.shape[1])
        planes = ((self.channels, rows, *self.size), "float")
        return (planes, ((self.channels, *pixels), "float"), (pixels, "float"), *self.room(rows, y, x))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        image, y, x = inputs
        planes, sums, part, *rest = site.scratch
        places, weights = rest[-2:]
        calls, taps = self.neighbours(rest, y, x)
        flat = planes.reshape(self.channels, -1)
        calls.append(partial(np.copyto, planes, image.transpose(3, 0, 1, 2)))
        if self.fill_value and self.fill_mode == "constant":
            calls.append(partial(sums.fill, self.fill_value))
            calls.append(partial(np.subtract, planes, np.asarray(self.fill_value, out.dtype), planes))
        for k, tap in enumerate(taps):
            calls += tap
            first = k == 0 and not (self.fill_value and self.fill_mode == "constant")
            for plane, total in zip(flat, sums, strict=True):
                target = total if first else part
                calls.append(partial(np.take, plane, places, out=target, mode="clip"))
                calls.append(partial(np.multiply, target, weights, target))
                if not first:
                    calls.append(partial(np.add, total, part, total))
        return [*calls, partial(np.copyto, out, sums.transpose(1, 2, 3, 0))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        fields = (self.size, self.channels, self.nearest, self.fill_mode, 0.0)
        return y.trace.add(ResampleGradient(*fields), batch_major(dy), *y.inputs[1:]), None, None

    def flops(self, y: Value, rows: int) -> int:
        return 10 * super().flops(y, rows)


class ResampleGradient(_Reader):
    """Every dy added to the pixels that it was read from, by their weights."""

    cheap = False

    def infer(self, dy: Value, y: Value, x: Value) -> Type:
        return Type((*self.size, self.channels))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        dy, y, x = inputs
        pixels = (rows, *dy.shape[:2])
        planes = ((self.channels, rows, *self.size), "float")
        return (planes, ((self.channels, *pixels), "float"), (pixels, "float"), *self.room(rows, y, x))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        dy, y, x = inputs
        planes, given, part, *rest = site.scratch
        places, weights = rest[-2:]
        calls, taps = self.neighbours(rest, y, x)
        flat = planes.reshape(self.channels, -1)
        calls += [partial(planes.fill, 0), partial(np.copyto, given, dy.transpose(3, 0, 1, 2))]
        for tap in taps:
            calls += tap
            for plane, source in zip(flat, given, strict=True):
                calls.append(partial(np.multiply, source, weights, part))
                calls.append(partial(np.add.at, plane, places.reshape(-1), part.reshape(-1)))
        return [*calls, partial(np.copyto, out, planes.transpose(1, 2, 3, 0))]

    def flops(self, y: Value, rows: int) -> int:
        return 10 * super().flops(y, rows)


class Flip(Op):
    """The images whose flag (1, 1, 1) is set, mirrored along the given axes of a sample."""

    axes: tuple[int, ...]

    def infer(self, x: Value, flags: Value) -> Type:
        return Type(x.shape, x.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, flags = inputs
        turned = np.flip(x, tuple(k + 1 for k in self.axes))
        return [partial(np.copyto, out, x), partial(np.copyto, out, turned, where=flags)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return y.trace.add(self, batch_major(dy), y.inputs[1]), None

    def flops(self, y: Value, rows: int) -> int:
        return 0


class Crop(Op):
    """`size` rows and columns from a row and a column that all images of the batch share."""

    size: tuple[int, int]

    def infer(self, x: Value, row: Value, column: Value) -> Type:
        return Type((*self.size, x.shape[2]), x.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(self._copy, out, *inputs)]

    def _copy(self, out: Array, x: Array, row: Array, column: Array) -> None:
        np.copyto(out, x[:, int(row) :, int(column) :][:, : self.size[0], : self.size[1]])

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return y.trace.add(CropGradient(self.size, y.inputs[0].shape), batch_major(dy), *y.inputs[1:]), None, None

    def flops(self, y: Value, rows: int) -> int:
        return 0


class CropGradient(Op):
    """Zeros with dy at the place that was cut out."""

    size: tuple[int, int]
    shape: Shape

    def infer(self, dy: Value, row: Value, column: Value) -> Type:
        return Type(self.shape, dy.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(out.fill, 0), partial(self._copy, out, *inputs)]

    def _copy(self, out: Array, dy: Array, row: Array, column: Array) -> None:
        np.copyto(out[:, int(row) :, int(column) :][:, : self.size[0], : self.size[1]], dy)

    def flops(self, y: Value, rows: int) -> int:
        return 0


class Pick(Op):
    """The given places along an axis of a sample, some of them several times."""

    axis: int
    places: tuple[int, ...]

    def infer(self, x: Value) -> Type:
        return Type((*x.shape[: self.axis], len(self.places), *x.shape[self.axis + 1 :]), x.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        places = np.asarray(self.places, np.int64)
        return [partial(np.take, inputs[0], places, axis=self.axis + 1, out=out, mode="clip")]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        chosen = np.zeros((len(self.places), y.inputs[0].shape[self.axis]))
        chosen[np.arange(len(self.places)), self.places] = 1
        return (along(dy, chosen, self.axis),)

    def flops(self, y: Value, rows: int) -> int:
        return 0


class CosSin(Op):
    """Cosine and sine of an angle in degrees: () → (2,)."""

    def infer(self, degrees: Value) -> Type:
        return Type((2,))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        cosine, sine = out[:, 0], out[:, 1]
        return [
            partial(np.multiply, inputs[0], np.asarray(np.pi / 180, out.dtype), sine),
            partial(np.cos, sine, cosine),
            partial(np.sin, sine, sine),
        ]


class PerspectiveMatrix(Op):
    """The matrix that moves three corners of every image, (H, W) → m₀…m₇, given how far: (4, 2) shares of the sides.

    Corners in order: the origin, which stays; along x; along y; the opposite one. With the moved ones at (a, 0),
    (0, b) and (c, d), and the old ones at W - 1 and H - 1: m₆ = (d / b - 1) / c, m₇ = (c / a - 1) / d,
    m₀ = (W - 1) · (m₆ + 1 / a), m₄ = (H - 1) · (m₇ + 1 / b), all others 0.
    """

    height: int
    width: int

    def infer(self, shares: Value) -> Type:
        return Type((8,))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return (((2, 2, rows), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        moved = inputs[0]
        near, far = site.scratch[0]  # (a, b) and (c, d)
        last = np.array([[self.width - 1], [self.height - 1]], out.dtype)
        one = np.ones((), out.dtype)
        m, ends = out[:, 0:8:4].T, out[:, 6:8].T  # (m₀, m₄) and (m₆, m₇)
        return [
            partial(out.fill, 0),
            partial(np.add, _diagonal(moved), one, near),
            partial(np.multiply, near, last, near),
            partial(np.add, moved[:, 3].T, one, far),
            partial(np.multiply, far, last, far),
            partial(np.divide, far, near, ends[::-1]),
            partial(np.subtract, ends, one, ends),
            partial(np.divide, ends, far, ends),
            partial(np.divide, one, near, near),
            partial(np.add, near, ends, near),
            partial(np.multiply, near, last, m),
        ]


def _diagonal(moved: Array) -> Array:
    """(4, 2) shares: that of x of the second corner, that of y of the third, as (2, n)."""
    flat = moved.reshape(len(moved), 8)
    return flat[:, 2:6:3].T


def along(x: Value, matrix: Array, axis: int) -> Value:
    """x times a matrix (K, O) along an axis of its samples, which has K places and then O."""
    last = len(x.shape) - 1
    order = (*(k for k in range(last + 1) if k != axis), axis)
    y = matmul(permute(x, order), constant(x.trace, np.asarray(matrix, np.float64)))
    return permute(y, tuple(order.index(k) for k in range(last + 1)))


def affine_matrix(parameters: Value, linear: Array, offset: Array) -> Value:
    """The numbers a₀…a₂, b₀…b₂ of every image's matrix, which are linear in its few parameters."""
    return add(matmul(parameters, constant(parameters.trace, linear)), constant(parameters.trace, offset))


def warp(
    image: Value,
    matrix: Value,
    interpolation: str,
    fill_mode: str,
    fill_value: float,
    straight: bool = False,
) -> Value:
    """Every output pixel (x, y) read at the place of the input that the matrix gives."""
    trace, (height, width, _) = image.trace, image.shape
    y, x = (trace.add(Coordinate(height, width, vertical, straight), matrix) for vertical in (True, False))
    return resample(image, y, x, interpolation, fill_mode, fill_value)


def resample(image: Value, y: Value, x: Value, interpolation: str, fill_mode: str, fill_value: float) -> Value:
    """An image read at coordinates; outside, it goes on as `fill_mode` says."""
    image = batch_major(image)
    height, width, channels = image.shape
    op = Resample((height, width), channels, interpolation == "nearest", fill_mode, float(fill_value))
    return image.trace.add(op, image, y, x)


def flip(x: Value, flags: Value, axes: tuple[int, ...]) -> Value:
    """The flagged images mirrored along axes of a sample."""
    return x.trace.add(Flip(axes), batch_major(x), flags)


def crop_at(x: Value, row: Value, column: Value, size: tuple[int, int]) -> Value:
    """A window of that size from a row and column for the whole batch."""
    assert row.scope != Scope.BLOCK
    return x.trace.add(Crop(size), batch_major(x), row, column)


def pick(x: Value, places: tuple[int, ...], axis: int) -> Value:
    """Places along an axis of a sample."""
    return x.trace.add(Pick(axis, places), batch_major(x))
