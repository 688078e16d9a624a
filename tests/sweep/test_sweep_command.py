"""`kerascli sweep` as a user runs it: workers that are killed, Ctrl-C, what is shown, and the page."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kerascli.run import Run
from kerascli.sweep.folder import find
from tests.browser import Browser
from tests.cli.session import Shell, start
from tests.sweep.helpers import begun, finished, write

pytest.importorskip("optuna")

LONG = """
    trials: 5
    sampler: random
    optimizer.learning_rate: {log: [1e-3, 1e-1]}
"""
PATIENCE = 100.0


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def workers(pid: int) -> list[int]:
    """The processes of a sweep's workers."""
    found = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [p for p in found if b"kerascli.sweep.worker" in Path(f"/proc/{p}/cmdline").read_bytes()]


def training(folder: Path) -> set[Path]:
    """The runs that have trained an epoch."""
    return {path.parent for path in folder.glob("runs/*/history.csv")}


def wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_no_trial_is_lost_when_three_workers_are_killed_and_the_sweep_is_stopped(tmp_path: Path, shell: Shell) -> None:
    write(tmp_path, LONG, epochs=40)
    process = start("sweep", "spec.yaml", "--name", "s", "--workers", "3", "--threads", "3", folder=tmp_path)
    wait_for(lambda: len(training(tmp_path)) >= 3, process)
    time.sleep(random.uniform(0, 0.5))
    for victim in (first := workers(process.pid)):
        os.kill(victim, signal.SIGKILL)
    assert len(first) == 3
    wait_for(lambda: len(set(workers(process.pid)) - set(first)) > 0, process)
    time.sleep(random.uniform(0, 2.0))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "go on with: kerascli sweep --resume runs/s" in err, err
    assert "was lost with its worker: it is begun once more" in err
    answer = shell("sweep", "--resume", "s", "--json")
    assert answer.code == 0, answer.err
    told = answer.document
    trials = [trial for candidate in told["candidates"] for trial in candidate["trials"]]
    assert [trial["state"] for trial in trials] == ["completed"] * 5 and told["finished"] == 5
    assert max(trial["tries"] for trial in trials) == 2
    for trial in trials:
        facts = Run.open(tmp_path / trial["run"]).facts
        assert facts["status"] == "completed" and facts["epochs"] == 40
    assert find("s", tmp_path / "runs").page.exists()


def test_the_commands_tell_what_a_sweep_came_to(tmp_path: Path, shell: Shell) -> None:
    search = """
        sampler: grid
        layers[0].activation: {choice: [relu, tanh]}
        optimizer: {choice: [{type: SGD, momentum: 0.9}, {type: Adam, learning_rate: 0.01}]}
    """
    finished(tmp_path, search, epochs=1)
    shown = shell("sweep", "show", "latest")
    assert shown.code == 0 and "4 of 4 trials: 4 completed" in shown.out and "SGD, momentum 0.9" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 120
    best = shell("sweep", "best", "latest", "-o", "best.yaml")
    assert best.code == 0 and best.out == "best.yaml\n" and "val_loss" in best.err
    assert shell("validate", "best.yaml").code == 0
    document = shell("sweep", "show", "sweep", "--json").document
    assert document["best"]["values"].keys() == {"layers[0].activation", "optimizer"}
    listed = shell("runs", "list", "--json").document
    trained = {Path(trial["run"]).name for c in document["candidates"] for trial in c["trials"]}
    assert {Path(row["run"]).name for row in listed} == trained and len(trained) == 4
    assert shell("evaluate", listed[0]["run"], "--split", "validation").code == 0


def test_when_the_time_is_over_the_rest_is_told_of(tmp_path: Path, shell: Shell) -> None:
    begun(tmp_path, LONG)
    answer = shell("sweep", "--resume", "sweep", "--time", "0.001s", "--trials", "3")
    assert answer.code == 0 and "trials that are left: 3; go on with: kerascli sweep --resume runs/sweep" in answer.err


def test_wrong_words_are_told(tmp_path: Path, shell: Shell) -> None:
    write(tmp_path, "seed: {int: [0, 9]}")
    begun(tmp_path, "seed: {int: [0, 9]}")
    for words, message in (
        ((), "say which SPEC to search"),
        (("spec.yaml", "--monitor", "val_lost"), "did you mean `val_loss`?"),
        (("spec.yaml", "--time", "soon"), "must be a time above 0"),
        (("spec.yaml", "--name", "sweep"), "is there already"),
        (("spec.yaml", "--storage", "sqlite:///no/folder.db"), "the storage `sqlite:///no/folder.db` cannot be used"),
        (("--resume", "sweep", "--sampler", "grid"), "leave out --sampler"),
        (("--resume", "sweep", "--engine", "keras", "--name", "other"), "leave out --engine and --name"),
        (("best", "sweep"), "no trial of `sweep` is completed"),
        (("best", "nothing"), "no sweep `nothing`"),
    ):
        answer = shell("sweep", *words)
        assert answer.code in (1, 2) and message in answer.err, (words, answer)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["sweep"], "nothing was begun"


def test_a_missing_package_is_said_with_the_command_that_installs_it(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kerascli.keras_backend._installed", lambda name: name != "keras")
    answer = shell("sweep", write(tmp_path, "seed: {int: [0, 9]}"), "--engine", "keras")
    assert answer.code == 1 and 'pip install "kerascli[keras]"' in answer.err
    monkeypatch.setattr("kerascli.sweep.storage.PACKAGES", ("optuna", "not_there"))
    answer = shell("sweep", write(tmp_path, "seed: {int: [0, 9]}"))
    assert answer.code == 2 and 'pip install "kerascli[sweep]"' in answer.err and "`not_there`" in answer.err


def test_the_page_opens_without_a_word_to_anybody(tmp_path: Path, shell: Shell, browser: Browser) -> None:
    search = "pruner: median\ntrials: 4\nlayers[0].units: {int: [2, 8]}\noptimizer.learning_rate: {log: [1e-3, 0.1]}"
    sweep, _, _ = finished(tmp_path, search)
    assert shell("sweep", "report", "sweep").out == f"{Path('runs/sweep/report.html')}\n"
    browser.show(sweep.page, width=400)
    assert browser.messages == []
    assert all(request.startswith(("file:", "data:")) for request in browser.requests)
    assert browser.ask("document.querySelectorAll('figure svg').length") >= 5
    assert browser.ask("document.querySelectorAll('#trials tbody tr').length") == 4
    assert browser.ask("document.documentElement.scrollWidth") <= 400
