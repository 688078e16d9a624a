"""SwapEMAWeights validates and saves the average of the weights as Keras does, and training goes on as without it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from kerascli import keras_files
from kerascli.check import check
from kerascli.errors import SpecFailure
from kerascli.launch import train
from tests.parity.keras_live import Twin

SPEC = """
dataset: {type: synthetic, kind: classification, samples: 60, shape: [4], classes: 3, validation_split: 0.2}
layers: [{type: Dense, units: 5, activation: tanh}, {type: Dense, units: 3, activation: softmax}]
loss: sparse_categorical_crossentropy
optimizer: {type: Adam, learning_rate: 0.05, use_ema: true, ema_momentum: 0.8}
training: {epochs: 3, batch_size: 16, shuffle: false}
callbacks: [{type: SwapEMAWeights, swap_on_epoch: SWAP}]
"""
SAVING = ", {type: ModelCheckpoint, filepath: '{epoch}.weights.h5', save_weights_only: true}]"


def spec(folder: Path, swap: bool, text: str = SPEC) -> Path:
    path = folder / "net.yaml"
    path.write_text(text.replace("SWAP", str(swap).lower()))
    return path


@pytest.mark.parametrize("swap", [False, True])
def test_curves_and_final_weights_are_keras_own(swap: bool, tmp_path: Path) -> None:
    twin = Twin(spec(tmp_path, swap), tmp_path)
    expected = twin.theirs(callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=swap)])
    ours = twin.ours()
    for own, their in zip(ours, expected, strict=True):
        assert own == pytest.approx(their, rel=1e-5)
    for own, their in twin.weights().values():
        np.testing.assert_allclose(own, their, rtol=1e-4, atol=1e-6)
    plain = Twin(spec(tmp_path, swap, SPEC.replace("{type: SwapEMAWeights, swap_on_epoch: SWAP}", "")), tmp_path)
    logs = plain.ours()
    assert [row["loss"] for row in logs] == [row["loss"] for row in ours]
    assert [row["val_loss"] for row in logs] != [row["val_loss"] for row in ours]


def test_a_checkpoint_after_it_holds_the_average(tmp_path: Path) -> None:
    runs = [
        train(
            check(spec(tmp_path, swap, SPEC.replace("]\n", "]\n").rstrip()[:-1] + SAVING)), tmp_path / "runs", "r"
        ).run
        for swap in (True, False)
    ]
    for number in (1, 2, 3):
        shorter = SPEC.replace("epochs: 3", f"epochs: {number}")
        whole = train(check(spec(tmp_path, False, shorter)), tmp_path / "runs", "short")  # ends with the average
        graph = check(tmp_path / "net.yaml").graph
        averages = keras_files.load_weights(whole.run / "model.weights.h5", graph)
        saved, unswapped = (keras_files.load_weights(run / f"{number}.weights.h5", graph) for run in runs)
        for path, array in averages.items():
            np.testing.assert_array_equal(saved[path], array)
            assert not np.array_equal(unswapped[path], array)


def test_an_early_stop_leaves_the_average_too(tmp_path: Path) -> None:
    stopping = ", {type: EarlyStopping, monitor: loss, patience: 0, mode: max}]"
    stopped = train(check(spec(tmp_path, True, SPEC.rstrip()[:-1] + stopping)), tmp_path / "runs", "stopped")
    short = train(check(spec(tmp_path, False, SPEC.replace("epochs: 3", "epochs: 2"))), tmp_path / "runs", "short")
    assert stopped.epochs == 2
    graph = check(tmp_path / "net.yaml").graph
    ends = [keras_files.load_weights(o.run / "model.weights.h5", graph) for o in (stopped, short)]
    for path, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][path])


def test_an_optimizer_without_an_average_is_told_before_training(tmp_path: Path) -> None:
    with pytest.raises(SpecFailure) as caught:
        check(spec(tmp_path, True, SPEC.replace(", use_ema: true, ema_momentum: 0.8", "")))
    (problem,) = caught.value.problems
    assert problem.code == "E314"
    assert "Adam keeps no average" in problem.message and "use_ema: true" in problem.help
