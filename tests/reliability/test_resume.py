"""A run that was stopped anyhow, and goes on, comes to the same history and the same weights, bit for bit."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kerascli import api, checkpoint
from kerascli.check import check
from kerascli.checkpoint import Checkpoints, Damaged
from kerascli.engine.team import forks
from kerascli.errors import Failure, Span
from kerascli.outcome import Outcome
from kerascli.run import Run
from kerascli.training import Silence
from tests.cli.session import PROGRAM, Answer, Shell, start
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


class Watch(Silence):
    """Keeps what is said, and stops training as a second Ctrl-C does in the middle of a step: nothing is saved then."""

    def __init__(self, stop: tuple[int, int] | None = None) -> None:
        self.said: list[str] = []
        self.epoch, self.stop = 0, stop

    def epoch_begin(self, epoch: int, *rest: Any) -> None:
        self.epoch = epoch

    def batch_end(self, step: int, *rest: Any) -> None:
        if self.stop == (self.epoch, step):
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        self.said.append(text)


def train(folder: Path, *settings: str, name: str = "spec.yaml", **more: Any) -> Outcome:
    return api.train(check(folder / name, settings), folder / "runs", threads=1, **more)


def stopped(folder: Path, epoch: int, step: int, *settings: str, save_every: float = 0.0) -> Run:
    """A run that was stopped in that step."""
    with pytest.raises(api.Interrupted) as found:
        train(folder, *settings, progress=Watch((epoch, step)), save_every=save_every)
    return Run.open(Path(str(found.value)))


def resume(run: Run, *settings: str, spec: Path | None = None, threads: int = 1, **more: Any) -> tuple[Outcome, str]:
    """Its outcome, and what was said."""
    watch = Watch()
    opened = Run.open(run.path)
    outcome = api.resume(opened, api.checked_again(opened, spec, settings), threads, watch, **more)
    return outcome, "\n".join(watch.said)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "spec.yaml").write_text(EVERYTHING)
    return train(folder).run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(EVERYTHING)
    return tmp_path


# ---- stopped anyhow


@needs_forks
@pytest.mark.parametrize(("how", "kills"), [("seconds", 10), ("files", 10)])
def test_a_run_killed_again_and_again_comes_to_the_same_bits(how: str, kills: int, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(EVERYTHING)
    found = killed_in_turn(tmp_path, how, kills, seed=5)
    assert found["kills"] == kills
    for runs in found["completed"]:
        assert_same(only(tmp_path / runs), only(tmp_path / "whole"))


@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (3, 3), (5, 5)])
@pytest.mark.parametrize("save_every", [0.0, 60.0], ids=["in_epochs", "at_their_ends"])
def test_a_run_goes_on_from_within_an_epoch_with_other_threads(
    epoch: int, step: int, save_every: float, folder: Path, whole: Path
) -> None:
    run = stopped(folder, epoch, step, save_every=save_every)
    assert run.status == "interrupted" and not run.metrics.exists()
    _, said = resume(run, threads=3)
    assert_same(run.path, whole)
    if save_every == 0 and (epoch, step) == (3, 3):
        assert "resumed after 3 epochs and 2 of 5 steps" in said


SEQUENCES = """
seed: 3
dataset: {type: synthetic, kind: sequences, samples: 96, shape: [6], vocabulary: 20}
layers:
  - {type: Embedding, input_dim: 20, output_dim: 4}
  - {type: GRU, units: 5, stateful: true, dropout: 0.2}
  - {type: Dense, units: 1, activation: sigmoid}
