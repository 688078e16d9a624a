"""Every loss gives Keras's values and gradients, from probabilities, from logits, and through softmax or sigmoid."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import keras
import numpy as np
import pytest

from kerascli.component import Example
from kerascli.losses.base import Loss
from kerascli.losses.probabilistic import BinaryCrossentropy, _Crossentropy
from kerascli.ops.activation import sigmoid
from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Value
from kerascli.ops.linear import batch_sum
from kerascli.ops.reduction import sum as total
from kerascli.ops.softmax import softmax
from kerascli.program.build import Target, data_loss
from kerascli.program.differentiate import gradients
from kerascli.program.interpret import evaluate

MEMBERS = {m for n, m in Loss.names().items() if m.__name__ == n}
CASES = [
    pytest.param(member, example, id=f"{member.__name__}-{k}")
    for member in sorted(MEMBERS, key=lambda m: m.__name__)
    for k, example in enumerate(member.examples)
]
ROWS = 6
BEFORE = ("nothing", "squash")
POSITIVE = ("Poisson", "KLDivergence", "CategoricalGeneralizedCrossEntropy", "Dice", "Tversky")
"""Losses that take probabilities or rates alone, or divide by their sum."""


def data(member: type[Loss], example: Example, extreme: bool = False) -> tuple[Array, Array]:
    rng = np.random.default_rng(4)
    pred, true = example.inputs
    y_pred = rng.standard_normal((ROWS, *pred)).astype(np.float32) * (30 if extreme else 1)
    if member.__name__ == "Circle":
        y_pred /= np.linalg.norm(y_pred, axis=-1, keepdims=True)
    if member.targets == "integer":
        axis = example.config.get("axis", -1)
        if member.__name__ in POSITIVE:
            y_pred = probabilities(y_pred if not extreme else y_pred / 30, -1)
        return rng.integers(0, (0, *pred)[axis], (ROWS, *true)).astype(np.int32), y_pred
    if member.__name__ in POSITIVE:
        y_pred = np.abs(y_pred) / (30 if extreme else 1) + 0.01
    if member.targets == "one_hot":
        return np.eye(pred[-1], dtype=np.float32)[rng.integers(0, pred[-1], (ROWS, *pred[:-1]))], y_pred
    return rng.random((ROWS, *true)).astype(np.float32).round(0 if extreme else 1), y_pred


def squash(member: type[Loss], axis: int, x: Any, ours: bool) -> Any:
    """Probabilities: by softmax over the classes, or by sigmoid."""
    if issubclass(member, BinaryCrossentropy):
        return sigmoid(x) if ours else jax.nn.sigmoid(x)
    return softmax(x, axis - 1 if axis > 0 else axis) if ours else jax.nn.softmax(x, axis)


def ours(loss: Loss, y_true: Array, x: Array, before: str, dtype: Any = np.float32) -> tuple[Array, Array]:
    """Values, and the gradient of their sum."""
    trace = Trace()
    kind = "float" if y_true.dtype.kind == "f" else y_true.dtype.name
    target = trace.add(Input("y", Type(y_true.shape[1:], kind)), scope=Scope.BLOCK)
    source = trace.add(Input("x", Type(x.shape[1:])), scope=Scope.BLOCK)
    y_pred: Value = source if before == "nothing" else squash(type(loss), getattr(loss, "axis", -1), source, True)
    values = loss.values(target, y_pred)
    summed = total(values) if values.shape else values
    summed = batch_sum(summed) if values.scope == Scope.BLOCK else summed
    gradient = gradients(summed, [source])[source]
    found = evaluate([values, gradient], {"y": y_true, "x": x}, ROWS, dtype)
    return found[0], found[1]


def theirs(member: type[Loss], example: Example, y_true: Array, x: Array, before: str) -> tuple[Array, Array]:
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in example.config.items()}
    original = getattr(keras.losses, member.__name__)(**config)

    def values(x: Any) -> Any:
        y_pred = x if before == "nothing" else squash(member, example.config.get("axis", -1), x, False)
        return original.call(keras.ops.convert_to_tensor(y_true.astype(np.float32)), y_pred)

    return np.asarray(values(x)), np.asarray(jax.grad(lambda x: values(x).sum())(x))


def probabilities(y_pred: Array, axis: int) -> Array:
    positive = np.exp(y_pred)
    return np.asarray(positive / (1 + positive.sum(axis, keepdims=True)))


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("member, example", CASES)
def test_values_and_gradients_equal_keras(member: type[Loss], example: Example, before: str) -> None:
    y_true, x = data(member, example)
    crossentropy = issubclass(member, _Crossentropy)
    if before == "squash" and (not crossentropy or example.config.get("from_logits")):
        pytest.skip("takes outputs as they are")
    if before == "nothing" and crossentropy and not example.config.get("from_logits"):
        x = probabilities(x, example.config.get("axis", -1))
    if member.__name__ == "SparseCategoricalCrossentropy" and example.config.get("axis", -1) > 0:
        expected = theirs(member, Example({}), y_true, np.moveaxis(x, 1, -1), before)
        expected = expected[0], np.moveaxis(expected[1], -1, 1)
    else:
        expected = theirs(member, example, y_true, x, before)
    found = ours(member.model_validate(example.config), y_true, x, before)
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == np.float32
        atol = 5e-7 * max(1.0, np.abs(want).max() / 4)
        np.testing.assert_allclose(got, want.reshape(got.shape), rtol=2e-6, atol=atol)


@pytest.mark.parametrize("member, example", CASES)
def test_far_beyond_the_bounds_values_are_keras_own_and_finite(member: type[Loss], example: Example) -> None:
    y_true, x = data(member, example, extreme=True)
    logits = not issubclass(member, _Crossentropy) or example.config.get("from_logits")
    before = "nothing" if logits else "squash"
    values, gradient = ours(member.model_validate(example.config), y_true, x, before)
    if member.__name__ == "SparseCategoricalCrossentropy" and example.config.get("axis", -1) > 0:
        expected = theirs(member, Example({}), y_true, np.moveaxis(x, 1, -1), before)[0]
    else:
        expected = theirs(member, example, y_true, x, before)[0]
    # 1 - sigmoid(x) loses its digits near 1, in Keras as here
    rtol = 0.03 if issubclass(member, BinaryCrossentropy) and not logits else 1e-5
    np.testing.assert_allclose(values, expected.reshape(values.shape), rtol=rtol, atol=1e-6)
    assert np.isfinite(gradient).all()


def test_a_sample_beyond_the_bound_still_has_the_gradient_of_its_logits() -> None:
    x = np.array([[40, 0, -40]], np.float32).repeat(ROWS, 0)
    values, gradient = ours(Loss.parse("sparse_categorical_crossentropy"), np.full(ROWS, 2, np.int32), x, "squash")
    np.testing.assert_allclose(values, -np.log(1e-7), rtol=1e-6)
    np.testing.assert_allclose(gradient[0], [1, 0, -1], atol=1e-6)


def test_ignored_classes_have_neither_loss_nor_gradient_wherever_their_number_lies() -> None:
    x = np.random.default_rng(0).standard_normal((ROWS, 4)).astype(np.float32)
    for ignored in (-1, 255, 2):
        y = np.array([0, ignored, 3, ignored, ignored, 1], np.int32)
        config = {"type": "SparseCategoricalCrossentropy", "ignore_class": ignored, "from_logits": True}
        values, gradient = ours(Loss.parse(config), y, x, "nothing")
        example = Example({"ignore_class": ignored, "from_logits": True})
        expected = theirs(type(Loss.parse(config)), example, y, x, "nothing")
        np.testing.assert_allclose(values, expected[0], rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(gradient, expected[1], rtol=2e-6, atol=1e-7)
        assert not values[y == ignored].any() and not gradient[y == ignored].any()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [None, 2])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"])
def test_the_loss_of_a_batch_is_keras_own(reduction: str, ignored: int | None, weighted: bool) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((ROWS, 4)).astype(np.float32), np.array([0, 2, 3, 2, 2, 1], np.int32)
    weight = rng.random(ROWS).astype(np.float32) if weighted else None
    config = {"reduction": reduction, "ignore_class": ignored, "from_logits": True}
    trace = Trace()
    y_pred = trace.add(Input("x", Type((4,))), scope=Scope.BLOCK)
    loss = Loss.parse({"type": "SparseCategoricalCrossentropy", **config})
    value = data_loss("out", Target(loss, (), "int32"), y_pred, None, weighted)
    feeds = {"x": x, "y:out": y, "inverse_batch": 1 / ROWS, **({} if weight is None else {"w:out": weight})}
    expected = keras.losses.SparseCategoricalCrossentropy(**config)(y, x, weight)
    np.testing.assert_allclose(evaluate([value], feeds, ROWS, np.float32)[0], expected, rtol=1e-6)


WORDS = {n for n, m in Loss.names().items() if m.__name__ != "CategoricalGeneralizedCrossEntropy"} - {
    "crossentropy",
    "ce",
}
"""Without those that Keras looks up by shape, and the class that its `get` forgets."""


@pytest.mark.parametrize("word", sorted(WORDS))
def test_keras_knows_the_same_identifier(word: str) -> None:
    found = keras.losses.get(word)
    name = found.__name__ if inspect.isfunction(found) else type(found).__name__
    own = type(Loss.parse(word))
    assert own.find(name) is own


@pytest.mark.parametrize("member", sorted(MEMBERS, key=lambda m: m.__name__))
def test_arguments_and_defaults_are_keras_own(member: type[Loss]) -> None:
    arguments = inspect.signature(getattr(keras.losses, member.__name__)).parameters
    own = {k: v for k, v in member().dump().items() if k not in ("type", "name")}
    assert own == {k: p.default for k, p in arguments.items() if k not in ("name", "dtype")}
    assert member().label == arguments["name"].default


@pytest.mark.parametrize("axis", [None, (1,), (0, 1)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"])
def test_the_loss_of_a_whole_batch_is_reduced_as_keras_does(reduction: str, weighted: bool, axis: Any) -> None:
    if weighted and axis == (0, 1):
        pytest.skip("Keras multiplies classes by samples")
    rng = np.random.default_rng(2)
    x, y = rng.random((ROWS, 4), np.float32), rng.random((ROWS, 4), np.float32)
    weight = rng.random(ROWS).astype(np.float32) if weighted else None
    loss = Loss.parse({"type": "Dice", "reduction": reduction, "axis": axis})
    trace = Trace()
    y_pred = trace.add(Input("x", Type((4,))), scope=Scope.BLOCK)
    value = data_loss("out", Target(loss, (4,)), y_pred, None, weighted)
    feeds = {"x": x, "y:out": y, "inverse_batch": 1 / ROWS, **({} if weight is None else {"w:out": weight})}
    expected = keras.losses.Dice(reduction=reduction, axis=axis)(y, x, weight)
    np.testing.assert_allclose(evaluate([value], feeds, ROWS, np.float32)[0], expected, rtol=1e-6)


def test_hinges_take_bits_for_signs_where_all_targets_are_bits() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((ROWS, 3)).astype(np.float32)
    for low in (0, -1):
        y = rng.choice([low, 1], (ROWS, 3)).astype(np.float32)
        for member in (Loss.find("Hinge"), Loss.find("SquaredHinge")):
            assert member is not None and issubclass(member, Loss)
            found = ours(member(), y, x, "nothing")
            expected = theirs(member, Example({}), y, x, "nothing")
            for got, want in zip(found, expected, strict=True):
                np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("word", ["crossentropy", "ce"])
@pytest.mark.parametrize("output, target", [((1,), (1,)), ((1,), ()), ((3,), ()), ((3,), (1,)), ((3,), (3,))])
def test_crossentropy_is_chosen_as_keras_does(word: str, output: tuple[int, ...], target: tuple[int, ...]) -> None:
    from keras.src.trainers.compile_utils import get_loss

    expected = get_loss(word, np.zeros((4, *target)), np.zeros((4, *output))).fn.__name__
    assert Loss.parse(word).resolve(output, target).label == expected
