"""What callbacks promise beyond Keras's decisions: safe files, resumable state, problems found before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kerascli.callbacks import paths
from kerascli.callbacks.base import Callback, State
from kerascli.callbacks.mlflow import RECORD
from kerascli.component import load_family
from kerascli.errors import Failure
from kerascli.ops.ir import Array
from kerascli.run import Run

load_family("callback")
CASES = [
    pytest.param({"type": name, **example.config}, id=f"{name}-{k}")
    for name, member in Callback.members.items()
    for k, example in enumerate(member.examples)
]


@pytest.fixture(autouse=True)
def _mlflow_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())


class View:
    """The trainer's face, remembering what callbacks do."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.learning_rate, self.done = run_dir, 0.01, []  # type: tuple[Path, float, list[Any]]
        self.iteration = 0
        self.directions: dict[str, Any] = {"loss": "down", "accuracy": "up", "oddity": None}
        self.weights = {"w": np.zeros(2)}

    def stop(self, reason: str) -> None:
        self.done.append("stop")

    def get_weights(self) -> dict[str, Array]:
        return {name: w.copy() for name, w in self.weights.items()}

    def set_weights(self, weights: Any) -> None:
        self.done.append(("restored", float(weights["w"][0])))

    def use_average(self, wanted: bool) -> None:
        self.done.append(("average", wanted))

    def save_model(self, path: Path) -> None:
        self.done.append(path.name)

    def save_weights(self, path: Path) -> None:
        self.done.append(path.name)

    def say(self, text: str) -> None:
        self.done.append(text)


def drive(callback: Callback, state: State, view: View, epochs: range, resume: bool) -> None:
    rng = np.random.default_rng(0)
    losses = np.round(rng.random(20), 3).tolist()
    for epoch in epochs:
        if resume:
            weights = state.pop("best_weights", "none")
            state = json.loads(json.dumps(state))
            state |= {} if weights == "none" else {"best_weights": weights}
        view.weights["w"][:] = epoch
        callback.epoch_begin(state, epoch, view)
        for batch in range(2):
            view.iteration += 1
            callback.batch_end(state, epoch, batch, {"loss": losses[epoch], "accuracy": 0.5}, view)
        callback.test_begin(state, view)
        callback.test_end(state, view)
        logs = {"loss": losses[epoch], "val_loss": losses[epoch], "accuracy": 0.5, "val_accuracy": 0.5}
        callback.epoch_end(state, epoch, logs, view)
        view.done.append(view.learning_rate)
    callback.train_end(state, view)


@pytest.mark.parametrize("spec", CASES)
def test_a_state_written_as_json_after_each_epoch_changes_nothing(spec: dict[str, Any], tmp_path: Path) -> None:
    done = []
    for resume in (False, True):
        view = View(tmp_path / str(resume))
        callback = Callback.parse(spec)
        drive(callback, callback.begin(view), view, range(12), resume)
        done.append(view.done)
        view.done.append({p.name: p.read_bytes() for p in view.run_dir.rglob("*.?sv")})
    assert done[0] == done[1]


@pytest.mark.parametrize("spec", CASES)
def test_what_is_dumped_loads_as_the_same(spec: dict[str, Any]) -> None:
    callback = Callback.parse(spec)
    assert Callback.parse(callback.dump()) == callback


def test_rows_written_after_the_checkpoint_are_written_again(tmp_path: Path) -> None:
    view, callback = View(tmp_path), Callback.parse({"type": "CSVLogger", "filename": "logs/a.csv"})
    state = callback.begin(view)
    callback.epoch_end(state, 0, {"loss": 0.5}, view)
    saved = dict(state)
    callback.epoch_end(state, 1, {"loss": 0.25, "val_loss": 9.0}, view)
    whole = (tmp_path / "logs/a.csv").read_bytes()
    callback.epoch_end(saved, 1, {"loss": 0.25, "val_loss": 9.0}, view)
    assert (tmp_path / "logs/a.csv").read_bytes() == whole == b"epoch,loss,val_loss\r\n0,0.5,NA\r\n1,0.25,9.0\r\n"


