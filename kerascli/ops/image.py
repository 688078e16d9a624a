"""Images read at other places than they were stored, between pixels or from the nearest one.

Legend: n images, H W height and width of the input, P Q those of the output, C channels. A *coordinate* is a place
along one axis of the input, in pixels from the centre of the first, for every pixel of the output: (P, Q), or (P, 1)
and (1, Q) where all columns or all rows read alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.shape import batch_major


class _Reader(Op):
    """What reading at coordinates and its adjoint share: for each of the (at most 4) neighbours, places and weights."""

    size: tuple[int, int]
    """H and W."""
    channels: int
    nearest: bool
    fill_mode: str
    fill_value: float

    cheap = False

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        _, y, x = inputs
        pixels = (rows, y.shape[0], x.shape[1])
        planes = ((self.channels, rows, *self.size), "float")
        return (planes, ((self.channels, *pixels), "float"), (pixels, "float"), *self._room(rows, y, x))

    def flops(self, y: Value, rows: int) -> int:
        return 10 * super().flops(y, rows)

    def _room(self, rows: int, y: Value, x: Value) -> tuple[tuple[Shape, str], ...]:
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

    def infer(self, image: Value, y: Value, x: Value) -> Type:
        return Type((y.shape[0], x.shape[1], self.channels))

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


class ResampleGradient(_Reader):
    """Every dy added to the pixels that it was read from, by their weights."""

    def infer(self, dy: Value, y: Value, x: Value) -> Type:
        return Type((*self.size, self.channels))

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


def resample(image: Value, y: Value, x: Value, interpolation: str, fill_mode: str, fill_value: float) -> Value:
    """An image read at coordinates; outside, it goes on as `fill_mode` says."""
    image = batch_major(image)
    height, width, channels = image.shape
    op = Resample((height, width), channels, interpolation == "nearest", fill_mode, float(fill_value))
    return image.trace.add(op, image, y, x)