loss: binary_crossentropy
metrics: [AUC]
optimizer: {type: Muon, learning_rate: {type: CosineDecay, initial_learning_rate: 0.02, decay_steps: 9}, clipnorm: 1.0}
training: {epochs: 3, batch_size: 24, shuffle: false}
"""


def test_what_a_batch_hands_on_to_the_next_is_kept_as_are_schedules_and_curves(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SEQUENCES)
    run = stopped(tmp_path, 1, 3)
    resume(run)
    assert_same(run.path, train(tmp_path).run)


def test_ctrl_c_prints_the_command_that_goes_on(tmp_path: Path) -> None:
    slow = (
        EVERYTHING.replace("samples: 300", "samples: 6000").replace("steps_per_epoch: 5, ", "").split("callbacks:")[0]
    )
    (tmp_path / "spec.yaml").write_text(slow)
    process = start("train", "spec.yaml", "--set", "training.epochs=4", folder=tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/history.csv")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    path = only(tmp_path / "runs")
    assert process.returncode == 130 and f"kerascli train --resume runs/{path.name}" in err
    assert json.loads((path / "run.json").read_text())["status"] == "interrupted"
    resume(Run.open(path))
    assert_same(path, train(tmp_path, "training.epochs=4").run)


def test_a_stop_while_it_validates_loses_no_step(folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kerascli.trainer import Trainer

    pause = Trainer.pause

    def asked(self: Trainer) -> None:
        self.interrupt = (self.epoch, self.step) == (3, self.steps)
        pause(self) if self.averages.samples else None

    monkeypatch.setattr(Trainer, "pause", asked)
    with pytest.raises(api.Interrupted):
        train(folder)
    monkeypatch.undo()
    run = Run.open(only(folder / "runs"))
    assert len(history(run.path)) == 3
    _, said = resume(run)
    assert "resumed after 3 epochs and 5 of 5 steps" in said
    assert_same(run.path, whole)


# ---- further


def test_a_finished_run_is_extended_as_if_it_had_been_longer_from_the_start(folder: Path, whole: Path) -> None:
    run = Run.open(train(folder, "training.epochs=2").run)
    for epochs in (3, 6):
        resume(run, f"training.epochs={epochs}")
    assert_same(run.path, whole)
    assert "epochs: 6" in run.resolved.read_text() and run.spec.read_text() == EVERYTHING
    assert len(Run.open(run.path).facts["resumed"]) == 2


class Looking(Watch):
    """Reads the run's files at every step."""

    def __init__(self, run: Path, stop: tuple[int, int]) -> None:
        super().__init__(stop)
        self.run, self.known = run, set[str]()

    def batch_end(self, *step: Any) -> None:
        assert not (self.run / "metrics.json").exists()
        self.known |= json.loads((self.run / "run.json").read_text()).keys()
        super().batch_end(*step)


def test_while_a_finished_run_is_extended_nothing_tells_of_its_shorter_self(folder: Path) -> None:
    run = Run.open(train(folder, "training.epochs=2", "expect.loss=< 9").run)
    ended = {"epochs", "best_epoch", "seconds", "expect", "stopped"}
    assert ended <= run.facts.keys() and run.metrics.exists() and run.facts["threads"] == 1
    watch, checked = Looking(run.path, (2, 3)), api.checked_again(run, None, ["training.epochs=6"])
    with pytest.raises(api.Interrupted):
        api.resume(run, checked, 3, watch)
    assert watch.known and not ended & watch.known and run.facts["threads"] == 3


def test_a_finished_run_with_nothing_to_do_says_so_and_changes_nothing(
    whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()}
    answer = Shell(whole.parent.parent, capfd)("train", "--resume", "latest")
    assert answer.code == 0 and answer.out.strip().endswith(whole.name)
    assert "is completed: 6 epochs" in answer.err and "accuracy" in answer.err
    assert {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()} == before


def test_new_bounds_are_looked_at_without_training(folder: Path) -> None:
    run = Run.open(train(folder).run)
    outcome, _ = resume(run, "expect.loss=< 0")
    assert not outcome.met and Run.open(run.path).facts["expect"][0]["figure"] == "loss"


def test_training_that_a_callback_ended_stays_ended(folder: Path) -> None:
    stop = "callbacks=[{type: EarlyStopping, monitor: loss, min_delta: 9}]"
    run = Run.open(train(folder, stop).run)
    assert len(history(run.path)) == 2
    _, said = resume(run, "training.epochs=9")
    assert len(history(run.path)) == 2 and "more epochs would change nothing" in said


# ---- what cannot go on


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was stopped in its fourth epoch, and is only looked at."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "spec.yaml").write_text(EVERYTHING)
    return stopped(folder, 3, 2)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("layers[1].filters=5", "`layers[1].filters` is 5, and the run was trained with 4"),
        ("optimizer=sgd", "`optimizer` is SGD, and the run was trained with Adam"),
        ("training.batch_size=16", "`training.batch_size` is 16, and the run was trained with 32"),
        ("seed=4", "`seed` is 4"),
        ("dataset.samples=301", "`dataset.samples` is 301"),
        ("callbacks[0].patience=2", "`callbacks[0].patience` is 2"),
        ("training.epochs=2", "`training.epochs` is 2, and 3 epochs are trained already"),
    ],
)
def test_another_model_is_refused_by_name_and_place(setting: str, told: str, broken: Run) -> None:
    before = (broken.path / "run.json").read_bytes()
    with pytest.raises(Failure) as found:
        api.checked_again(Run.open(broken.path), None, [setting])
    (problem,) = found.value.problems
    assert found.value.exit_code == 2 and problem.code == "E513" and told in problem.message and problem.help
    assert isinstance(problem.where, Span) and problem.where.file == "--set"
    assert (broken.path / "run.json").read_bytes() == before


