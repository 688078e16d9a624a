"""The run directory: what is written, in which order, and how it is found again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from kerascli import curves, files
from kerascli.errors import Failure
from kerascli.run import History, Run, find, find_run, listing


def make(runs: Path, name: str = "net") -> Run:
    return Run.create(runs, name, b"seed: 1\n", "seed: 1\n", dataset={"fingerprint": "abc"})


def test_a_new_run_holds_the_spec_byte_for_byte_and_says_running(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "net", b"seed: 1\r\n# \xc3\xa9", "seed: 1\n")
    facts = json.loads((run.path / "run.json").read_text())
    assert run.spec.read_bytes() == b"seed: 1\r\n# \xc3\xa9"
    assert facts["status"] == "running" and facts["ended"] is None
    assert set(facts) >= {"started", "versions", "machine"} and "numpy" in facts["versions"]
    assert run.path.name.startswith("net-2") and len(run.path.name) == len("net-YYYYMMDD-HHMMSS")


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    names = {make(tmp_path).name for _ in range(3)}
    assert len(names) == 3


def test_a_run_ends_once_and_can_be_taken_up_again(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.end("interrupted")
    with pytest.raises(ValueError, match="cannot go from interrupted to completed"):
        run.end("completed")
    run.resume()
    run.end("completed", best_epoch=3)
    again = Run.open(run.path)
    assert again.status == "completed" and again.facts["best_epoch"] == 3 and len(again.facts["resumed"]) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no flock")
def test_only_one_process_trains_a_run_and_a_dead_one_lets_go(tmp_path: Path) -> None:
    run = make(tmp_path)
    words = "import sys, pathlib; from kerascli.run import Run; Run.open(pathlib.Path(sys.argv[1])).resume()"
    command = [sys.executable, "-c", words, str(run.path)]
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode != 0 and "another process is training" in second.stderr
    run.unlock()
    assert subprocess.run(command).returncode == 0


def test_a_broken_run_json_is_a_problem_and_not_a_traceback(tmp_path: Path) -> None:
    run = make(tmp_path)
    for text in ("{", "[]", '{"status": "odd"}'):
        (run.path / "run.json").write_text(text)
        with pytest.raises(Failure) as failure:
            Run.open(run.path)
        assert failure.value.problems[0].code == "E503"
    assert listing(tmp_path) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    files.write_json(target, {"x": 1})
    with pytest.raises(RuntimeError), files.replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(target.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_is_no_ordinary_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        files.write_text(pipe, "text")
        assert reader.read() == b"text" and pipe.is_fifo()
    link.symlink_to(tmp_path / "meant")
    files.write_text(link, "text")
    assert link.is_symlink() and (tmp_path / "meant").read_text() == "text"


def test_a_write_that_the_system_refuses_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        files.write_text(tmp_path / "absent" / "x", "text")
    assert failure.value.problems[0].code == "E501"


def test_json_has_no_bare_nan(tmp_path: Path) -> None:
    files.write_json(tmp_path / "m.json", {"test": {"loss": float("nan"), "auc": [float("-inf"), 1.0]}})
    text = (tmp_path / "m.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"test": {"loss": "nan", "auc": ["-inf", 1.0]}}


def test_history_has_keras_columns_and_empty_cells_where_validation_did_not_run(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv")
    history.add(0, {"loss": 0.5, "accuracy": 0.25}, 1e-3, 1.25)
    history.add(1, {"val_loss": 0.75, "loss": 0.1, "accuracy": 1.0, "val_accuracy": 0.5}, 1e-3, 2.0)
    history.save()
    assert history.path.read_text().splitlines() == [
        "epoch,accuracy,loss,val_accuracy,val_loss,learning_rate,seconds",
        "0,0.25,0.5,,,0.001,1.250",
        "1,1.0,0.1,0.5,0.75,0.001,2.000",
    ]
    again = History.load(history.path)
    assert again.rows[0]["val_loss"] is None and again.rows[1]["val_loss"] == 0.75
    again.cut(1)
    again.save()
    assert len(again.path.read_text().splitlines()) == 2


def test_history_keeps_every_digit(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv")
    history.add(0, {"loss": 0.1 + 0.2}, 1 / 3, 0.0)
    history.save()
    assert History.load(history.path).rows[0]["loss"] == 0.1 + 0.2


def test_a_run_is_found_by_path_prefix_and_latest(tmp_path: Path) -> None:
    first, second = make(tmp_path, "alpha"), make(tmp_path, "beta")
    second.update(started="2999-01-01T00:00:00")
    assert find("latest", tmp_path) == second.path
    assert find("al", tmp_path) == first.path
    assert find(str(first.path)) == first.path
    exported = tmp_path / "m.keras"
    exported.write_bytes(b"")
    assert find(str(exported), tmp_path) == exported
    with pytest.raises(Failure, match="a run directory is needed"):
        find_run(str(exported), tmp_path)


def test_an_exact_name_wins_over_longer_ones(tmp_path: Path) -> None:
    run = make(tmp_path)
    (tmp_path / f"{run.name}-2").mkdir()
    (tmp_path / f"{run.name}-2" / "run.json").write_text('{"status": "failed"}')
    assert find(run.name, tmp_path) == run.path
    with pytest.raises(Failure, match="begins 2 run names"):
        find("net", tmp_path)


@pytest.mark.parametrize("word", ["latest", "nothing"])
def test_no_such_run_is_a_problem(tmp_path: Path, word: str) -> None:
    with pytest.raises(Failure) as failure:
        find(word, tmp_path)
    assert failure.value.problems[0].code == "E502"


def rows(count: int) -> list[curves.Row]:
    return [
        {
            "epoch": k,
            "loss": 1 / (k + 1),
            "val_loss": 2 / (k + 1) if k % 2 else None,
            "learning_rate": 0.1,
            "seconds": 1.0,
        }
        for k in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_curves_are_well_formed_and_stay_in_the_picture(count: int) -> None:
    svg = ElementTree.fromstring(curves.draw(rows(count), 'a "name" & <more>', 0))
    found = [e.attrib["d"] for e in svg.iter() if "line" in e.attrib.get("class", "") and "h14" not in e.attrib["d"]]
    for path in found:
        for pair in path[1:].split():
            x, y = map(float, pair.split(","))
            assert curves.LEFT <= x <= curves.WIDTH and 0 <= y <= curves.HEIGHT
    assert len(found) == (0 if count < 2 else 1 if count == 2 else 2)


def test_curves_leave_out_what_is_not_a_number() -> None:
    bad: list[curves.Row] = [*rows(3), {"epoch": 3, "loss": float("nan")}, {"epoch": 4, "loss": float("inf")}]
    svg = curves.draw(bad, "t")
    assert "nan" not in svg and "inf" not in svg


def test_a_wide_span_is_drawn_by_its_logarithm() -> None:
    wide = [{"epoch": k, "loss": 10.0**-k} for k in range(6)]
    svg = curves.draw(wide, "t")
    assert all(f">{tick}<" in svg for tick in ("1", "0.1", "0.001", "1e-05"))
