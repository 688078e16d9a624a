"""Brightness levels of images: fewer of them, or spread evenly by a histogram. These ops have no derivative.

Legend: n images, H W height and width, C channels, B bins of a histogram, G tiles along an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.activation import number
from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.shape import batch_major

LEVELS = 256


class KeepBits(Op):
    """Numbers 0…255 cut to whole ones, of which the `bits` (1, 1, 1) highest bits of 8 are kept."""

    def infer(self, x: Value, bits: Value) -> Type:
        return Type(x.shape)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        x, bits = inputs
        return (x.whole(rows), "uint8"), ((rows, *bits.shape), "float"), ((rows, *bits.shape), "uint8")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x, bits), (levels, t, shift) = inputs, site.scratch
        return [
            partial(np.maximum, x, np.zeros((), x.dtype), out=out),
            partial(np.minimum, out, np.asarray(255, x.dtype), out=out),
            partial(np.copyto, levels, out, casting="unsafe"),
            partial(np.subtract, np.asarray(8, x.dtype), bits, t),
            partial(np.copyto, shift, t, casting="unsafe"),
            partial(np.right_shift, levels, shift, levels),
            partial(np.left_shift, levels, shift, levels),
            partial(np.copyto, out, levels),
        ]


class Equalise(Op):
    """Levels 0…255 spread so that each is about as frequent as the others, in every image and channel.

    y = round(255 · (cdf[bin of x] - cdf_min) / (H·W - cdf_min)), cdf being the running sum of the histogram of x; a
    channel of a single level is left as it is.
    """

    bins: int

    def infer(self, x: Value) -> Type:
        return Type(x.shape)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        height, width, channels = inputs[0].shape
        whole, sums = (rows, height, width, channels), (rows, channels, self.bins)
        one = (rows, channels, 1)
        return (
            (whole, "float"),
            (whole, "int64"),
            (sums, "int64"),
            (sums, "float"),
            (sums, "int64"),
            (one, "int64"),
            (one, "int64"),
            (sums, "bool"),
            ((rows, 1, 1, channels), "bool"),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x = inputs[0]
        t, places, counts, table, sums, lowest, rest, test, single = site.scratch
        n, channels = len(x), x.shape[-1]
        rows = np.arange(n * channels, dtype=np.int64).reshape(n, 1, 1, channels) * self.bins
        top, full = np.asarray(self.bins - 1, x.dtype), np.asarray(255, x.dtype)

        def place(first: Sequence[Call]) -> list[Call]:
            """The bin of every number, as a place in the flat table."""
            return [
                *first,
                partial(np.maximum, t, np.zeros((), x.dtype), out=t),
                partial(np.minimum, t, top, out=t),
                partial(np.copyto, places, t, casting="unsafe"),
                partial(np.add, places, rows, places),
            ]

        return [
            *place([partial(np.multiply, x, top, t), partial(np.divide, t, full, t)]),
            partial(counts.fill, 0),
            partial(np.add.at, counts.reshape(-1), places.reshape(-1), 1),
            partial(np.greater, counts, 0, test),
            partial(np.add.reduce, test, axis=-1, out=rest, keepdims=True),
            partial(np.less_equal, rest.reshape(n, 1, 1, channels), 1, single),
            partial(np.add.accumulate, counts, axis=-1, out=sums),
            # the running sum never falls: its first positive number is the smallest positive one
            partial(np.copyto, counts, sums),
            partial(np.equal, sums, 0, test),
            partial(np.copyto, counts, np.int64(1 << 62), where=test),
            partial(np.minimum.reduce, counts, axis=-1, out=lowest, keepdims=True),
            partial(np.subtract, sums[..., -1:], lowest, rest),
            partial(np.maximum, rest, 1, out=rest),
            partial(np.subtract, sums, lowest, sums),
            partial(np.multiply, sums, 255, sums),
            partial(np.divide, sums, rest, out=table, casting="unsafe"),
            partial(np.rint, table, table),
            partial(np.maximum, table, np.zeros((), x.dtype), out=table),
            partial(np.minimum, table, full, out=table),
            *place([partial(np.divide, x, full, t), partial(np.multiply, t, top, t)]),
            partial(np.take, table.reshape(-1), places, out=out, mode="clip"),
            partial(np.copyto, out, x, where=single),
        ]


class EqualiseTiles(Op):
    """The same within tiles, with a limit for every count; between the centres of tiles, by distance (CLAHE).

    x (H, W, C) whose sides the tiles divide. What the counts exceed the limit by is shared out evenly.
    """

    tiles: tuple[int, int]
    clip_limit: float

    def infer(self, x: Value) -> Type:
        return Type(x.shape)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        height, width, channels = inputs[0].shape
        whole, (down, across) = (rows, height, width, channels), self.tiles
        sums = (rows, down, across, channels, LEVELS)
        return (
            (whole, "float"),
            (whole, "int64"),
            (whole, "int64"),
            (sums, "float"),
            (sums, "float"),
            ((*sums[:-1], 1), "float"),
            ((*sums[:-1], 1), "float"),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x = inputs[0]
        t, levels, places, counts, over, rest, low = site.scratch
        n, height, width, channels = x.shape
        down, across = self.tiles
        area = (height // down) * (width // across)
        full, kind = np.asarray(LEVELS - 1, x.dtype), x.dtype
        rows, columns = near(height, down), near(width, across)
        image = np.arange(n)[:, None, None, None] * (down * across)
        channel = np.arange(channels) * LEVELS

        def find(r: Array, c: Array) -> list[Call]:
            """places = where the level of every pixel stands in the table of tile (r, c)."""
            begin = (image + r[:, None, None] * across) * (channels * LEVELS) + channel  # (n, H, 1, C)
            beside = c[:, None] * (channels * LEVELS)  # (W, 1)
            return [partial(np.add, levels, begin, places), partial(np.add, places, beside, places)]

        calls: list[Call] = [
            partial(np.maximum, x, np.zeros((), kind), out=t),
            partial(np.minimum, t, full, out=t),
            partial(np.copyto, levels, t, casting="unsafe"),
            *find(np.arange(height) // (height // down), np.arange(width) // (width // across)),
            partial(counts.fill, 0),
            partial(np.add.at, counts.reshape(-1), places.reshape(-1), np.ones((), kind)),
        ]
        if self.clip_limit > 0:
            calls += _limited(counts, self.clip_limit * area / LEVELS, over, rest)
        calls += [*_evened(counts, area, over, low, rest), partial(out.fill, 0)]
        for r, share_r in rows:
            for c, share_c in columns:
                share = (share_r[:, None] * share_c[None, :]).astype(kind)[None, :, :, None]
                calls += [
                    *find(r, c),
                    partial(np.take, over.reshape(-1), places, out=t, mode="clip"),
                    partial(np.multiply, t, share, t),
                    partial(np.add, out, t, out),
                ]
        return calls

    def flops(self, y: Value, rows: int) -> int:
        return 20 * super().flops(y, rows)


def _limited(counts: Array, limit: float, over: Array, rest: Array) -> list[Call]:
    """Counts cut down to the limit, what they exceed it by shared out evenly."""
    most = number(limit, counts)
    return [
        partial(np.subtract, counts, most, over),
        partial(np.maximum, over, number(0, over), out=over),
        partial(np.add.reduce, over, axis=-1, out=rest, keepdims=True),
        partial(np.minimum, counts, most, out=counts),
        partial(np.multiply, rest, number(1 / LEVELS, rest), rest),
        partial(np.add, counts, rest, counts),
    ]


def _evened(counts: Array, area: int, table: Array, low: Array, rest: Array) -> list[Call]:
    """The table of new levels: how many of the pixels above the lowest level lie at or below each old one."""
    full = number(LEVELS - 1, table)
    return [
        partial(np.add.accumulate, counts, axis=-1, out=table),
        partial(np.copyto, low, table[..., :1]),  # the running sum's smallest number is its first
        partial(np.subtract, table, low, table),
        partial(np.multiply, table, full, table),
        partial(np.subtract, number(area, rest), low, rest),
        partial(_one_for_zero, rest),
        partial(np.divide, table, rest, table),
        partial(np.maximum, table, number(0, table), out=table),
        partial(np.minimum, table, full, out=table),
    ]


def near(size: int, tiles: int) -> list[tuple[Array, Array]]:
    """For every pixel along an axis the tiles before and after it, and the share of each."""
    length = size // tiles
    place = (np.arange(size) - length / 2) / length
    before = np.floor(place)
    share = place - before
    numbers = [np.clip(before + k, 0, tiles - 1).astype(np.int64) for k in (0, 1)]
    return [(numbers[0], 1 - share), (numbers[1], share)]


def _one_for_zero(x: Array) -> None:
    np.copyto(x, 1, where=x == 0)


def keep_bits(x: Value, bits: Value) -> Value:
    """The highest bits of every whole number of 0…255."""
    return x.trace.add(KeepBits(), batch_major(x), bits)


def equalise(x: Value, bins: int) -> Value:
    """Levels 0…255 spread evenly, in every image and channel."""
    return x.trace.add(Equalise(bins), batch_major(x))


def equalise_tiles(x: Value, tiles: tuple[int, int], clip_limit: float) -> Value:
    """Levels 0…255 spread evenly within tiles."""
    return x.trace.add(EqualiseTiles(tiles, float(clip_limit)), batch_major(x))
