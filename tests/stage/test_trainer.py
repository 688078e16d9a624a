"""The trainer: which samples a step sees, what callbacks see and change, what the weights are at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.adaptation import adapt
from kerascli.api import train
from kerascli.callbacks.base import Callback
from kerascli.check import check
from kerascli.model import class_weights
from kerascli.program.build import prediction_program
from kerascli.program.interpret import evaluate
from tests.trained import Lesson, lesson

BASE = """
seed: 3
dataset: {type: synthetic, kind: classification, samples: 100, shape: [5], classes: 3, validation_split: 0.3}
layers: [{type: Dense, units: 6, activation: relu}, {type: Dense, units: 3, activation: softmax}]
loss: sparse_categorical_crossentropy
metrics: [accuracy]
training: {epochs: 3, batch_size: 16}
"""


def changed(folder: Path, training: str = "", **more: str) -> Lesson:
    """The net above with other training options and further keys."""
    text = BASE.replace("epochs: 3, batch_size: 16", training or "epochs: 3, batch_size: 16")
    return lesson(text + "".join(f"{key}: {value}\n" for key, value in more.items()), folder)


# ---- which samples


def test_an_epoch_sees_every_sample_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    trainer = changed(tmp_path).trainer()
    epochs = [np.concatenate([trainer.rows(k) for k in range(e * 5, e * 5 + 5)]) for e in range(3)]
    for order in epochs:
        assert sorted(order) == list(range(70))
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[0], np.arange(70))
    assert len(trainer.rows(4)) == 70 - 4 * 16, "the last batch is what is left"
    again = changed(tmp_path).trainer()
    assert np.array_equal(again.rows(7), trainer.rows(7)), "the order follows from the seed"


def test_without_shuffling_samples_come_as_they_stand(tmp_path: Path) -> None:
    trainer = changed(tmp_path, "epochs: 2, batch_size: 16, shuffle: false").trainer()
    assert np.array_equal(np.concatenate([trainer.rows(k) for k in range(10)]), np.tile(np.arange(70), 2))


def test_steps_per_epoch_go_on_where_the_epoch_before_ended(tmp_path: Path) -> None:
    found = changed(tmp_path, "epochs: 5, batch_size: 16, steps_per_epoch: 3, shuffle: false")
    seen: list[int] = []
    with found.runner.session as session:
        trainer = found.trainer()
        run = session.run

        def watched(job: int, feed: int, index: Any, *rest: Any) -> Any:
            if job == trainer.job:
                seen.extend(index)
            return run(job, feed, index, *rest)

        session.run = watched  # type: ignore[method-assign]
        assert len(list(trainer.fit([]))) == 5
    assert seen == (list(range(70)) * 3)[: len(seen)] and trainer.iteration == 15


def test_a_batch_larger_than_the_data_is_the_data(tmp_path: Path) -> None:
    found = changed(tmp_path, "epochs: 2, batch_size: 4096")
    found.fit()
    assert len(found.logs) == 2 and found.runner.session.plan(0).batch == 70


# ---- weights of samples


def test_balanced_class_weights_are_n_over_classes_times_count() -> None:
    y = np.array([0] * 6 + [1] * 3 + [2] * 1)
    np.testing.assert_allclose(class_weights(y, "balanced", 3), [10 / 18] * 6 + [10 / 9] * 3 + [10 / 3], rtol=1e-6)
    one_hot = np.eye(3, dtype=np.float32)[y]
    np.testing.assert_array_equal(class_weights(one_hot, {1: 5.0}, 3), [1] * 6 + [5] * 3 + [1])


def test_class_weights_count_in_training_and_not_in_validation(tmp_path: Path) -> None:
    plain = changed(tmp_path, "epochs: 1, batch_size: 70")
    heavy = changed(tmp_path, "epochs: 1, batch_size: 70, class_weight: {0: 10.0, 1: 10.0, 2: 10.0}")
    plain.fit()
    heavy.fit()
    assert heavy.logs[0]["loss"] == pytest.approx(10 * plain.logs[0]["loss"], rel=1e-5)
    assert heavy.logs[0]["val_loss"] == pytest.approx(plain.logs[0]["val_loss"], rel=1e-3), (
        "one rmsprop step, any scale"
    )


# ---- validation and callbacks


def test_validation_freq_leaves_out_the_epochs_between(tmp_path: Path) -> None:
    found = changed(tmp_path, "epochs: 5, batch_size: 16, validation_freq: 2")
    found.fit()
    assert [("val_loss" in logs) for logs in found.logs] == [False, True, False, True, False]


def test_early_stopping_ends_training_and_puts_the_best_weights_back(tmp_path: Path) -> None:
    stop = "[{type: EarlyStopping, monitor: val_loss, patience: 2, restore_best_weights: true}]"
    found = changed(
        tmp_path, "epochs: 200, batch_size: 16", callbacks=stop, optimizer="{type: SGD, learning_rate: 20.0}"
    )
    with found.runner.session:
        trainer = found.trainer()
        logs = [logs for _, logs, _, _ in trainer.fit(list(found.model.spec.callbacks))]
        assert trainer.validation is not None
        final = trainer.validation.run()["loss"]
    assert len(logs) < 200 and trainer.stop_reason
    assert final == pytest.approx(min(each["val_loss"] for each in logs), rel=1e-6)


def test_a_lower_rate_is_used_from_the_next_batch_and_logged_as_it_was(tmp_path: Path) -> None:
    lower = "[{type: LearningRateScheduler, schedule: [[0, 0.5], [1, 0.25], [2, 0.0]]}]"
    found = changed(tmp_path, callbacks=lower, optimizer="{type: SGD, learning_rate: 0.1}")
    with found.runner.session:
        trainer, weights, rates = found.trainer(), [], []
        for _, _, rate, _ in trainer.fit(list(found.model.spec.callbacks)):
            rates.append(rate)
            weights.append(found.runner.parameters.copy()["dense/kernel"])
    assert rates == pytest.approx([0.5, 0.25, 0.0])
    assert (weights[0] != weights[1]).any() and (weights[1] == weights[2]).all()


def test_callbacks_are_called_in_their_order_with_counts_from_zero(tmp_path: Path) -> None:
    calls: list[Any] = []

    class Watch(Callback):
        """Notes when it is called."""

        @property
        def every_batch(self) -> bool:
            return True

        def begin(self, view: Any) -> dict[str, Any]:
            calls.append("begin")
            return {}

        def epoch_begin(self, state: Any, epoch: int, view: Any) -> None:
            calls.append(("epoch", epoch))

        def batch_end(self, state: Any, epoch: int, batch: int, logs: Any, view: Any) -> None:
            calls.append((epoch, batch, sorted(logs)))

        def epoch_end(self, state: Any, epoch: int, logs: Any, view: Any) -> None:
            calls.append(("end", epoch, sorted(logs)))

        def train_end(self, state: Any, view: Any) -> None:
            calls.append("over")

    try:
        found = changed(tmp_path, "epochs: 1, batch_size: 40")
        with found.runner.session:
            list(found.trainer().fit([Watch()]))
    finally:
        del Callback.members["Watch"]
    logs = ["accuracy", "loss"]
    full = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert calls == ["begin", ("epoch", 0), (0, 0, logs), (0, 1, logs), ("end", 0, full), "over"]


# ---- the end


def test_averaged_weights_replace_the_trained_ones_at_the_end(tmp_path: Path) -> None:
    rule = "{type: SGD, learning_rate: 0.5, use_ema: true, ema_momentum: 0.5}"
    averaged = changed(tmp_path, optimizer=rule)
    plain = changed(tmp_path, optimizer=rule.replace("use_ema: true", "use_ema: false"))
    mine, other = averaged.fit(), plain.fit()
    assert averaged.logs == plain.logs, "until the end the trained weights are in use"
    assert np.abs(mine["dense/kernel"] - other["dense/kernel"]).max() > 1e-4


def test_training_goes_on_from_the_weights_of_a_run_and_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(BASE)
    first = train(check(tmp_path / "first.yaml"), tmp_path / "runs")
    best = json.loads((first.run / "metrics.json").read_text())["validation"]["loss"]
    still = "optimizer: {type: SGD, learning_rate: 0.0}\n"
    for source in (first.run.name, f"runs/{first.run.name}/model.weights.h5"):
        text = BASE.replace("epochs: 3", f"epochs: 1, initial_weights: {source}") + still
        (tmp_path / "second.yaml").write_text(text)
        second = train(check(tmp_path / "second.yaml"), tmp_path / "runs")
        assert second.metrics["validation"]["loss"] == pytest.approx(best, rel=1e-6)


def test_a_layer_that_is_not_trainable_keeps_its_weights(tmp_path: Path) -> None:
    text = BASE.replace("units: 6,", "units: 6, trainable: false,")
    found = lesson(text, tmp_path)
    before, after = found.runner.parameters.copy(), found.fit()
    for path, array in before.items():
        assert np.array_equal(array, after[path]) == path.startswith("dense/"), path


def test_a_normalization_layer_learns_from_the_training_split_alone(tmp_path: Path) -> None:
    text = BASE.replace("layers: [", "layers: [{type: Normalization, name: norm}, ")
    found = lesson(text, tmp_path)
    adapt(found.runner, found.data.train)
    (x,) = found.data.train.inputs.values()
    weights = found.runner.parameters.weights
    np.testing.assert_allclose(weights["norm/mean"].reshape(-1), x.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weights["norm/variance"].reshape(-1), x.var(0), rtol=1e-4)


def test_predictions_are_those_of_the_interpreter_for_sequences_too(tmp_path: Path) -> None:
    """Outputs of several blocks, of a net whose sequences run time first inside."""
    rng = np.random.default_rng(0)
    tokens, y = rng.integers(0, 20, (300, 6)).astype(np.int32), rng.standard_normal((300, 6, 5)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=tokens, y_train=y)
    text = """
dataset: {type: npz, path: d.npz}
layers: [{type: Embedding, input_dim: 20, output_dim: 4, mask_zero: true},
  {type: LSTM, units: 5, return_sequences: true}]
loss: mse
"""
    found = lesson(text, tmp_path, workers=2)
    (name,) = found.data.train.inputs
    with found.runner.session:
        (mine,) = found.runner.predict({name: tokens}).values()
    program = prediction_program(found.model.graph)
    feeds = {f"x:{name}": tokens, **found.runner.parameters.copy()}
    (theirs,) = evaluate(program.outputs.values(), feeds, len(tokens), np.float32)
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