def test_a_figure_that_is_not_in_the_logs_is_warned_about_once(tmp_path: Path) -> None:
    view, callback = View(tmp_path), Callback.parse({"type": "EarlyStopping"})
    state = callback.begin(view)
    for epoch in range(3):
        callback.epoch_end(state, epoch, {"loss": 0.5}, view)
    assert len(view.done) == 1
    assert "no `val_loss`" in view.done[0]


@pytest.mark.parametrize(
    ("path", "ok"),
    [
        ("best.keras", True),
        ("deep/er/{epoch:03d}-{val_loss:.2f}.keras", True),
        ("{epoch:>4}-{accuracy:%}.keras", True),
        ("/tmp/best.keras", False),
        ("../best.keras", False),
        ("a/../../best.keras", False),
        ("..\\best.keras", False),
        ("C:\\best.keras", False),
        ("a\0.keras", False),
        ("{epoch.__class__}.keras", False),
        ("{epoch[0]}.keras", False),
        ("{epoch!r}.keras", False),
        ("{epoch:999999999d}.keras", False),
        ("{epoch:{loss}}.keras", False),
        ("{loss:d}.keras", False),
        ("{epoch:/>9}.keras", False),
        ("{}.keras", False),
        ("{epoch.keras", False),
        ("best.weights", False),
        ("model.weights.h5", False),
    ],
)
def test_file_names_stay_in_the_run_and_format_nothing_but_figures(path: str, ok: bool) -> None:
    spec = {"type": "ModelCheckpoint", "filepath": path}
    if ok:
        assert Callback.parse(spec).problem({"loss": "down", "accuracy": "up"}, False) is None
    else:
        with pytest.raises(ValidationError):
            Callback.parse(spec)


def test_a_link_out_of_the_run_is_not_followed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "away").symlink_to(tmp_path)
    with pytest.raises(Failure):
        paths.place(run, "away/best.keras")


def test_the_run_s_own_files_are_all_reserved(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    files = [p for p in vars(run).values() if isinstance(p, Path) and p.suffix]
    assert {p.relative_to(tmp_path).as_posix() for p in files} | {"run.json", "report.html", RECORD} == paths.OWN


@pytest.mark.parametrize(
    ("spec", "scheduled", "message"),
    [
        ({"type": "EarlyStopping", "monitor": "val_oddity"}, False, "rise or fall"),
        ({"type": "EarlyStopping", "monitor": "val_oddity", "mode": "max"}, False, None),
        ({"type": "ReduceLROnPlateau"}, True, "schedule"),
        ({"type": "LearningRateScheduler", "schedule": [[0, 0.1]]}, True, "schedule"),
        ({"type": "ModelCheckpoint", "filepath": "{val_los}.keras"}, False, "val_los"),
        ({"type": "ModelCheckpoint", "filepath": "{val_loss}.keras", "save_freq": 3}, False, "val_loss"),
        ({"type": "ModelCheckpoint", "filepath": "{batch}.keras"}, False, "batch"),
    ],
)
def test_what_cannot_work_is_told_before_training(spec: dict[str, Any], scheduled: bool, message: str | None) -> None:
    found = Callback.parse(spec).problem({"loss": "down", "accuracy": "up", "oddity": None}, scheduled)
    assert found is None if message is None else found and message in found[0]


@pytest.mark.parametrize("schedule", [[], [[3, 0.1], [2, 0.1]], [[0.5, 0.1]], [[0]], [[0, "fast"]], [[True, 0.1]], 0.1])
def test_a_list_of_rates_must_be_pairs_with_rising_epochs(schedule: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Callback.parse({"type": "LearningRateScheduler", "schedule": schedule})
    assert {e["loc"] for e in caught.value.errors()} == {("schedule",)}


def test_a_loss_that_is_not_a_number_can_fail_the_run(tmp_path: Path) -> None:
    callback, view = Callback.parse({"type": "TerminateOnNaN", "raise_error": True}), View(tmp_path)
    with pytest.raises(Failure, match="batch 3 of epoch 2"):
        callback.batch_end({}, 1, 2, {"loss": float("inf")}, view)
