"""Depthwise convolution: its derivatives, and its numbers against windows written out one by one."""

from __future__ import annotations

import numpy as np
import pytest

from kerascli.ops.depthwise import depthwise_conv
from kerascli.ops.ir import Array
from tests.gradients import check
from tests.traces import computed

RNG = np.random.default_rng(1)
CASES = [
    ((7, 6, 3), (3, 3), (1, 1), "same", (1, 1), 1),
    ((8, 9, 5), (3, 2), (2, 2), "same", (1, 1), 2),
    ((8, 9, 5), (3, 3), (1, 3), "valid", (1, 1), 1),
    ((9, 9, 2), (3, 3), (1, 1), "valid", (2, 2), 3),
    ((1, 12, 8), (1, 3), (1, 2), "same", (1, 1), 1),
    ((9, 9, 2), (2, 3), (2, 2), "same", (2, 3), 1),
    ((3, 30, 400), (2, 2), (1, 1), "valid", (1, 1), 1),
]


@pytest.mark.parametrize(("shape", "size", "strides", "padding", "dilation", "multiplier"), CASES)
def test_derivatives_of_depthwise_convolution(
    shape: tuple[int, int, int],
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation: tuple[int, int],
    multiplier: int,
) -> None:
    x, w = RNG.standard_normal((3, *shape)), RNG.standard_normal((*size, shape[2], multiplier))
    check(lambda x, w: depthwise_conv(x, w, strides, padding, dilation), {"x": x}, {"w": w})


def test_every_channel_meets_its_own_kernels_alone() -> None:
    x, w = RNG.standard_normal((2, 5, 7, 3)), RNG.standard_normal((2, 3, 3, 2))
    found = computed(lambda x, w: depthwise_conv(x, w, (2, 2)), {"x": x}, {"w": w})
    np.testing.assert_allclose(found, _one_by_one(x, w), rtol=1e-12)


def _one_by_one(x: Array, w: Array) -> Array:
    y = np.zeros((2, 2, 3, 6))
    for a, b, c, m in np.ndindex(2, 3, 3, 2):
        window = x[:, 2 * a : 2 * a + 2, 2 * b : 2 * b + 3, c]
        y[:, a, b, c * 2 + m] = (window * w[:, :, c, m]).sum((1, 2))
    return y