def test_words_and_verbosity_may_change(folder: Path, whole: Path) -> None:
    run = stopped(folder, 3, 2)
    (folder / "spec.yaml").write_text(EVERYTHING.replace("patience: 1", "verbose: 1, patience: 1") + "description: x\n")
    resume(run, spec=folder / "spec.yaml")
    assert_same(run.path, whole)
    (folder / "spec.yaml").write_text(EVERYTHING.replace("units: 3", "units: 4"))
    with pytest.raises(Failure, match=r"`layers\[5\].units` is 4"):
        resume(run, spec=folder / "spec.yaml")


FILE = EVERYTHING.split("layers:")[1].split("callbacks:")[0]


def test_other_data_are_refused_and_moved_data_are_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = {"x_train": rng.random((300, 6, 6, 2)).astype("f4"), "y_train": rng.integers(0, 3, 300)}
    data |= {"x_val": data["x_train"][:50], "y_val": data["y_train"][:50]}
    np.savez(tmp_path / "a.npz", **data)
    (tmp_path / "spec.yaml").write_text("dataset: {type: npz, path: a.npz}\nlayers:" + FILE)
    run = stopped(tmp_path, 1, 2)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a.npz").rename(tmp_path / "elsewhere" / "a.npz")
    with pytest.raises(Failure, match=r"a\.npz"):
        resume(run)
    before = (run.path / "run.json").read_bytes()
    data["x_train"][7] = 0
    np.savez(tmp_path / "a.npz", **data)
    with pytest.raises(Failure, match=r"the data are not those .* as many samples, with other values"):
        resume(run)
    np.savez(tmp_path / "a.npz", **{name: array[:40] for name, array in data.items()})
    with pytest.raises(Failure, match="300 train samples are now 40"):
        resume(run)
    assert (run.path / "run.json").read_bytes() == before
    resume(run, f"dataset.path={tmp_path}/elsewhere/a.npz")
    assert Run.open(run.path).status == "completed"


def test_an_edited_resolved_yaml_is_refused(folder: Path) -> None:
    run = stopped(folder, 3, 2)
    run.resolved.write_text(run.resolved.read_text().replace("rate: 0.3", "rate: 0.4"))
    with pytest.raises(Failure, match="has been edited"):
        resume(run)


def test_checkpoints_of_another_format_are_refused_with_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped(folder, 3, 2)
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    with pytest.raises(Failure, match="has the checkpoint format 1; this version of kerascli reads the format 2"):
        resume(run)
    assert Run.open(run.path).status == "interrupted"


def test_other_versions_are_told(folder: Path, whole: Path) -> None:
    run = stopped(folder, 3, 2)
    run.update(versions={**run.facts["versions"], "numpy": "1.0"})
    _, said = resume(run)
    assert "the last digits may differ from here on: numpy" in said and "was 1.0" in said
    assert_same(run.path, whole)


@needs_forks
def test_a_run_that_is_trained_cannot_be_resumed_at_the_same_time(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "spec.yaml", "--set", "training.epochs=100000", "--set", "callbacks=[]", "--threads", "2")
    process = start(*words, folder=folder)
    deadline = time.monotonic() + 60
    while not list(folder.glob("runs/*/checkpoints/step-*.npz")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.01)
    answer = Shell(folder, capfd)("train", "--resume", "latest")
    alive = process.poll() is None
    process.kill()
    process.communicate()
    assert answer.code == 1 and "error[E504]: another process is training" in answer.err and alive
    Run.open(only(folder / "runs")).resume()


# ---- damaged checkpoints


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = bytearray()
    elif how == "flipped":
        data[len(data) // 3] ^= 4
    else:
        data = bytearray(b"something else")
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "other"])
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_used(how: str, folder: Path, whole: Path) -> None:
    run = stopped(folder, 3, 4)
    newest, older = Checkpoints(run.checkpoints).paths()
    damage(newest, how)
    _, said = resume(run)
    assert f"the checkpoint `{newest.name}` is damaged" in said and f"from the one before, `{older.name}`" in said
    assert_same(run.path, whole)
    assert len(Checkpoints(run.checkpoints).paths()) == 2


