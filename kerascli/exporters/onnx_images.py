"""Images enlarged, places picked, windows of nearly equal length, bins and histograms as ONNX nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerascli.exporters.onnx_registry import becomes, reads
from kerascli.exporters.onnx_shapes import in_place, reshaped
from kerascli.exporters.onnx_sheet import Sheet, inverse
from kerascli.ops import adaptive, broadcast, digitize, image_levels, image_move, shape
from kerascli.ops.image_levels import LEVELS
from kerascli.ops.ir import Array, Value


@reads(shape.Reshape)
def _reshape_reads(v: Value) -> Sequence[Value]:
    return v.inputs if (found := _repeated(v)) is None else (found,)


@becomes(shape.Reshape)
def _reshape(g: Sheet, v: Value, x: str) -> str:
    """Every place so many times over is one operator, which does it before axes that wait are put in order."""
    if (found := _repeated(v)) is None:
        return reshaped(g, v, x)
    source, perm = in_place(g, v, x)
    times = (1, *(after / before for before, after in zip(found.shape, v.shape, strict=True)))
    scales = g.constant(np.array([times[axis] for axis in inverse(perm)], np.float32))
    ways = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return g.transpose(g.node("Resize", source, "", scales, **ways), perm)


def _repeated(v: Value) -> Value | None:
    """What the value repeats every place of, along all axes but the last: see layers/up_sampling.py."""
    wide = v.inputs[0]
    apart = wide.inputs[0] if isinstance(wide.op, broadcast.BroadcastTo) else wide
    if apart is wide or not isinstance(apart.op, shape.Reshape) or v.dtype != "float":
        return None
    x, times = apart.inputs[0], wide.shape[1::2]
    sizes, last = x.shape[:-1], x.shape[-1:]
    once, often = (
        (*(n for pair in zip(sizes, row, strict=False) for n in pair), *last) for row in ((1,) * len(sizes), times)
    )
    larger = (*(size * t for size, t in zip(sizes, times, strict=False)), *last)
    return x if (apart.shape, wide.shape, v.shape) == (once, often, larger) else None


@becomes(image_move.Pick)
def _pick(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, image_move.Pick)
    source, perm = in_place(g, v, x)
    return g.transpose(g.node("Gather", source, g.whole_numbers(v.op.places), axis=perm[v.op.axis + 1]), perm)


@becomes(adaptive.AdaptiveMean, adaptive.AdaptiveMax)
def _adaptive(g: Sheet, v: Value, x: str) -> str:
    """Windows of one length are an axis of their own; others are reduced one by one."""
    assert isinstance(v.op, (adaptive.AdaptiveMean, adaptive.AdaptiveMax))
    kind = "ReduceMax" if isinstance(v.op, adaptive.AdaptiveMax) else "ReduceMean"
    source, perm = in_place(g, v, x)
    axis, places = perm[v.op.axis], v.op.places
    if v.op.size % places == 0:
        sizes = [v.inputs[0].whole(-1)[perm.index(k)] for k in range(v.rank)]
        apart = g.reshape(source, (*sizes[:axis], places, v.op.size // places, *sizes[axis + 1 :]))
        return g.transpose(g.node(kind, apart, g.whole_numbers([axis + 1]), keepdims=0), perm)
    windows = [g.slice(source, axis, first, last) for first, last in v.op.windows()]
    parts = [g.node(kind, part, g.whole_numbers([axis]), keepdims=1) for part in windows]
    return g.transpose(g.node("Concat", *parts, axis=axis), perm)


@becomes(digitize.Digitize)
def _digitize(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, digitize.Digitize)
    return bins(g, x, v.op.boundaries)


def bins(g: Sheet, x: str, boundaries: Sequence[float]) -> str:
    """How many boundaries x does not lie below; what is no number lies below none."""
    edges = g.constant(np.array(boundaries, np.float32))
    below = g.node("Less", g.node("Unsqueeze", x, g.whole_numbers([-1])), edges)
    passed = g.cast(g.node("Not", below), "int32")
    return g.node("ReduceSum", passed, g.whole_numbers([-1]), keepdims=0)


# ---------------------------------------------------------------- levels
@becomes(image_levels.EqualiseTiles)
def _equalise_tiles(g: Sheet, v: Value, x: str) -> str:
    """Tables of all tiles in one row a sample: (n, tiles · C · 256), and pixels in another: (n, H · W · C)."""
    assert isinstance(v.op, image_levels.EqualiseTiles)
    (height, width, channels), (down, across) = v.shape, v.op.tiles
    pixels, tiles = height * width * channels, down * across * channels
    area = (height // down) * (width // across)
    levels = g.cast(g.node("Clip", g.reshape(x, (-1, pixels)), g.number(0), g.number(255)), "int64")
    rows = g.size(levels)

    def found(r: Array, c: Array) -> str:
        """Where the level of every pixel stands in the table of tile (r, c)."""
        tile = (r[:, None] * across + c)[..., None] * channels + np.arange(channels)
        return g.node("Add", levels, g.constant((tile * LEVELS).reshape(1, -1)))

    here = found(np.arange(height) // (height // down), np.arange(width) // (width // across))
    empty, ones = (g.full(g.number(k), (-1, size), rows) for k, size in ((0, tiles * LEVELS), (1, pixels)))
    counts = g.reshape(g.node("ScatterElements", empty, here, ones, axis=1, reduction="add"), (-1, tiles, LEVELS))
    if v.op.clip_limit > 0:
        limit = g.number(v.op.clip_limit * area / LEVELS)
        over = g.node("ReduceSum", g.node("Relu", g.node("Sub", counts, limit)), g.whole_numbers([-1]), keepdims=1)
        counts = g.node("Add", g.node("Min", counts, limit), g.node("Mul", over, g.number(1 / LEVELS)))
    sums = g.node("CumSum", counts, g.number(2, "int64"))
    low = g.slice(sums, 2, 0, 1)
    rest = g.node("Sub", g.number(area), low)
    rest = g.node("Where", g.node("Equal", rest, g.number(0)), g.number(1), rest)
    spread = g.node("Div", g.node("Mul", g.node("Sub", sums, low), g.number(255)), rest)
    table = g.reshape(g.node("Clip", spread, g.number(0), g.number(255)), (-1, tiles * LEVELS))
    parts = []
    for r, share_r in image_levels.near(height, down):
        for c, share_c in image_levels.near(width, across):
            share = np.repeat(share_r[:, None] * share_c, channels, axis=1).reshape(1, -1).astype(np.float32)
            parts.append(g.node("Mul", g.node("GatherElements", table, found(r, c), axis=1), g.constant(share)))
    return g.reshape(g.node("Sum", *parts), v.whole(-1))
