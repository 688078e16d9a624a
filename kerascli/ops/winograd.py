"""3×3 convolution by Winograd's F(4×4, 3×3): 36 products for 16 outputs of a channel pair instead of 144.

y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A for every tile of 4×4 outputs, where d are the 6×6 inputs that the tile sees and g is
the kernel (Lavin and Gray, 2016). Summed over channels, ⊙ becomes one matrix product for each of the 36 places.

Legend: n samples, C channels in, O filters, t u tiles down and across. Tiled values keep their place in the tile in
front, so that transforms are products of a small matrix with long contiguous planes: inputs (6, 6, n, t, u, C),
outputs (4, 4, n, t, u, O), and inputs that fill their tiles exactly (4, 4, n, t, u, C), the layout of Phase.
Derivatives are the exact adjoints. The result differs from direct summation by 1–2e-6 in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value

TILE = 4
TAPS = 6

INPUT = np.array(
    [
        [1, 0, -5 / 4, 0, 1 / 4, 0],  # a quarter of the usual row, so that the outermost taps have the factor 1
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
"""Bᵀ."""
KERNEL = np.array(
    [
        [1, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
"""G, its first row four times the usual one."""
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], float)
"""Aᵀ."""


class _Planes(Op):
    """M x Mᵀ over the two leading axes of x: (r, r, ...) → (s, s, ...)."""

    matrix: ClassVar[Array]

    def infer(self, x: Value) -> Type:
        size = len(self.matrix)
        return Type((size, size, *x.shape[2:]), batch_axis=x.batch_axis)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        whole = inputs[0].whole(rows)
        return (((len(self.matrix), *whole[1:]), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        matrix, (x,), (t,) = np.ascontiguousarray(self.matrix, out.dtype), inputs, site.scratch
        size, taps = matrix.shape
        return [
            partial(np.dot, matrix, x.reshape(taps, -1), t.reshape(size, -1)),
            partial(np.matmul, matrix, t.reshape(size, taps, -1), out.reshape(size, size, -1)),
        ]

    def flops(self, y: Value, rows: int) -> int:
        size, taps = self.matrix.shape
        return int(super().flops(y, rows) // size * 2 * taps * (taps + size))


class PatchTransform(_Planes):
    """Bᵀ d B of patches (6, 6, ·, t, u, C)."""

    matrix = INPUT

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(PatchTransformAdjoint(), dy),)


class PatchTransformAdjoint(_Planes):
    matrix = INPUT.T


class OutputTransform(_Planes):
    """Aᵀ m A: (6, 6, ·, t, u, O) → (4, 4, ·, t, u, O)."""

    matrix = OUTPUT
    cheap = False

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(OutputTransformAdjoint(), dy),)


class OutputTransformAdjoint(_Planes):
    matrix = OUTPUT.T


class KernelTransform(_Planes):
    """G g Gᵀ: (3, 3, C, O) → (6, 6, C, O), once a step; so is its adjoint, for the summed gradient."""

    matrix = KERNEL

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(KernelTransformAdjoint(), dy),)


class KernelTransformAdjoint(_Planes):
    matrix = KERNEL.T


# ---------------------------------------------------------------- inputs that fill their tiles, zeros around them
class TileTransform(Op):
    """Bᵀ d B where d are a tile and one row and column around it, zeros at the border: (4, 4, ·) → (6, 6, ·).

    The inner four taps are a product; the outermost, of factor 1, are the neighbouring tile's last or first.
    """

    def infer(self, x: Value) -> Type:
        return Type((TAPS, TAPS, *x.shape[2:]), batch_axis=2)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return (((TILE, TAPS, *inputs[0].whole(rows)[2:]), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,), (s,) = inputs, site.scratch
        inner = np.ascontiguousarray(INPUT[:, 1:-1], out.dtype)
        first, last = _add_neighbours(s, x, 1), _add_neighbours(out, s, 0)
        return [
            partial(np.matmul, inner, x.reshape(TILE, TILE, -1), s.reshape(TILE, TAPS, -1)),
            *first,
            partial(np.dot, inner, s.reshape(TILE, -1), out.reshape(TAPS, -1)),
            *last,
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(TileTransformAdjoint(), dy),)

    def flops(self, y: Value, rows: int) -> int:
        return super().flops(y, rows) // TAPS * 2 * TILE * (TILE + TAPS)


def _add_neighbours(out: Array, x: Array, axis: int) -> list[Call]:
    """out[0] += the tile before's x[3], out[5] += the tile after's x[0], along one of the two leading axes."""
    out, x = (a.swapaxes(0, axis) for a in (out, x))
    before, after = _neighbours(out.ndim, axis)
    calls = [(out[0][after], x[TILE - 1][before]), (out[TAPS - 1][before], x[0][after])]
    return [partial(np.add, to, part, to) for to, part in calls if to.size]


def _neighbours(rank: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """All tiles but the last, and all but the first, down (0) or across (1), of (·, n, t, u, C)."""
    lead = (slice(None),) * (rank - 4 + axis)
    return (*lead, slice(None, -1)), (*lead, slice(1, None))


class TileTransformAdjoint(Op):
    """The adjoint of TileTransform: (6, 6, ·) → (4, 4, ·)."""

    cheap = False

    def infer(self, dv: Value) -> Type:
        return Type((TILE, TILE, *dv.shape[2:]), batch_axis=2)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return (((TILE, TAPS, *inputs[0].whole(rows)[2:]), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (dv,), (s,) = inputs, site.scratch
        inner = np.ascontiguousarray(INPUT[:, 1:-1].T, out.dtype)
        return [
            partial(np.dot, inner, dv.reshape(TAPS, -1), s.reshape(TILE, -1)),
            *_give_neighbours(s, dv, 0),
            partial(np.matmul, inner, s.reshape(TILE, TAPS, -1), out.reshape(TILE, TILE, -1)),
            *_give_neighbours(out, s, 1),
        ]

    def flops(self, y: Value, rows: int) -> int:
        return super().flops(y, rows) // TILE * 2 * TAPS * (TILE + TAPS)


def _give_neighbours(out: Array, dv: Array, axis: int) -> list[Call]:
    """The adjoint of _add_neighbours."""
    out, dv = (a.swapaxes(0, axis) for a in (out, dv))
    before, after = _neighbours(out.ndim, axis)
    calls = [(out[TILE - 1][before], dv[0][after]), (out[0][after], dv[TAPS - 1][before])]
    return [partial(np.add, to, part, to) for to, part in calls if to.size]


# ---------------------------------------------------------------- inputs in natural order
class Patches(Op):
    """The 6×6 inputs of every tile: x (H, W, C) → (6, 6, ·, t, u, C), zeros beyond the input's end."""

    tiles: tuple[int, int]

    def infer(self, x: Value) -> Type:
        return Type((TAPS, TAPS, *self.tiles, x.shape[-1]), batch_axis=2)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,) = inputs
        calls: list[Call] = []
        for axis in (0, 1):
            missing = _missing(x.shape[1 + axis], self.tiles[axis])
            if missing:
                last = out.swapaxes(0, axis).swapaxes(3, 3 + axis)[TAPS - missing :, :, :, -1]
                calls.append(partial(np.copyto, last, 0))
        return [*calls, *(partial(np.copyto, to, part) for part, to in _overlaps(x, out, [(0, TAPS)]))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(PatchesAdjoint(y.inputs[0].shape), dy),)


