"""Every metric gives Keras's figure over several batches, on ordinary and on awkward data."""

from __future__ import annotations

import inspect
import os

os.environ["KERAS_BACKEND"] = "jax"

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from kerascli.component import Example
from kerascli.metrics.base import Metric, columns
from kerascli.metrics.confusion import _Confusion
from kerascli.metrics.iou import _IntersectionOverUnion
from kerascli.metrics.tradeoff import _BestUnderConstraint
from kerascli.ops.ir import Array

CASES = [
    pytest.param(member, example, id=f"{name}-{k}")
    for name, member in sorted(Metric.names().items())
    if name == member.__name__
    for k, example in enumerate(member.examples)
]
BATCHES = (7, 7, 3)
Data = Callable[[np.random.Generator, tuple[int, ...], tuple[int, ...]], tuple[Array, Array]]


def ordinary(rng: np.random.Generator, true: tuple[int, ...], pred: tuple[int, ...]) -> tuple[Array, Array]:
    """Probabilities, with targets that are labels, one-hot vectors or bits as the shapes ask."""
    y_pred = rng.random(pred).astype(np.float32)
    if len(pred) > 1 and pred[-1] > 1:
        y_pred /= y_pred.sum(-1, keepdims=True)
    if true == pred and pred[-1] > 1:
        return np.eye(pred[-1], dtype=np.float32)[rng.integers(0, pred[-1], true[:-1])], y_pred
    return rng.integers(0, max(pred[-1], 2), true), y_pred


def tied(rng: np.random.Generator, true: tuple[int, ...], pred: tuple[int, ...]) -> tuple[Array, Array]:
    """Scores from a few values that thresholds hit exactly, so that most of a row is equal."""
    y_true, _ = ordinary(rng, true, pred)
    return y_true, rng.choice(np.array([0, 0.25, 0.5, 1], np.float32), pred)


def empty_class(rng: np.random.Generator, true: tuple[int, ...], pred: tuple[int, ...]) -> tuple[Array, Array]:
    """No sample is of any class but the first; bits are all 0."""
    y_true, y_pred = ordinary(rng, true, pred)
    return np.zeros_like(y_true), y_pred


def ours(metric: Metric, batches: list[tuple[Array, Array, Array | None]]) -> Any:
    sums = metric.zero(batches[0][1].shape[1:])
    for y_true, y_pred, weight in batches:
        metric.add(sums, y_true, y_pred, weight)
    assert all(array.dtype == np.float64 for array in sums.values())
    return metric.result(sums)


def theirs(metric: Any, batches: list[tuple[Array, Array, Array | None]]) -> Any:
    for y_true, y_pred, weight in batches:
        if isinstance(metric, keras.metrics.Sum) or type(metric) is keras.metrics.Mean:
            metric.update_state(y_pred, sample_weight=weight)  # of values: Keras gives these no targets
        else:
            metric.update_state(y_true.astype(np.float32), y_pred, sample_weight=weight)
    return np.asarray(metric.result())


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64")
@pytest.mark.parametrize("data", [ordinary, tied, empty_class])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("member, example", CASES)
def test_metric_equals_keras(member: type[Metric], example: Example, weighted: bool, data: Data) -> None:
    rng = np.random.default_rng(5)
    pred, true = example.inputs
    batches = []
    for n in BATCHES:
        y_true, y_pred = data(rng, (n, *true), (n, *pred))
        if example.dtype == "int64":
            y_pred = rng.integers(0, example.high, (n, *pred)).astype(np.float32)
        shape = (n, *pred[:-1]) if issubclass(member, (_Confusion, _BestUnderConstraint)) else (n,)
        if issubclass(member, _IntersectionOverUnion):
            shape = member.model_validate(example.config).numbers(y_true, y_pred)[1].shape
        weight = rng.random(shape).astype(np.float32) * (rng.random(shape) > 0.3) if weighted else None
        batches.append((y_true, y_pred, weight))
    keras_class = getattr(keras.metrics, member.__name__)
    exact = {"dtype": "float32"} if issubclass(member, _IntersectionOverUnion) else {}  # else it cuts weights off
    expected = theirs(keras_class(**example.config, **exact), batches)
    if member.__name__ == "R2Score":
        expected = np.nan_to_num(expected)
    np.testing.assert_allclose(ours(member.model_validate(example.config), batches), expected, rtol=2e-6, atol=1e-6)


def bare(member: type[Any]) -> bool:
    """Whether it can be made without arguments."""
    return not any(field.is_required() for field in member.model_fields.values())


WORDS = sorted(n for n, m in Metric.names().items() if n.lower() not in ("accuracy", "acc") and bare(m))


