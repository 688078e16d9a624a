"""A run that was stopped anyhow, and goes on, comes to the same history and the same weights, bit for bit."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import pytest

from kerascli.engine.team import forks
from tests.reliability.forks import killed_in_turn

needs_forks = pytest.mark.skipif(not forks(), reason="lanes are threads here")

EVERYTHING = """
seed: 3
dataset: {type: synthetic, kind: images, samples: 300, shape: [6, 6, 2], classes: 3, validation_split: 0.2}
layers:
  - {type: Rescaling, scale: 0.004}
  - {type: Conv2D, filters: 4, kernel_size: 3, activation: relu}
  - BatchNormalization
  - Flatten
  - {type: Dropout, rate: 0.3}
  - {type: Dense, units: 3, activation: softmax}
loss: sparse_categorical_crossentropy
metrics: [accuracy]
optimizer: {type: Adam, learning_rate: 0.05, use_ema: true, gradient_accumulation_steps: 2, amsgrad: true}
training: {epochs: 6, batch_size: 32, steps_per_epoch: 5, validation_freq: 2, class_weight: balanced}
callbacks:
  - {type: ReduceLROnPlateau, monitor: loss, patience: 1, min_delta: 0.1}
  - {type: EarlyStopping, monitor: accuracy, patience: 3, restore_best_weights: true}
  - {type: ModelCheckpoint, filepath: 'saved/{epoch}-{batch}.keras', save_freq: 4}
  - {type: CSVLogger, filename: log.csv}
"""


def history(run: Path) -> list[dict[str, str]]:
    """The rows of `history.csv`, without the times."""
    with (run / "history.csv").open() as file:
        return [{key: cell for key, cell in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def numbers(path: Path) -> dict[str, bytes]:
    """Every array of a weights file, the optimizer's state included."""
    found: dict[str, bytes] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, it: found.update({name: it[()].tobytes()} if isinstance(it, h5py.Dataset) else {}))
    assert found
    return found


def assert_same(run: Path, whole: Path) -> None:
    """The results of `run` are those of `whole`, to the bit."""
    assert history(run) == history(whole)
    for name in ("model.weights.h5", "checkpoints/best.weights.h5"):
        assert numbers(run / name) == numbers(whole / name), name
    facts = [json.loads((each / "run.json").read_text()) for each in (run, whole)]
    for key in ("status", "epochs", "best_epoch", "stopped"):
        assert facts[0][key] == facts[1][key], key
    assert (run / "metrics.json").read_text() == (whole / "metrics.json").read_text()
    if (whole / "saved").exists():
        assert [p.name for p in sorted((run / "saved").iterdir())] == [
            p.name for p in sorted((whole / "saved").iterdir())
        ]
        assert (run / "log.csv").read_bytes() == (whole / "log.csv").read_bytes()
    assert not list(run.rglob("*.tmp"))


def only(folder: Path) -> Path:
    (path,) = (p.parent for p in folder.glob("*/run.json"))
    return path


@needs_forks
@pytest.mark.parametrize(("how", "kills"), [("seconds", 12), ("files", 12)])
def test_a_run_killed_again_and_again_comes_to_the_same_bits(how: str, kills: int, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(EVERYTHING)
    found = killed_in_turn(tmp_path, how, kills, seed=5)
    assert found["kills"] == kills
    for runs in found["completed"]:
        assert_same(only(tmp_path / runs), only(tmp_path / "whole"))