class PatchesAdjoint(Op):
    """Every input's gradients added up: (6, 6, ·, t, u, C) → (H, W, C)."""

    shape: Shape
    cheap = False

    def infer(self, dp: Value) -> Type:
        return Type(self.shape)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        pairs = _overlaps(out, inputs[0], [(0, TILE), (TILE, TAPS)])
        return [partial(out.fill, 0), *(partial(np.add, to, part, to) for to, part in pairs)]


def _missing(extent: int, tiles: int) -> int:
    """Taps of the last tile that lie beyond the input."""
    return max(TILE * (tiles - 1) + TAPS - extent, 0)


def _overlaps(x: Array, patches: Array, groups: list[tuple[int, int]]) -> list[tuple[Array, Array]]:
    """Views of the same numbers in x and in its patches; within a group of taps no input comes twice."""
    s, (n, channels) = x.strides, (len(x), x.shape[-1])
    pairs = []
    runs = [
        [run for lo, hi in groups for run in _runs(extent, tiles, lo, hi)]
        for extent, tiles in zip(x.shape[1:3], patches.shape[3:5], strict=True)
    ]
    for i, t, p, a in runs[0]:
        for j, u, q, b in runs[1]:
            seen = as_strided(
                x[:, TILE * i + p :, TILE * j + q :],
                (a, b, n, t, u, channels),
                (s[1], s[2], s[0], TILE * s[1], TILE * s[2], s[3]),
            )
            pairs.append((seen, patches[p : p + a, q : q + b, :, i : i + t, j : j + u]))
    return pairs


