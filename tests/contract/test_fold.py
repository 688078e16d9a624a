"""Folded values: many rows a sample, in every op, and the layer that lives on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kerascli.layer import Context, Layer
from kerascli.ops.elementwise import add, multiply
from kerascli.ops.fold import fold, rows_like, stack, unfold, unstack
from kerascli.ops.ir import Array, Input, Scope, ShapeError, Trace, Type, Value, Weight
from kerascli.ops.linear import RowsProduct, batch_sum, matmul
from kerascli.ops.random import keep_mask
from kerascli.ops.shape import Concatenate, Insert, time_major
from kerascli.program.differentiate import gradients
from kerascli.program.interpret import evaluate
from tests.gradients import check
from tests.layer_cases import run

X = np.arange(2 * 3 * 4, dtype=float).reshape(2, 3, 4) + 0.5


def given(shape: tuple[int, ...] = (3, 4)) -> Value:
    return Trace().add(Input("x", Type(shape)), scope=Scope.BLOCK)


def test_folding_is_seeing_the_steps_as_rows() -> None:
    rows = fold(given())
    assert (rows.shape, rows.times, rows.op.view) == ((4,), 3, True)
    assert np.array_equal(evaluate([rows], {"x": X}, 2)[0], X.reshape(6, 4))


def test_unfolding_gives_back_what_was_folded() -> None:
    x = given((2, 3, 4))
    twice = fold(fold(x))
    assert twice.times == 6
    assert unfold(unfold(twice, 3), 2) is x
    assert fold(unfold(twice, 3)) is twice


def test_what_is_made_of_rows_has_as_many_and_a_sum_over_them_has_none() -> None:
    x = given()
    rows = fold(x)
    w = x.trace.add(Weight("w", (4, 5)), scope=Scope.WEIGHT)
    y = matmul(multiply(rows, 2.0), w)
    assert y.times == 3
    assert time_major(fold(given((3, 2, 4)))).times == 3
    assert (batch_sum(y).times, batch_sum(y).work_times) == (1, 3)


def test_rows_of_different_number_do_not_combine() -> None:
    x = given()
    with pytest.raises(ShapeError, match="1 and 3 rows a sample"):
        add(fold(x), unstack(x)[0])
    with pytest.raises(ShapeError, match="sequences of 2 steps"):
        unfold(fold(x), 2)


def test_the_gradient_of_a_matrix_sums_over_all_rows() -> None:
    def build(x: Value, w: Value) -> Value:
        return unfold(matmul(fold(x), w), 3)

    rng = np.random.default_rng(0)
    check(build, {"x": rng.standard_normal((5, 3, 4))}, {"w": rng.standard_normal((4, 2))})


def test_a_folded_vector_counts_as_many_rows_and_not_as_one_a_sample() -> None:
    x = given()
    w = x.trace.add(Weight("w", (4, 5)), scope=Scope.WEIGHT)
    y = matmul(fold(x), w)
    assert isinstance(y.op.gradient(y, y)[1].op, RowsProduct)  # type: ignore[union-attr]


def test_random_numbers_are_drawn_for_every_row_whatever_the_blocks() -> None:
    x = given((3, 50))
    with rows_like(fold(x)):
        mask = unfold(keep_mask(x.trace, (50,), 0.5), 3)
    assert keep_mask(x.trace, (50,), 0.5).times == 1
    (drawn,) = evaluate([mask], {}, 4)
    assert len(np.unique(drawn.reshape(12, 50), axis=0)) == 12
    (fewer,) = evaluate([mask], {}, 2)
    assert np.array_equal(fewer, drawn[:2])


def test_steps_taken_apart_and_put_together_are_the_sequence_and_so_are_their_gradients() -> None:
    def build(x: Value) -> Value:
        return stack([multiply(step, k + 1.0) for k, step in enumerate(unstack(x))])

    check(build, {"x": X})
    x = given()
    y = build(x)
    assert np.array_equal(evaluate([y], {"x": X}, 2)[0], X * np.arange(1, 4)[:, None])


def test_gradients_of_all_pieces_of_a_whole_are_joined_and_those_of_some_are_added() -> None:
    def gradient(pieces: slice) -> Value:
        x = given()
        parts = [batch_sum(multiply(step, step)) for step in unstack(x)[pieces]]
        total = parts[0]
        for part in parts[1:]:
            total = add(total, part)
        from kerascli.ops.reduction import sum as total_of

        return gradients(total_of(total), [x])[x]

    assert isinstance(gradient(slice(0, 3)).op, Concatenate)
    assert isinstance(gradient(slice(1, 2)).op, Insert)
    for pieces in (slice(0, 3), slice(0, 2), slice(1, 3)):
        expected = np.zeros_like(X)
        expected[:, pieces] = 2 * X[:, pieces]
        np.testing.assert_allclose(evaluate([gradient(pieces)], {"x": X}, 2)[0], expected)


# ---------------------------------------------------------------- TimeDistributed
def layer(inner: Any) -> Layer:
    return Layer.parse({"type": "TimeDistributed", "layer": inner})


def test_all_steps_are_one_call() -> None:
    x = given((6, 4))
    w = {"kernel": x.trace.add(Weight("w", (4, 5)), scope=Scope.WEIGHT)}
    y = layer({"type": "Dense", "units": 5, "use_bias": False}).call(Context(x.trace, True, (None,), "l", {}, []), w, x)
    assert [type(v.op).__name__ for v in x.trace.values] == ["Input", "Weight", "Fold", "MatMul", "Unfold"]
    assert y.shape == (6, 5)


def test_layers_that_follow_each_other_stay_folded() -> None:
    x = given((6, 4))
    context = Context(x.trace, True, (None,), "l", {}, [])
    layer("ReLU").call(context, {}, layer("Softmax").call(context, {}, x))
    assert sum(type(v.op).__name__ == "Fold" for v in x.trace.values) == 1


@pytest.mark.parametrize("noise", [None, [None, 40], [1, 40]], ids=["plain", "for each sample", "for all samples"])
def test_every_step_drops_its_own_numbers(noise: Any) -> None:
    dropout = layer({"type": "Dropout", "rate": 0.5, "noise_shape": noise})
    y = run(dropout, [np.ones((3, 5, 40), np.float32)], {}, training=True).y
    assert set(np.unique(y)) == {0.0, 2.0}
    assert len(np.unique(y[0], axis=0)) == 5
    assert (y == y[:1]).all() == (noise == [1, 40])


def statistics(x: Array) -> Array:
    return run(layer({"type": "BatchNormalization", "epsilon": 0.0}), [x], WEIGHTS, training=True).y


WEIGHTS = {
    name: np.full(2, float("variance" in name or name == "gamma"))
    for name in ("gamma", "beta", "moving_mean", "moving_variance")
}


def test_batch_statistics_are_those_of_a_step() -> None:
    y = statistics(np.random.default_rng(0).standard_normal((50, 3, 2)))
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(y.var(axis=0), 1, atol=1e-5)


REFUSED: list[tuple[Any, str]] = [
    ({"type": "Input", "shape": [3]}, "cannot be applied to steps"),
    ({"type": "Reuse", "layer": "a"}, "cannot be applied to steps"),
    ({"type": "Residual", "layers": ["Flatten"]}, "cannot be applied to steps"),
    ({"type": "Repeat", "times": 2, "layers": ["Flatten"]}, "cannot be applied to steps"),
    ("Add", "takes several inputs"),
    ("Attention", "takes several inputs"),
    ({"type": "MultiHeadAttention", "num_heads": 1, "key_dim": 2}, "takes several inputs"),
    ({"type": "Model", "layers": ["Flatten"]}, "cannot be applied to steps"),
    ({"type": "Dense", "units": 2, "inputs": "a"}, "leave out its `inputs`"),
    ({"type": "ConvLSTM1D", "filters": 2, "kernel_size": 1, "initial_state": ["a", "b"]}, "its `initial_state`"),
    ({"type": "ConvLSTM1D", "filters": 2, "kernel_size": 1, "return_state": True}, "cannot have `return_state`"),
]


@pytest.mark.parametrize(("inner", "message"), REFUSED)
def test_what_makes_no_sense_on_steps_is_refused_at_its_place(inner: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        layer(inner)
    assert caught.value.errors()[0]["loc"][-1] == "layer"


@pytest.mark.parametrize(
    ("inner", "shape", "message"),
    [
        ("Flatten", (3,), "at least 2 axes"),
        (
            {"type": "Conv2D", "filters": 1, "kernel_size": 1},
            (3, 4, 4),
            r"Conv2D reads \(4, 4\): expected samples of 3",
        ),
        ("Normalization", (3, 4), "learns from the data"),
    ],
)
def test_what_does_not_fit_is_refused(inner: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message) as caught:
        layer(inner).infer_shape(shape)
    assert caught.value.help or "Conv2D" in message
