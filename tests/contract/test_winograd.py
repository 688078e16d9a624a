"""Winograd convolutions equal direct ones, and their derivatives agree with finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from kerascli.ops.convolution import conv
from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Value, Weight
from kerascli.ops.window import phase, unphase
from kerascli.ops.winograd import Patches, PatchesAdjoint, patch_convolution, tile_convolution
from kerascli.program.interpret import evaluate
from tests.gradients import check

RNG = np.random.default_rng(2)
EXTENTS = [(4, 4), (8, 4), (5, 7), (3, 3), (13, 6), (9, 10)]


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape)


def same(x: Value, w: Value) -> Value:
    return unphase(tile_convolution(phase(x, (4, 4)), w), x.shape[:2])


def valid(x: Value, w: Value) -> Value:
    extent = (x.shape[0] - 2, x.shape[1] - 2)
    return unphase(patch_convolution(x, w, extent), extent)


def cut_short(x: Value, w: Value) -> Value:
    extent = (max(x.shape[0] - 4, 1), max(x.shape[1] - 3, 1))
    return unphase(patch_convolution(x, w, extent), extent)


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("build", [same, valid, cut_short])
def test_derivatives(build: object, extent: tuple[int, int]) -> None:
    check(build, {"x": normal(2, *extent, 3)}, {"w": normal(3, 3, 3, 2)}, tolerance=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 5e-6)])
def test_equals_the_direct_convolution(extent: tuple[int, int], dtype: str, tolerance: float) -> None:
    trace = Trace()
    x = trace.add(Input("x", Type((*extent, 32))), scope=Scope.BLOCK)
    w = trace.add(Weight("w", (3, 3, 32, 32)), scope=Scope.WEIGHT)
    feeds = {"x": normal(2, *extent, 32), "w": normal(3, 3, 32, 32) / 17}
    exact = evaluate([conv(x, w, padding="same"), conv(x, w)], feeds, 2)
    for got, expected in zip(evaluate([same(x, w), valid(x, w)], feeds, 2, np.dtype(dtype)), exact, strict=True):
        assert np.linalg.norm(got - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("extent", EXTENTS)
def test_patches_beyond_the_input_are_zero_and_their_adjoint_ignores_them(extent: tuple[int, int]) -> None:
    trace = Trace()
    x = trace.add(Input("x", Type((*extent, 2))), scope=Scope.BLOCK)
    tiles = (-(-(extent[0] - 2) // 4), -(-(extent[1] - 2) // 4))
    patches = trace.add(Patches(tiles), x)
    back = trace.add(PatchesAdjoint(x.shape), patches)
    array = normal(3, *extent, 2)
    seen, added = evaluate([patches, back], {"x": array}, 3)
    padded = np.pad(array, ((0, 0), (0, 6), (0, 6), (0, 0)))
    counts = np.zeros_like(padded)
    for i in range(tiles[0]):
        for j in range(tiles[1]):
            window = padded[:, 4 * i : 4 * i + 6, 4 * j : 4 * j + 6]
            assert np.array_equal(seen[:, :, :, i, j], window.transpose(1, 2, 0, 3))
            counts[:, 4 * i : 4 * i + 6, 4 * j : 4 * j + 6] += 1
    assert np.array_equal(added, array * counts[:, : extent[0], : extent[1]])