def _runs(extent: int, tiles: int, low: int, high: int) -> list[tuple[int, int, int, int]]:
    """(first tile, tiles, first tap, taps): which of the taps low … high − 1 lie within the extent."""
    there = min(high, extent - TILE * (tiles - 1))
    if there == high:
        return [(0, tiles, low, high - low)]
    whole = [(0, tiles - 1, low, high - low)] if tiles > 1 else []
    return whole + ([(tiles - 1, 1, low, there - low)] if there > low else [])


# ---------------------------------------------------------------- the products
class TileProduct(Op):
    """The 36 products V @ U: (6, 6, ·, t, u, C), (6, 6, C, O) → (6, 6, ·, t, u, O)."""

    cheap = False

    def infer(self, v: Value, u: Value) -> Type:
        return Type((*v.shape[:-1], u.shape[-1]), batch_axis=2)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.matmul, *(_matrices(a) for a in inputs), _matrices(out))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        v, u = y.inputs
        return y.trace.add(self, dy, y.trace.add(TransposeKernel(), u)), y.trace.add(TileRowsProduct(), v, dy)

    def flops(self, y: Value, rows: int) -> int:
        return super().flops(y, rows) * 2 * y.inputs[1].shape[2]


class TransposeKernel(Op):
    """(6, 6, C, O) → (6, 6, O, C), a contiguous copy made once a step."""

    def infer(self, u: Value) -> Type:
        return Type((*u.shape[:2], u.shape[3], u.shape[2]))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.copyto, out, inputs[0].swapaxes(2, 3))]


class TileRowsProduct(Op):
    """The 36 products Vᵀ @ dM, summed over tiles and samples: the gradient of U, still transformed."""

    contracts = True

    def infer(self, v: Value, dm: Value) -> Type:
        return Type((TAPS, TAPS, v.shape[-1], dm.shape[-1]))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        v, dm = (_matrices(a) for a in inputs)
        return [partial(np.matmul, v.transpose(0, 2, 1), dm, _matrices(out))]

    def slices(self, y: Value) -> int:
        return TAPS * TAPS

    def slice(self, first: int, end: int, out: Array, *inputs: Array) -> tuple[Array, ...]:
        out, v, dm = (a.reshape(-1, 1, *a.shape[2:])[first:end] for a in (out, *inputs))
        return out, v, dm

    def flops(self, y: Value, rows: int) -> int:
        return 2 * rows * y.inputs[0].size * y.shape[-1]


def _matrices(x: Array) -> Array:
    """(6, 6, ..., K) → (36, rows, K)."""
    return x.reshape(x.shape[0] * x.shape[1], -1, x.shape[-1])


def tile_convolution(x: Value, kernel: Value) -> Value:
    """Convolution of a tiled input (4, 4, ·, t, u, C) with zeros around it, as with padding `same`."""
    return _convolve(x.trace.add(TileTransform(), x), kernel)


def patch_convolution(x: Value, kernel: Value, extent: tuple[int, int]) -> Value:
    """Convolution of x (H, W, C) as with padding `valid`, in tiles that cover `extent` outputs from the first on."""
    tiles = (-(-extent[0] // TILE), -(-extent[1] // TILE))
    return _convolve(x.trace.add(PatchTransform(), x.trace.add(Patches(tiles), x)), kernel)


def _convolve(v: Value, kernel: Value) -> Value:
    """Transformed input (6, 6, ·, t, u, C) and kernel (3, 3, C, O) → (4, 4, ·, t, u, O)."""
    u = v.trace.add(KernelTransform(), kernel)
    return v.trace.add(OutputTransform(), v.trace.add(TileProduct(), v, u))
