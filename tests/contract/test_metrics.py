"""What every metric must satisfy, enumerated from the registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kerascli.component import Example
from kerascli.metrics.base import Metric
from kerascli.ops.ir import Array

CASES = [
    pytest.param(member.model_validate(example.config), example, id=f"{name}-{k}")
    for name, member in sorted(Metric.names().items())
    if name == member.__name__
    for k, example in enumerate(member.examples)
]
ROWS = 12


def data(example: Example) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(3)
    pred, true = example.inputs
    y_pred = rng.random((ROWS, *pred)).astype(np.float32)
    if example.dtype == "int64":
        y_pred = rng.integers(0, example.high, (ROWS, *pred)).astype(np.float32)
    y_true = rng.integers(0, max((*pred[-1:], 2)) if true != pred else 2, (ROWS, *true))
    return y_true, y_pred, rng.random(ROWS).astype(np.float32)


def run(metric: Metric, y_true: Array, y_pred: Array, weight: Array | None, cuts: tuple[int, ...] = ()) -> Any:
    sums = metric.zero(y_pred.shape[1:])
    for start, stop in zip((0, *cuts), (*cuts, ROWS), strict=True):
        metric.add(sums, y_true[start:stop], y_pred[start:stop], None if weight is None else weight[start:stop])
    return metric.result(sums)


@pytest.mark.parametrize("metric, example", CASES)
class TestEveryMetric:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_blocks_add_up_to_the_whole(self, metric: Metric, example: Example, weighted: bool) -> None:
        y_true, y_pred, weight = data(example)
        whole = run(metric, y_true, y_pred, weight if weighted else None)
        parts = run(metric, y_true, y_pred, weight if weighted else None, cuts=(1, 5))
        np.testing.assert_allclose(parts, whole, rtol=1e-6)

    def test_merging_two_sums_is_adding_them(self, metric: Metric, example: Example) -> None:
        y_true, y_pred, weight = data(example)
        halves = [metric.zero(y_pred.shape[1:]) for _ in range(2)]
        metric.add(halves[0], y_true[:4], y_pred[:4], weight[:4])
        metric.add(halves[1], y_true[4:], y_pred[4:], weight[4:])
        merged = {k: halves[0][k] + halves[1][k] for k in halves[0]}
        np.testing.assert_allclose(metric.result(merged), run(metric, y_true, y_pred, weight), rtol=1e-6)

    def test_inputs_stay_as_they_are_and_need_not_be_contiguous(self, metric: Metric, example: Example) -> None:
        y_true, y_pred, weight = data(example)
        apart = [np.repeat(a, 2, axis=-1)[..., ::2] for a in (y_true, y_pred, weight)]
        before = [a.copy() for a in apart]
        for a in apart:
            a.flags.writeable = False
        np.testing.assert_allclose(run(metric, *apart), run(metric, y_true, y_pred, weight), rtol=1e-6)
        assert all(np.array_equal(a, b) for a, b in zip(apart, before, strict=True))

    def test_a_weight_of_zero_is_a_sample_left_out(self, metric: Metric, example: Example) -> None:
        if getattr(metric, "num_regressors", 0):
            pytest.skip("counts samples, whatever they weigh")
        y_true, y_pred, _ = data(example)
        weight = np.array([1, 0] * (ROWS // 2), np.float32)
        sums = metric.zero(y_pred.shape[1:])
        ones = np.ones(ROWS // 2, np.float32)
        metric.add(sums, y_true[::2], y_pred[::2], ones)
        np.testing.assert_allclose(run(metric, y_true, y_pred, weight), metric.result(sums), rtol=1e-6)

    def test_nothing_seen_gives_a_finite_figure(self, metric: Metric, example: Example) -> None:
        assert np.isfinite(metric.result(metric.zero(example.inputs[0]))).all()

    def test_predictions_of_nan_do_not_raise(self, metric: Metric, example: Example) -> None:
        y_true, y_pred, weight = data(example)
        run(metric, y_true, np.full_like(y_pred, np.nan), weight)

    def test_it_fits_its_example(self, metric: Metric, example: Example) -> None:
        output, target = example.inputs
        assert metric.problem(target, output) is None

    def test_dump_and_parse_are_inverse(self, metric: Metric, example: Example) -> None:
        assert Metric.parse(metric.dump()) == metric


@pytest.mark.parametrize("word", ["mse", "accuracy", "acc", "AUC", "binary_accuracy"])
def test_a_bare_word_names_its_column_and_survives_a_dump(word: str) -> None:
    metric = Metric.parse(word)
    assert metric.column == word
    assert Metric.parse(metric.dump()) == metric


def test_a_mapping_is_named_as_keras_names_the_instance() -> None:
    assert Metric.parse({"type": "mse"}).column == "mean_squared_error"
    assert Metric.parse({"type": "MeanSquaredError", "name": "error"}).column == "error"
    assert Metric.parse({"type": "accuracy"}).resolve((3,), ()).column == "accuracy"


@pytest.mark.parametrize(
    "config, target, output, said",
    [
        ("f1_score", (), (10,), "wants one axis of classes and one-hot targets"),
        ("sparse_categorical_accuracy", (10,), (10,), "wants integer targets of shape ()"),
        ("categorical_accuracy", (), (10,), "wants one-hot targets of shape (10,)"),
        ("precision", (), (10,), "wants targets of the output's shape (10,)"),
        ({"type": "Precision", "top_k": 11}, (10,), (10,), "top 11 of 10"),
        ({"type": "Recall", "class_id": 10}, (10,), (10,), "no class 10 among 10"),
        ({"type": "AUC", "multi_label": True, "label_weights": [1.0, 2.0]}, (3,), (3,), "set up for 2 labels"),
    ],
)
def test_what_does_not_fit_is_said(config: Any, target: tuple[int, ...], output: tuple[int, ...], said: str) -> None:
    problem = Metric.parse(config).problem(target, output)
    assert problem is not None and said in problem[0]
