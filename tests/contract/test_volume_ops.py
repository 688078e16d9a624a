"""Derivatives of windows over volumes and of transposed convolutions agree with finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from kerascli.ops.convolution import conv
from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Weight
from kerascli.ops.pooling import average_pool, max_pool
from kerascli.ops.transposed import conv_transpose
from kerascli.program.interpret import evaluate
from tests.gradients import check

RNG = np.random.default_rng(1)
VOLUME = {"x": RNG.standard_normal((2, 5, 4, 6, 4))}
OPEN = (None, None)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape)


@pytest.mark.parametrize(
    ("size", "strides", "padding", "extra", "dilation"),
    [
        ((3, 3), (2, 2), "same", OPEN, (1, 1)),
        ((3, 2), (2, 3), "valid", OPEN, (1, 1)),
        ((2, 2), (3, 3), "valid", OPEN, (1, 1)),
        ((3, 3), (2, 2), "same", (1, 0), (1, 1)),
        ((3, 3), (1, 1), "same", OPEN, (2, 2)),
        ((1, 1), (2, 3), "same", OPEN, (1, 1)),
        ((2, 3), (2, 2), "valid", (1, 0), (1, 1)),
    ],
)
def test_transposed_convolution(
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    extra: tuple[int | None, int | None],
    dilation: tuple[int, int],
) -> None:
    check(
        lambda x, w: conv_transpose(x, w, strides, padding, extra, dilation),
        {"x": normal(3, 4, 5, 3)},
        {"w": normal(*size, 2, 3)},
    )


def test_transposed_convolution_is_the_adjoint_of_convolution() -> None:
    x, y, w = normal(1, 7, 9, 2), normal(1, 3, 4, 3), normal(3, 3, 2, 3)
    trace = Trace()
    source = trace.add(Input("x", Type(x.shape[1:])), scope=Scope.BLOCK)
    given = trace.add(Input("y", Type(y.shape[1:])), scope=Scope.BLOCK)
    kernel = trace.add(Weight("w", w.shape), scope=Scope.WEIGHT)
    there, back = conv(source, kernel, (2, 2)), conv_transpose(given, kernel, (2, 2))
    forward, adjoint = evaluate([there, back], {"x": x, "y": y, "w": w}, 1)
    np.testing.assert_allclose((forward * y).sum(), (adjoint * x).sum(), rtol=1e-12)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_windows_over_volumes(padding: str) -> None:
    check(lambda x, w: conv(x, w, (1, 2, 1), padding, (1, 1, 1), 2), VOLUME, {"w": normal(2, 3, 2, 2, 4)})
    check(lambda x, w: conv(x, w, (1, 1, 1), padding, (1, 1, 2)), VOLUME, {"w": normal(2, 3, 2, 4, 3)})
    check(lambda x: max_pool(x, (2, 3, 2), (2, 1, 2), padding), VOLUME)
    check(lambda x: average_pool(x, (2, 3, 2), (2, 1, 2), padding), VOLUME)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_transposed_convolution_over_volumes(padding: str) -> None:
    check(
        lambda x, w: conv_transpose(x, w, (1, 2, 3), padding, (None, None, None), (1, 1, 1)),
        VOLUME,
        {"w": normal(2, 3, 2, 3, 4)},
    )