@pytest.mark.parametrize("word", WORDS)
def test_keras_knows_the_same_identifier(word: str) -> None:
    found = Metric.parse(word)
    assert type(keras.metrics.get(word)).__name__ == type(found).__name__
    assert found.column == word


@pytest.mark.parametrize("name", sorted({case.values[0].__name__ for case in CASES}))
def test_arguments_defaults_and_names_are_keras_own(name: str) -> None:
    keras.utils.clear_session()
    member = Metric.names()[name]
    given = {} if bare(member) else dict(member.examples[0].config)
    metric, original = Metric.parse({"type": name, **given}), getattr(keras.metrics, name)(**given)
    arguments = set(inspect.signature(getattr(keras.metrics, name)).parameters) - {"dtype"}
    assert {k for k in metric.dump() if k != "type"} == arguments
    for argument in arguments - {"name"}:
        default = inspect.signature(getattr(keras.metrics, name)).parameters[argument].default
        assert argument in given or getattr(metric, argument) == default, argument
    assert metric.column == original.name
    assert getattr(original, "_direction", metric.direction) == metric.direction


@pytest.mark.parametrize("batch_mask", [False, True])
@pytest.mark.parametrize("word", ["accuracy", "mse", "sparse_categorical_crossentropy"])
def test_masked_steps_do_not_count(word: str, batch_mask: bool) -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred = ordinary(rng, (6, 5), (6, 5, 4))
    if word == "mse":
        y_true = np.eye(4, dtype=np.float32)[y_true]
    mask = rng.random((6, 5)) > 0.4
    weight = rng.random((6, 5)).astype(np.float32) if batch_mask else None
    tensor = keras.ops.convert_to_tensor(y_pred)
    keras.src.backend.set_keras_mask(tensor, keras.ops.convert_to_tensor(mask))
    original = keras.metrics.get(word if word != "accuracy" else "sparse_categorical_accuracy")
    original.update_state(y_true.astype(np.float32), tensor, sample_weight=weight)
    metric = Metric.parse(word).resolve((5, 4), y_true.shape[1:])
    ours_weight = mask.astype(np.float32) * (1 if weight is None else weight)
    assert ours(metric, [(y_true, y_pred, ours_weight)]) == pytest.approx(float(original.result()), rel=1e-6)


@pytest.mark.parametrize("word", ["accuracy", "acc", "Accuracy"])
@pytest.mark.parametrize(
    "output, target",
    [
        ((1,), (1,)),
        ((1,), ()),
        ((3,), ()),
        ((3,), (1,)),
        ((3,), (3,)),
        ((5, 3), (5,)),
        ((5, 3), (5, 3)),
        ((5, 1), (5,)),
    ],
)
def test_accuracy_is_chosen_as_keras_does(word: str, output: tuple[int, ...], target: tuple[int, ...]) -> None:
    from keras.src.trainers.compile_utils import get_metric

    expected = get_metric(word, np.zeros((4, *target)), np.zeros((4, *output)))
    found = Metric.parse(word).resolve(output, target)
    assert type(found).__name__ == type(expected).__name__
    assert found.column == expected.name == word


def test_column_names_are_keras_log_names() -> None:
    from keras.src.trainers.compile_utils import CompileMetrics

    plain: list[Any] = [
        "mse",
        "mse",
        {"type": "MeanSquaredError"},
        {"type": "Precision"},
        {"type": "Precision"},
        "accuracy",
    ]
    weighted: list[Any] = ["mse", "mae", {"type": "Precision", "name": "hits"}]

    def original(entry: Any) -> Any:
        if isinstance(entry, str):
            return entry
        return getattr(keras.metrics, entry["type"])(**{k: v for k, v in entry.items() if k != "type"})

    keras.utils.clear_session()
    y = np.zeros((2, 1), np.float32)
    for names in (None, ["a", "b"]):
        per_output = [plain] if names is None else [plain, ["acc"]]
        per_weighted = [weighted] if names is None else [weighted, ["acc"]]
        keras.utils.clear_session()
        both = CompileMetrics(
            *([[original(e) for e in part] for part in group] for group in (per_output, per_weighted))
            if names
            else ([original(e) for e in plain], [original(e) for e in weighted]),
            output_names=names,
        )
        many = [y] * len(per_output)
        both.update_state(many if names else y, many if names else y)
        listed = [
            (names[k] if names else None, Metric.parse(entry), is_weighted)
            for is_weighted, group in ((False, per_output), (True, per_weighted))
            for k, part in enumerate(group)
            for entry in part
        ]
        assert columns(listed) == list(both.result())