def test_without_a_sound_checkpoint_there_is_a_problem_and_nothing_changes(folder: Path) -> None:
    run = stopped(folder, 3, 4)
    for path in Checkpoints(run.checkpoints).paths():
        damage(path, "cut")
    before = (run.path / "run.json").read_bytes()
    with pytest.raises(Failure) as found:
        resume(run)
    assert [p.code for p in found.value.problems] == ["E514", "E514"] and "train it anew" in found.value.problems[
        0
    ].help
    assert (run.path / "run.json").read_bytes() == before


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = rng.random((3, 4), "f4")
    state = {"a": {"w": weights, "n": np.int64(3)}, "list": [1, {"x": np.zeros(())}], "best": float("inf")}
    checkpoint.write(tmp_path / "c.npz", state)
    data = (tmp_path / "c.npz").read_bytes()
    right = repr(checkpoint.read(tmp_path / "c.npz"))
    assert json.dumps(checkpoint.read(tmp_path / "c.npz")["a"]["n"]) == "3" and "inf" in right
    assert np.load(tmp_path / "c.npz")["a/w"].tobytes() == weights.tobytes()
    chance = random.Random(1)
    for _ in range(400):
        flipped = bytearray(data)
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        (tmp_path / "d.npz").write_bytes(flipped)
        with contextlib.suppress(Damaged, Failure):
            assert repr(checkpoint.read(tmp_path / "d.npz")) == right


# ---- full disks


def limited(size: int, folder: Path, *words: str) -> Answer:
    """The command, in a process that can write no file larger than `size`: what a full disk does, at any file."""
    program = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size},) * 2)\n{PROGRAM}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.mark.skipif(os.name == "nt", reason="no limits on the size of files")
@pytest.mark.parametrize("full", ["step-*.npz", "best.weights.h5"])
def test_a_full_disk_is_told_and_costs_nothing_that_was_saved(full: str, folder: Path, whole: Path) -> None:
    run = Run.open(train(folder, "training.epochs=2").run)
    before = {p.name: p.read_bytes() for p in run.checkpoints.iterdir()}
    size = min(p.stat().st_size for p in run.checkpoints.glob(full)) - 1
    answer = limited(size, folder, "train", "--resume", "latest", "--set", "training.epochs=6")
    assert answer.code == 1 and "error[E501]: cannot write" in answer.err and "Traceback" not in answer.err
    assert "make room on that disk; then go on with `kerascli train --resume" in answer.err
    assert "Exception ignored" not in answer.err and "HDF5" not in answer.err
    assert {p.name: p.read_bytes() for p in run.checkpoints.iterdir()} == before
    assert not list(run.path.rglob("*.tmp")) and Run.open(run.path).status == "failed"
    resume(run)
    assert_same(run.path, whole)


def test_a_run_that_cannot_begin_leaves_nothing(folder: Path) -> None:
    answer = limited(200, folder, "train", "spec.yaml")
    assert answer.code == 1 and "error[E501]: cannot write" in answer.err and "Traceback" not in answer.err
    assert not list((folder / "runs").iterdir())


# ---- when there is a checkpoint


def test_checkpoints_come_with_epochs_and_within_long_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    kept = Checkpoints(tmp_path, seconds=60)
    assert kept.due(1, epoch_ended=True) and not kept.due(1, epoch_ended=False)
    now[0] += 60
    assert kept.due(1, epoch_ended=False)
    for iteration in (1, 2, 3):
        kept.save(iteration, {})
    assert [p.name for p in kept.paths()] == ["step-0000000003.npz", "step-0000000002.npz"]
    kept._cost = 0.5
    now[0] += 9
    assert not kept.due(4, epoch_ended=True), "checkpoints take a twentieth of the time at most"
    now[0] += 2
    assert kept.due(4, epoch_ended=True)


def test_backup_and_restore_says_where_and_how_often(folder: Path, whole: Path) -> None:
    backup = "{type: BackupAndRestore, backup_dir: backup/here, save_freq: 7}"
    text = EVERYTHING + f"  - {backup}\n"
    (folder / "spec.yaml").write_text(text)
    run = stopped(folder, 4, 3)
    assert [p.name for p in (run.path / "backup/here").iterdir()] == ["step-0000000021.npz"], "the last of 7, 14, 21"
    assert not Checkpoints(run.checkpoints).paths()
    _, said = resume(run)
    assert "resumed after 4 epochs and 1 of 5 steps" in said
    assert_same(run.path, whole)
    assert not list((run.path / "backup/here").iterdir()), "they go when training is completed"
    with pytest.raises(Failure, match="no checkpoint to go on from"):
        resume(run, "training.epochs=9")
    (folder / "spec.yaml").write_text(text.replace("save_freq: 7", "save_freq: false, delete_checkpoint: false"))
    run = stopped(folder, 4, 3)
    assert not (run.path / "backup/here").exists() or not list((run.path / "backup/here").iterdir())
    resume(run)
    assert_same(run.path, whole)
    assert len(list((run.path / "backup/here").iterdir())) == 1
