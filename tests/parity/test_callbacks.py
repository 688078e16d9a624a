"""Callbacks decide as Keras's own do, driven side by side through the same logs."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.trainers.compile_utils import MetricsList

from kerascli.callbacks.base import Callback, Direction
from kerascli.ops.ir import Array

Logs = dict[str, float]
EPOCHS = 14
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def walk(seed: int, missing: bool = False, bad: int | None = None, batches: int = 4) -> list[tuple[list[Logs], Logs]]:
    """For each epoch, the logs of its batches and its own: losses that fall, stick, tie and rise again."""
    rng = np.random.default_rng(seed)
    value, found = 1.0, []
    for epoch in range(EPOCHS):
        value += float(rng.choice([-0.2, -0.00005, 0.0, 0.0, 0.05]))
        loss = float("nan") if epoch == bad else value
        logs = {"loss": loss, "accuracy": 1 - value / 2, "val_loss": value + 0.1, "val_accuracy": 0.9 - value / 2}
        if missing and epoch % 3 == 1:
            logs = {name: x for name, x in logs.items() if not name.startswith("val_")}
        found.append(([{"loss": loss, "accuracy": 0.5 + batch / 100} for batch in range(batches)], logs))
    return found


WALKS = {
    "0": walk(0),
    "1": walk(1),
    "2": walk(2),
    "missing": walk(3, missing=True),
    "nan": walk(4, bad=3),
    "one": walk(5, batches=1),
}


@dataclass
class View:
    """Our trainer's face; its weights are the number of the epoch they come from."""

    run_dir: Path = Path()
    learning_rate: float = float(np.float32(0.01))
    directions: Mapping[str, Direction | None] = field(default_factory=lambda: {"loss": "down", "accuracy": "up"})
    weights: float = -1
    stopped: bool = False
    said: list[str] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    """What happened: one entry a decision."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, float(np.float32(value)) if name == "learning_rate" else value)

    def stop(self, reason: str) -> None:
        self.stopped = True

    def get_weights(self) -> dict[str, Array]:
        return {"w": np.array(self.weights)}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        self.weights = float(weights["w"])

    def save_model(self, path: Path) -> None:
        self.events.append(("model", path.relative_to(self.run_dir).as_posix()))

    def save_weights(self, path: Path) -> None:
        self.events.append(("weights", path.relative_to(self.run_dir).as_posix()))

    def say(self, text: str) -> None:
        self.said.append(text)


class KerasModel:
    """As much of a Keras model as callbacks touch."""

    def __init__(self, folder: Path) -> None:
        self.events: list[Any] = []
        self.folder, self.weights, self.stop_training = folder, -1.0, False
        self.optimizer = keras.optimizers.SGD(0.01)
        self.metrics = [MetricsList([keras.metrics.BinaryAccuracy(name="accuracy")])]

    def get_weights(self) -> float:
        return self.weights

    def set_weights(self, weights: float) -> None:
        self.weights = weights

    def save(self, path: str, overwrite: bool) -> None:
        self.events.append(("model", Path(path).relative_to(self.folder).as_posix()))

    def save_weights(self, path: str, overwrite: bool) -> None:
        self.events.append(("weights", Path(path).relative_to(self.folder).as_posix()))


def drive_ours(callback: Callback, view: View, logs: list[tuple[list[Logs], Logs]]) -> None:
    state = callback.begin(view)
    for epoch, (batches, whole) in enumerate(logs):
        view.weights = epoch
        callback.epoch_begin(state, epoch, view)
        for batch, of_batch in enumerate(batches):
            if not view.stopped:
                callback.batch_end(state, epoch, batch, dict(of_batch), view)
        seen = dict(whole)
        callback.epoch_end(state, epoch, seen, view)
        view.events.append((epoch, seen.get("learning_rate"), view.learning_rate))
        if view.stopped:
            break
    callback.train_end(state, view)
    view.events.append(("end", view.weights))


def drive_keras(callback: Any, model: KerasModel, logs: list[tuple[list[Logs], Logs]]) -> None:
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, (batches, whole) in enumerate(logs):
        model.weights = float(epoch)
        callback.on_epoch_begin(epoch)
        for batch, of_batch in enumerate(batches):
            if not model.stop_training:
                callback.on_train_batch_end(batch, dict(of_batch))
        seen = dict(whole)
        callback.on_epoch_end(epoch, seen)
        model.events.append((epoch, seen.get("learning_rate"), float(model.optimizer.learning_rate.value)))
        if model.stop_training:
            break
    callback.on_train_end()
    model.events.append(("end", model.weights))


STOPPING: list[dict[str, Any]] = [
    {},
    {"patience": 2},
    {"patience": 1, "min_delta": 0.01, "restore_best_weights": True},
    {"patience": 3, "min_delta": -0.01, "monitor": "val_accuracy", "restore_best_weights": True},
    {"patience": 2, "baseline": 0.5, "monitor": "loss"},
    {"patience": 2, "baseline": 0.9, "monitor": "accuracy", "mode": "max", "restore_best_weights": True},
    {"patience": 1, "start_from_epoch": 5, "mode": "min", "restore_best_weights": True},
]
PLATEAU: list[dict[str, Any]] = [
    {"patience": 1},
    {"patience": 0, "factor": 0.5, "monitor": "loss"},
    {"patience": 2, "factor": 0.5, "cooldown": 2, "min_lr": 0.002, "monitor": "accuracy"},
    {"patience": 1, "factor": 0.3, "cooldown": 1, "min_delta": 0.1, "mode": "max"},
]
CHECKPOINT: list[dict[str, Any]] = [
    {"filepath": "all/{epoch:02d}-{loss:.3f}.keras"},
    {"filepath": "best-{epoch}.h5", "save_best_only": True, "monitor": "loss"},
    {"filepath": "best-{epoch:>3}.weights.h5", "save_best_only": True, "save_weights_only": True},
    {"filepath": "{epoch}.keras", "save_best_only": True, "monitor": "val_accuracy", "initial_value_threshold": 0.5},
    {"filepath": "{epoch}-{batch:03d}.keras", "save_freq": 3},
    {"filepath": "{epoch}-{batch:03d}-{accuracy:%}.keras", "save_freq": 5},
    {"filepath": "{epoch:+e}.weights.h5", "save_freq": 9, "save_weights_only": True},
]
CASES = [
    *(("EarlyStopping", c) for c in STOPPING),
    *(("ReduceLROnPlateau", c) for c in PLATEAU),
    *(("ModelCheckpoint", c) for c in CHECKPOINT),
    ("TerminateOnNaN", {}),
]


@pytest.mark.parametrize("logs", WALKS.values(), ids=WALKS)
@pytest.mark.parametrize(("name", "config"), CASES, ids=lambda p: p if isinstance(p, str) else ",".join(p))
def test_decisions_are_keras_s(name: str, config: dict[str, Any], logs: Any, tmp_path: Path) -> None:
    view, model = View(run_dir=tmp_path / "ours"), KerasModel(tmp_path / "theirs")
    drive_ours(Callback.parse({"type": name, **config}), view, logs)
    if "filepath" in config:
        config = {**config, "filepath": str(model.folder / config["filepath"])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        drive_keras(getattr(keras.callbacks, name)(**config), model, logs)
    assert view.events == model.events


def by_steps(epoch: int, rate: float) -> float:
    return 0.001 if epoch >= 4 else 0.005 if epoch >= 2 else rate


def test_learning_rate_steps_are_those_of_the_same_function_in_keras(tmp_path: Path) -> None:
    view, model = View(run_dir=tmp_path), KerasModel(tmp_path)
    steps = {"type": "LearningRateScheduler", "schedule": [[2, 0.005], [4, 0.001]]}
    drive_ours(Callback.parse(steps), view, WALKS["0"])
    drive_keras(keras.callbacks.LearningRateScheduler(by_steps), model, WALKS["0"])
    assert view.events == model.events


def test_a_schedule_is_asked_for_the_epoch(tmp_path: Path) -> None:
    decay = {"initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.5}
    theirs = keras.optimizers.schedules.ExponentialDecay(**decay)
    view, model = View(run_dir=tmp_path), KerasModel(tmp_path)
    ours = {"type": "LearningRateScheduler", "schedule": {"type": "ExponentialDecay", **decay}}
    drive_ours(Callback.parse(ours), view, WALKS["0"])
    drive_keras(keras.callbacks.LearningRateScheduler(lambda epoch: float(theirs(epoch))), model, WALKS["0"])
    assert view.events == model.events


@pytest.mark.parametrize("logs", [WALKS["0"], WALKS["missing"], [([], {"loss": 0.5})]], ids=["0", "missing", "short"])
@pytest.mark.parametrize("config", [{}, {"separator": ";"}, {"append": True}], ids=["plain", "separator", "append"])
def test_csv_files_are_keras_s_byte_for_byte(config: dict[str, Any], logs: Any, tmp_path: Path) -> None:
    view, model = View(run_dir=tmp_path / "ours"), KerasModel(tmp_path / "theirs")
    for folder in (view.run_dir, model.folder):
        folder.mkdir()
        (folder / "log.csv").write_text("epoch,loss\n0,1\n")
    drive_ours(Callback.parse({"type": "CSVLogger", "filename": "log.csv", **config}), view, logs)
    drive_keras(keras.callbacks.CSVLogger(str(model.folder / "log.csv"), **config), model, logs)
    assert (view.run_dir / "log.csv").read_bytes() == (model.folder / "log.csv").read_bytes()


def test_defaults_are_keras_s() -> None:
    required = {"ModelCheckpoint": {"filepath": "a.keras"}, "CSVLogger": {"filename": "a.csv"}}
    for name in ("EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint", "TerminateOnNaN", "CSVLogger"):
        signature = inspect.signature(getattr(keras.callbacks, name)).parameters.values()
        defaults = {p.name: p.default for p in signature if p.default is not p.empty}
        ours = Callback.parse({"type": name, **required.get(name, {})}).dump()
        assert {k: v for k, v in ours.items() if k != "type"} == {**defaults, **required.get(name, {})}
