"""`train --events`: what programs that watch are told, whole lines at once; and what `runs` says of a killed run."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from kerascli.run import History
from tests.cli.session import SMALL, Shell, run, start

KEYS = {
    "run_started": {"run", "name", "resumed", "epochs", "parameters", "samples"},
    "epoch_started": {"epoch", "epochs", "steps", "samples"},
    "epoch_ended": {"epoch", "logs", "learning_rate", "seconds", "best"},
    "checkpoint_saved": {"epoch", "step", "iteration", "folder"},
    "message": {"text"},
    "diagnosis": {"name", "epoch", "message", "help", "file", "line", "column"},
    "evaluation": {"split", "logs"},
}
ENDED = {"run", "status"}
LONG = SMALL.replace("epochs: 2", "epochs: 3000")


def read(path: Path) -> list[dict[str, Any]]:
    """Events, each with the keys that are promised."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for event in found:
        keys = event.keys() - {"version", "event", "time"}
        assert event["version"] == 1
        assert keys == KEYS[event["event"]] if event["event"] in KEYS else keys >= ENDED, event
    return found


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events if event["event"] not in ("message", "checkpoint_saved")]


def wait_for(path: Path, text: str) -> None:
    for _ in range(600):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {text}")


def test_events_tell_the_run_from_start_to_end_and_quiet_is_still_quiet(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SMALL)
    answer = run("train", "spec.yaml", "-q", "--events", "events.jsonl", folder=tmp_path)
    assert answer.code == 0 and answer.err == ""
    events = read(tmp_path / "events.jsonl")
    epochs = ["epoch_started", "epoch_ended"] * 2
    assert kinds(events) == ["run_started", *epochs, "evaluation", "evaluation", "run_ended"]
    folder = answer.out.strip()
    assert events[0]["run"] == events[-1]["run"] == folder and not events[0]["resumed"]
    assert events[0]["samples"] == {"train": 200, "validation": 200, "test": 200}
    rows = History.load(tmp_path / folder / "history.csv").rows
    for row, event in zip(rows, (e for e in events if e["event"] == "epoch_ended"), strict=True):
        assert event["learning_rate"] == row["learning_rate"] > 0
        assert event["epoch"] == row["epoch"] and all(row[name] == value for name, value in event["logs"].items())
    metrics = json.loads((tmp_path / folder / "metrics.json").read_text())
    assert {e["split"]: e["logs"] for e in events if e["event"] == "evaluation"} == metrics
    assert events[-1]["status"] == "completed" and events[-1]["expected"] is True
    assert any(e["event"] == "checkpoint_saved" for e in events)


def test_a_killed_run_is_interrupted_and_its_events_go_on_where_it_does(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(LONG)
    path = tmp_path / "events.jsonl"
    process = start("train", "spec.yaml", "-q", "--events", path, folder=tmp_path)
    wait_for(path, '"checkpoint_saved"')
    (running,) = json.loads(run("runs", "list", "--json", folder=tmp_path).out)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert running["status"] == "running"
    listed = run("runs", "list", folder=tmp_path)
    assert "interrupted" in listed.out and "kerascli train --resume RUN" in listed.err
    assert len(json.loads(run("runs", "list", "--status", "interrupted", "--json", folder=tmp_path).out)) == 1
    assert (
        f"interrupted; go on with: kerascli train --resume {running['run']}"
        in run("runs", "show", "latest", folder=tmp_path).out
    )
    with path.open("ab") as file:
        file.write(b'{"version": 1, "event": "epo')  # killed within a line
    stop = start("train", "--resume", "latest", "-q", "--events", path, folder=tmp_path)
    wait_for(path, '"resumed": true')
    time.sleep(0.3)
    stop.send_signal(signal.SIGINT)
    stop.communicate()
    lines = path.read_text().splitlines()
    assert sum(line.endswith('"epo') for line in lines) == 1
    path.write_text("\n".join(line for line in lines if not line.endswith('"epo')))
    events = read(path)
    assert [e["resumed"] for e in events if e["event"] == "run_started"] == [False, True]
    assert events[-1]["event"] == "run_ended" and events[-1]["status"] == "interrupted"


def test_findings_and_failures_are_events(shell: Shell) -> None:
    shell.write(SMALL.replace("metrics:", "optimizer: {type: SGD, learning_rate: 1.0e+38}\nmetrics:"))
    assert shell("train", "spec.yaml", "--events", "events.jsonl").code == 1
    events = read(shell.folder / "events.jsonl")
    (finding,) = (e for e in events if e["event"] == "diagnosis")
    assert finding["name"] == "not_finite" and finding["file"] == "spec.yaml" and finding["line"] > 1
    assert events[-1]["status"] == "failed" and events[-1]["problems"][0]["code"] == "E511"


def test_a_place_that_events_cannot_go_to_is_told_before_training(shell: Shell) -> None:
    shell.write(SMALL)
    for place in ("absent/events.jsonl", ".", "spec.yaml"):
        answer = shell("train", "spec.yaml", "--events", place)
        assert answer.code in (1, 2) and "error[E501]" in answer.err and answer.out == ""
    dash = shell("train", "spec.yaml", "--events", "-")
    assert dash.code == 2 and "standard output" in dash.err
    assert [p.name for p in shell.folder.iterdir()] == ["spec.yaml"]
    assert (shell.folder / "spec.yaml").read_text() == SMALL


def test_a_watcher_that_goes_away_ends_no_training(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SMALL)
    os.mkfifo(tmp_path / "pipe")
    process = start("train", "spec.yaml", "--events", "pipe", folder=tmp_path)
    with (tmp_path / "pipe").open() as pipe:
        assert json.loads(pipe.readline())["event"] == "run_started"
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err.count("no more events are written") == 1
