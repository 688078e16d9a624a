"""Trainings that do not end as they should: Ctrl-C, a killed parent, a fault in the middle, a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli import keras_files
from kerascli.api import train
from kerascli.check import check
from kerascli.engine.team import forks
from kerascli.errors import Failure
from kerascli.graph import build
from kerascli.stored import Stored
from kerascli.training import Training
from tests.cli.session import run, start

LONG = """
seed: 3
dataset: {type: synthetic, kind: images, samples: 2000, shape: [16, 16, 3], classes: 4, validation_split: 0.2}
layers: [{type: Rescaling, scale: 0.004}, {type: Conv2D, filters: 16, kernel_size: 3, activation: relu}, MaxPooling2D,
  Flatten, {type: Dense, units: 4, activation: softmax}]
loss: sparse_categorical_crossentropy
metrics: [accuracy]
training: {epochs: 10000, batch_size: 64}
"""
needs_forks = pytest.mark.skipif(not forks(), reason="lanes are threads here")


def begin(folder: Path) -> subprocess.Popen[str]:
    """A long training with two workers, awaited until its first epochs are written."""
    (folder / "long.yaml").write_text(LONG)
    process = start("train", "long.yaml", "--threads", "2", folder=folder)
    deadline = time.monotonic() + 60
    while not any(len(p.read_text().splitlines()) > 2 for p in folder.glob("runs/*/history.csv")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.02)
    return process


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(folder.glob("runs/*/run.json")).read_text())
    return found


# ---- signals


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_ctrl_c_saves_the_weights_says_interrupted_and_exits_with_130(asked: signal.Signals, tmp_path: Path) -> None:
    process = begin(tmp_path)
    for pid in (*(children(process.pid) if forks() else ()), process.pid):
        os.kill(pid, asked)  # a terminal and a scheduler tell all of them
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err and "interrupted" in err
    (path,) = (tmp_path / "runs").iterdir()
    found = facts(tmp_path)
    rows = (path / "history.csv").read_text().splitlines()[1:]
    assert found["status"] == "interrupted" and found["epochs"] == len(rows) >= 1 and found["ended"]
    assert path.name in err, "where the weights are"
    weights = Stored(path).weights()
    assert all(np.isfinite(array).all() for array in weights.values())
    assert (
        run("evaluate", "latest", "--split", "train", "--json", folder=tmp_path).document["metrics"]["accuracy"] > 0.3
    )
    assert not list(path.rglob("*.tmp"))


def test_two_ctrl_c_end_it_at_once(tmp_path: Path) -> None:
    process = begin(tmp_path)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert facts(tmp_path)["status"] == "interrupted"


@needs_forks
def test_workers_die_with_a_killed_parent_and_the_run_can_still_be_read(tmp_path: Path) -> None:
    process = begin(tmp_path)
    workers = children(process.pid)
    assert workers
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while any(map(lives, workers)):
        assert time.monotonic() < deadline, "an orphan"
        time.sleep(0.02)
    assert facts(tmp_path)["status"] == "running", "nobody was left to say more"
    assert run("runs", "list", folder=tmp_path).code == 0
    best = run("evaluate", "latest", "--weights", "best", "--split", "validation", folder=tmp_path)
    assert best.code == 0, best.err
    with pytest.raises(Failure, match="has no final weights yet: it is interrupted") as found:
        Stored(next((tmp_path / "runs").iterdir())).weights()
    assert "--weights best" in found.value.problems[0].help


@needs_forks
def test_a_killed_worker_fails_the_run_with_a_problem(tmp_path: Path) -> None:
    process = begin(tmp_path)
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "error[E508]" in err and "Traceback" not in err
    assert facts(tmp_path)["status"] == "failed"


# ---- faults


def test_a_fault_in_the_middle_leaves_status_failed_and_what_was_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "long.yaml").write_text(LONG.replace("samples: 2000", "samples: 200"))
    record = Training._record

    def faulty(self: Training, epoch: int, *rest: Any) -> None:
        record(self, epoch, *rest)
        if epoch == 2:
            raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(Training, "_record", faulty)
    with pytest.raises(ZeroDivisionError):
        train(check(tmp_path / "long.yaml"), tmp_path / "runs", threads=2)
    found = facts(tmp_path)
    assert found["status"] == "failed" and found["error"] == "ZeroDivisionError: in the middle"
    (path,) = (tmp_path / "runs").iterdir()
    assert len((path / "history.csv").read_text().splitlines()) == 4
    assert "in the middle" in (path / "train.log").read_text()
    graph = build(Stored(path).loaded, Stored(path).signature)
    assert keras_files.load_weights(path / "checkpoints" / "best.weights.h5", graph)


def test_a_loss_that_is_no_number_any_more_ends_the_run_with_its_layer(tmp_path: Path) -> None:
    text = LONG.replace("epochs: 10000", "epochs: 3").replace("samples: 2000", "samples: 200")
    (tmp_path / "hot.yaml").write_text(text + "optimizer: {type: SGD, learning_rate: 1.0e+30}\n")
    answer = run("train", "hot.yaml", folder=tmp_path)
    assert answer.code == 1 and "Traceback" not in answer.err and "Warning" not in answer.err
    assert "error[E511]: NaN or infinity began in step " in answer.err and "--> hot.yaml:" in answer.err
    assert facts(tmp_path)["status"] == "failed"
    (tmp_path / "hot.yaml").write_text((tmp_path / "hot.yaml").read_text() + "callbacks: [TerminateOnNaN]\n")
    answer = run("train", "hot.yaml", "--json", folder=tmp_path)
    assert answer.code == 0 and "Traceback" not in answer.err and answer.document["epochs"] == 1
    assert answer.err.count("diagnosis: hot.yaml:") == 1


def test_a_runs_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(LONG.replace("epochs: 10000", "epochs: 1"))
    (tmp_path / "runs").write_text("a file where the folder should be")
    answer = run("train", "long.yaml", folder=tmp_path)
    assert answer.code == 1 and "error[E501]" in answer.err and "Traceback" not in answer.err


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    process = start("explain", folder=tmp_path)
    assert process.stdout and process.stderr and process.stdin
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()
    process.stdin.close()
    assert "Traceback" not in err
