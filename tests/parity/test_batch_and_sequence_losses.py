"""CTC and Circle: hard cases, and whole trainings in blocks and lanes, against live Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest

from kerascli.losses.base import Loss
from kerascli.ops.ir import Array, Input, Scope, Trace, Type
from kerascli.program.build import Target, data_loss
from kerascli.program.differentiate import gradients
from kerascli.program.interpret import evaluate
from tests.parity.keras_live import Twin

STEPS, CLASSES = 7, 5
LABELS = {
    "all labels": [1, 2, 3, 4],
    "repeated": [1, 1, 2, 2],
    "repeated as often as the steps allow": [3, 3, 3, 3],
    "short": [4, 0, 0, 0],
    "none": [0, 0, 0, 0],
    "a blank in between": [2, 0, 3, 0],
}


def values(loss: Loss, y: Array, x: Array) -> tuple[Array, Array]:
    trace = Trace()
    source = trace.add(Input("x", Type(x.shape[1:])), scope=Scope.BLOCK)
    value = data_loss("out", Target(loss, y.shape[1:], "int32"), source, None, False)
    gradient = gradients(value, [source])[source]
    found = evaluate([value, gradient], {"x": x, "y:out": y, "inverse_batch": 1 / len(x)}, len(x), np.float32)
    return found[0], found[1]


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_ctc_spells_every_kind_of_labels_as_keras_does(labels: list[int]) -> None:
    x = np.random.default_rng(1).standard_normal((3, STEPS, CLASSES)).astype(np.float32) * 2
    y = np.array([labels, [1, 2, 0, 0], [4, 3, 3, 1]], np.int32)
    expected = jax.value_and_grad(lambda x: keras.losses.CTC()(y.astype(np.float32), x))(x)
    for got, want in zip(values(Loss.parse("ctc"), y, x), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


def test_labels_that_are_too_long_for_the_steps_cost_as_much_as_in_keras_and_are_no_nan() -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, CLASSES)).astype(np.float32)
    y = np.array([[1, 1, 2], [1, 2, 3]], np.int32)
    for rows in (slice(0, 1), slice(0, 2)):
        loss, gradient = values(Loss.parse("ctc"), y[rows], x[rows])
        np.testing.assert_allclose(loss, keras.losses.CTC()(y[rows].astype(np.float32), x[rows]), rtol=1e-4)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("word", ["circle", "ctc"])
def test_the_loss_of_a_batch_is_keras_own(word: str, reduction: str, weighted: bool) -> None:
    rng = np.random.default_rng(2)
    if word == "circle":
        x, y = rng.standard_normal((8, 4)), np.array([0, 2, 3, 2, 2, 1, 0, 5], np.int32)  # two are alone
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    else:
        x, y = rng.standard_normal((8, STEPS, CLASSES)), rng.integers(1, CLASSES, (8, 3)).astype(np.int32)
    weight = rng.random(8).astype(np.float32) if weighted else None
    loss = Loss.parse({"type": word, "reduction": reduction})
    trace = Trace()
    y_pred = trace.add(Input("x", Type(x.shape[1:])), scope=Scope.BLOCK)
    value = data_loss("out", Target(loss, y.shape[1:], "int32"), y_pred, None, weighted)
    feeds = {"x": x, "y:out": y, "inverse_batch": 1 / 8, **({} if weight is None else {"w:out": weight})}
    original: Any = getattr(keras.losses, type(loss).__name__)(reduction=reduction)
    expected = original(y.astype(np.float32), x.astype(np.float32), weight)
    np.testing.assert_allclose(evaluate([value], feeds, 8, np.float32)[0], expected, rtol=1e-5)


CIRCLE = """
dataset: {type: npz, path: data.npz, x_train: vectors, y_train: kinds}
layers: [{type: Dense, units: 96, activation: tanh}, BatchNormalization, {type: Dense, units: 64}, UnitNormalization]
loss: {type: Circle, gamma: 16}
optimizer: {type: SGD, learning_rate: 0.01}
training: {epochs: 2, batch_size: 96, shuffle: false}
"""
SPELLING = """
dataset: {type: npz, path: data.npz, x_train: sounds, y_train: words}
layers: [{type: GRU, units: 24, return_sequences: true}, {type: Dense, units: 6}]
loss: ctc
optimizer: {type: Adam, learning_rate: 0.01}
training: {epochs: 2, batch_size: 96, shuffle: false}
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("text", [CIRCLE, SPELLING], ids=["circle", "ctc"])
def test_a_training_in_blocks_equals_that_of_keras(text: str, workers: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    lengths = rng.integers(0, 5, 250)
    words = np.where(np.arange(4) < lengths[:, None], rng.integers(1, 6, (250, 4)), 0)
    np.savez(
        tmp_path / "data.npz",
        vectors=rng.standard_normal((250, 40), np.float32),
        kinds=rng.integers(0, 9, 250),
        sounds=rng.standard_normal((250, 12, 8), np.float32),
        words=words,
        sample_weight_train=rng.random(250, np.float32),
    )
    (tmp_path / "net.yaml").write_text(text)
    twin = Twin(tmp_path / "net.yaml", tmp_path, workers)
    expected = twin.theirs()
    for ours, theirs in zip(twin.ours(), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for name, (own, other) in twin.weights().items():
        np.testing.assert_allclose(own, other, rtol=2e-3, atol=2e-4, err_msg=name)
