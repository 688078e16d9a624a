"""Event files of the TensorBoard callback, read by tensorboard itself, hold what Keras logs, and nothing twice."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.check import check
from kerascli.errors import Failure
from kerascli.launch import train
from tests.parity.keras_live import Twin

board = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
SPEC = """
dataset: {type: synthetic, kind: classification, samples: 60, shape: [4], classes: 3, validation_split: 0.2}
layers: [{type: Dense, units: 3, activation: softmax, name: scores}]
loss: sparse_categorical_crossentropy
metrics: [accuracy]
optimizer: {type: SGD, learning_rate: {type: ExponentialDecay, initial_learning_rate: 0.1, decay_steps: 3,
  decay_rate: 0.9}}
training: {epochs: 3, batch_size: 16, shuffle: false}
callbacks: [{type: TensorBoard, log_dir: board, update_freq: FREQ, histogram_freq: 2, write_steps_per_second: true}]
"""


def read(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """Steps and arrays of every tag."""
    from tensorboard.util.tensor_util import make_ndarray

    (file,) = folder.iterdir()
    accumulator = board.EventAccumulator(str(file), size_guidance={"tensors": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
    }


def write_spec(folder: Path, freq: str) -> Path:
    path = folder / "net.yaml"
    path.write_text(SPEC.replace("FREQ", freq))
    return path


@pytest.mark.parametrize("freq", ["epoch", "batch", "2"])
def test_the_figures_are_those_that_keras_logs(freq: str, tmp_path: Path) -> None:
    twin = Twin(write_spec(tmp_path, freq), tmp_path)
    rows: list[Any] = []

    def note(epoch: int, logs: Any) -> None:
        rows.append({**logs, "learning_rate": float(twin.keras.optimizer.learning_rate)})

    batches: list[Any] = []
    import keras

    watcher = keras.callbacks.LambdaCallback(
        on_epoch_end=note, on_train_batch_end=lambda batch, logs: batches.append(dict(logs))
    )
    twin.theirs(callbacks=[watcher])
    twin.ours()
    train_tags, held = read(tmp_path / "board/train"), read(tmp_path / "board/validation")
    for name in ("loss", "accuracy", "learning_rate"):
        found = train_tags[f"epoch_{name}"]
        assert [step for step, _ in found] == [0, 1, 2]
        np.testing.assert_allclose([v for _, v in found], [row[name] for row in rows], rtol=1e-5)
    for name in ("loss", "accuracy"):
        expected = [row[f"val_{name}"] for row in rows]
        np.testing.assert_allclose([v for _, v in held[f"epoch_{name}"]], expected, rtol=1e-5)
        by_step = held[f"evaluation_{name}_vs_iterations"]
        assert [step for step, _ in by_step] == [3, 6, 9]
        np.testing.assert_allclose([v for _, v in by_step], expected, rtol=1e-5)
        every = {"epoch": 0, "batch": 1}.get(freq, 2)
        if every:
            steps = [k for k in range(1, 10) if k % every == 0]
            assert [step for step, _ in train_tags[f"batch_{name}"]] == steps
            expected = [batches[k - 1][name] for k in steps]
            np.testing.assert_allclose([v for _, v in train_tags[f"batch_{name}"]], expected, rtol=1e-5)
        else:
            assert f"batch_{name}" not in train_tags
    assert all(speed > 0 for _, speed in train_tags["epoch_steps_per_second"])


def test_histograms_count_every_weight_and_the_graph_is_the_model_as_keras_describes_it(tmp_path: Path) -> None:
    outcome = train(check(write_spec(tmp_path, "epoch")), tmp_path / "runs")
    tags = read(outcome.run / "board/train")
    assert [step for step, _ in tags["scores/kernel/histogram"]] == [0, 2]
    for _, histogram in tags["scores/kernel/histogram"]:
        assert histogram.shape == (30, 3)
        assert histogram[:, 2].sum() == 12
        assert (histogram[1:, 0] == histogram[:-1, 1]).all()
    ((_, text),) = tags["keras"]
    assert json.loads(text.item()) == json.loads((outcome.run / "model.json").read_text())


def test_what_was_written_after_the_checkpoint_is_written_again_and_not_twice(tmp_path: Path) -> None:
    from kerascli.callbacks.base import Callback
    from tests.contract.test_callbacks import View

    callback, view = Callback.parse({"type": "TensorBoard", "update_freq": "batch"}), View(tmp_path)
    state = callback.begin(view)
    for epoch, loss in ((0, 0.5), (1, 0.4), (1, 0.4)):
        if epoch == 0:
            callback.epoch_begin(state, epoch, view)
            kept = {}
        elif not kept:
            kept = copy.deepcopy(state)
        else:
            state = kept
        view.iteration = epoch + 1
        callback.batch_end(state, epoch, 0, {"loss": loss}, view)
        callback.epoch_end(state, epoch, {"loss": loss}, view)
    tags = read(tmp_path / "logs/train")
    assert [step for step, _ in tags["batch_loss"]] == [1, 2]
    assert [step for step, _ in tags["epoch_loss"]] == [0, 1]


def test_tensorflow_is_not_needed(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from kerascli.cli.main import main\n"
        f"code = main(['train', {str(write_spec(tmp_path, 'epoch'))!r}, '--runs-dir', {str(tmp_path / 'runs')!r}])\n"
        "assert sys.modules['tensorflow'] is None; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr


def test_an_absent_package_is_told_with_its_command_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    with pytest.raises(Failure) as caught:
        check(write_spec(tmp_path, "epoch"))
    (problem,) = caught.value.problems
    assert problem.code == "E516" and problem.where.line == 9  # type: ignore[union-attr]
    assert 'pip install "kerascli[tensorboard]"' in problem.help
