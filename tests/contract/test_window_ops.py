"""Derivatives of windows, convolutions, pooling and batch statistics agree with finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from kerascli.ops.batch_norm import batch_norm
from kerascli.ops.convolution import conv
from kerascli.ops.elementwise import square
from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Value
from kerascli.ops.linear import bias_add, column_sums, matmul, transpose_matrix
from kerascli.ops.pooling import average_pool, max_pool
from kerascli.ops.window import Phase, Unphase, crop, pad
from kerascli.program.interpret import evaluate
from tests.gradients import check
from tests.traces import computed

RNG = np.random.default_rng(1)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("shape", "filters", "kernel", "strides", "dilation", "groups"),
    [
        ((7, 6, 3), 4, (3, 3), (1, 1), (1, 1), 1),
        ((8, 9, 5), 4, (3, 2), (2, 1), (1, 1), 1),
        ((8, 9, 6), 4, (2, 3), (2, 3), (1, 1), 1),
        ((9, 9, 2), 3, (3, 3), (1, 1), (2, 2), 1),
        ((6, 6, 4), 6, (3, 3), (1, 1), (1, 1), 2),
        ((1, 12, 8), 5, (1, 3), (1, 2), (1, 1), 1),
        ((5, 5, 3), 4, (1, 1), (1, 1), (1, 1), 1),
    ],
)
def test_convolution(
    shape: tuple[int, int, int],
    filters: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    padding: str,
) -> None:
    check(
        lambda x, w: conv(x, w, strides, padding, dilation, groups),
        {"x": normal(3, *shape)},
        {"w": normal(*kernel, shape[2] // groups, filters)},
    )


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("pool", [max_pool, average_pool])
@pytest.mark.parametrize(("size", "strides"), [((2, 2), (2, 2)), ((3, 3), (3, 3)), ((3, 2), (2, 1)), ((2, 3), (3, 3))])
def test_pooling(pool: object, size: tuple[int, int], strides: tuple[int, int], padding: str) -> None:
    check(lambda x: pool(x, size, strides, padding), {"x": normal(2, 7, 8, 3)})  # type: ignore[operator]


def test_pad_and_crop() -> None:
    check(lambda x: crop(pad(x, ((1, 2), (0, 1), (0, 0))), ((0, 1), (1, 0), (1, 0))), {"x": normal(2, 4, 3, 2)})


@pytest.mark.parametrize("extent", [(4, 6), (5, 7), (1, 2), (6, 5)])
def test_phases(extent: tuple[int, int]) -> None:
    x = normal(2, *extent, 3)
    crop_back = (-extent[0] % 2, -extent[1] % 3)
    check(lambda x: square(x.trace.add(Phase((2, 3)), x)), {"x": x})
    check(lambda x: x.trace.add(Unphase(crop_back), square(x.trace.add(Phase((2, 3)), x))), {"x": x})


def test_maximum_over_phases_is_that_over_windows() -> None:
    def phased(x: Value) -> Value:
        return x.trace.add(Unphase(), max_pool(x.trace.add(Phase((4, 4)), x), (2, 2), (2, 2)))

    def whole(x: Value) -> Value:
        return max_pool(x.trace.add(Phase((2, 2)), x), (2, 2), (2, 2))

    x = normal(2, 8, 12, 3)
    trace = Trace()
    source = trace.add(Input("x", Type(x.shape[1:])), scope=Scope.BLOCK)
    results = evaluate([max_pool(source, (2, 2), (2, 2)), phased(source), whole(source)], {"x": x}, 2)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    check(phased, {"x": x})


def test_matrix_product_and_bias() -> None:
    check(lambda x, w, b: bias_add(matmul(x, w), b), {"x": normal(4, 5)}, {"w": normal(5, 3), "b": normal(3)})
    check(lambda x, w, b: bias_add(matmul(x, w), b), {"x": normal(4, 6, 5)}, {"w": normal(5, 3), "b": normal(3)})
    check(lambda w, v: matmul(transpose_matrix(w), v), {}, {"w": normal(5, 3), "v": normal(5, 2)})


@pytest.mark.parametrize("shape", [(5,), (3, 5)], ids=["one row a sample", "several"])
def test_column_sums_are_those_of_all_rows_of_all_samples(shape: tuple[int, ...]) -> None:
    x = normal(4, *shape)
    np.testing.assert_allclose(computed(lambda x: column_sums(x, 5), {"x": x}), x.reshape(-1, 5).sum(0))


@pytest.mark.parametrize("shape", [(5,), (6, 4), (4, 3, 2)])
def test_batch_normalisation(shape: tuple[int, ...]) -> None:
    rows, channels = 6, shape[-1]

    def build(x: Value, gamma: Value, beta: Value) -> Value:
        from kerascli.ops.ir import Variable

        y, _ = batch_norm(x, gamma, beta, 1e-3)
        assert any(isinstance(v.op, Variable) for v in x.trace.values)
        return y

    check(build, {"x": normal(rows, *shape)}, {"gamma": normal(channels), "beta": normal(channels)})
