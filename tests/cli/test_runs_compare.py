"""`runs list` with its choices, `compare`, `diff` and `rm`: on runs that differ in known ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerascli.comparison import compare, comparison_text
from kerascli.overview import row, sparkline, table
from kerascli.run import Run, listing
from tests.cli.session import SMALL, Shell
from tests.cli.session import run as run_apart


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one spec, `slow…` with a learning rate that hardly learns, and `fast…`."""
    from kerascli.cli.main import main

    folder = tmp_path_factory.mktemp("compared")
    (folder / "spec.yaml").write_text(SMALL)
    for name, rate in (("slow", 1e-6), ("fast", 1e-2)):
        rate_word = f"optimizer={{type: RMSprop, learning_rate: {rate}}}"
        words = ["train", folder / "spec.yaml", "--runs-dir", folder / "runs", "-q", "--threads", 1]
        assert main([str(w) for w in (*words, "--run-name", name, "--set", rate_word)]) == 0
    return folder


@pytest.fixture
def ask(folder: Path, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(folder, capfd)


def test_a_curve_in_one_line() -> None:
    assert sparkline([8.0, 4.5, 1.0]) == "█▅▁"
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert sparkline([None, 2.0, float("nan"), 1.0]) == "█×▁"
    assert sparkline([]) == ""
    assert len(sparkline([float(n) for n in range(1000)])) == 20


def test_the_list_is_sorted_by_a_figure_the_best_first_and_marked(ask: Shell) -> None:
    lines = ask("runs", "list", "--sort", "test_loss").out.splitlines()
    assert "fast" in lines[1] and " * " in lines[1] and "slow" in lines[2] and " * " not in lines[2]
    up = ask("runs", "list", "--sort", "test_accuracy", "-n", 1, "--json").document
    assert ["fast" in row["run"] for row in up] == [True]


def test_the_list_is_filtered_by_name_and_status(ask: Shell) -> None:
    assert len(ask("runs", "list", "--name", "slow*", "--json").document) == 1
    assert ask("runs", "list", "--status", "failed", "--json").document == []


def test_a_figure_that_no_run_has_is_told_with_the_nearest(ask: Shell) -> None:
    answer = ask("runs", "list", "--sort", "accuracy")
    assert answer.code == 2 and "did you mean `test_accuracy`?" in answer.err


@pytest.mark.parametrize("width", [120, 80, 40])
def test_a_list_fits_the_terminal_and_loses_no_figure(width: int, folder: Path) -> None:
    rows = [row(run) for run in listing(folder / "runs")]
    for each in rows:
        each["run"] = f"runs/{Path(each['run']).name}"
    lines = table(rows, rows[0]["run"], width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(f"test_accuracy={each['metrics']['test']['accuracy']:.6g}" in " ".join(lines) for each in rows)
    assert sum(each["curve"] in line for line in lines for each in rows) >= 2
    assert len(table(rows, rows[0]["run"]).splitlines()) == 3, "a line a run in a pipe"


def test_a_comparison_that_is_too_wide_is_turned(folder: Path) -> None:
    found = compare(sorted(listing(folder / "runs"), key=lambda run: run.name) * 2)
    lines = comparison_text(found, 80).splitlines()
    assert max(map(len, lines)) <= 80 and lines[0].startswith("A  fast") and lines[3].startswith("D  slow")
    assert any(line.split() == ["test_loss", *line.split()[1:]] and "*" in line for line in lines)


def test_compare_marks_the_best_and_names_what_differs(ask: Shell) -> None:
    answer = ask("runs", "compare", "slow", "fast")
    assert answer.code == 0 and "optimizer.learning_rate" in answer.out and "the best" in answer.out
    found = ask("runs", "compare", "slow", "fast", "--json").document
    assert found["best"]["test_loss"] == 1
    assert found["differences"] == [{"key": "optimizer.learning_rate", "values": [1e-6, 1e-2]}]
    assert ask("runs", "compare", "slow", "slow", "--json").document["best"] == {}


def test_of_components_of_other_types_no_arguments_are_compared(ask: Shell) -> None:
    other = "optimizer={type: Adam, learning_rate: 0.5}"
    assert ask("train", "spec.yaml", "-q", "--runs-dir", "other", "--set", other, "--threads", 1).code == 0
    found = ask("runs", "compare", "slow", next((ask.folder / "other").iterdir()), "--json").document
    assert found["differences"] == [{"key": "optimizer.type", "values": ["RMSprop", "Adam"]}]


def test_diff_shows_the_lines_of_the_specs_and_the_figures(ask: Shell) -> None:
    answer = ask("runs", "diff", "slow", "fast")
    assert "learning_rate: 1e-06" in answer.out and "+++ fast" in answer.out and "test_loss" in answer.out
    assert "the specs are the same" in ask("runs", "diff", "slow", "slow").out


def test_a_report_has_two_spellings_and_options_may_stand_before_the_second_word(folder: Path, ask: Shell) -> None:
    pytest.importorskip("matplotlib")
    answer = ask("runs", "--json", "report", "fast", "-o", folder / "again.html", "--threads", 1)
    assert answer.code == 0 and answer.document["file"] == str(folder / "again.html")
    assert len(ask("runs", "--json", "--runs-dir", "runs", "list").document) == 2


def test_rm_asks_deletes_and_leaves_a_run_in_training_alone(shell: Shell) -> None:
    shell.write(SMALL)
    assert shell("train", "spec.yaml", "-q", "--run-name", "gone", "--threads", 1).code == 0
    path = next((shell.folder / "runs").iterdir())
    run = Run.open(path)
    run.lock()
    assert shell("runs", "rm", "gone", "--yes").code == 1 and path.exists()
    run.unlock()
    asked = run_apart("runs", "rm", "gone", folder=shell.folder, input="n\n")
    assert asked.code == 130 and "Delete 1 run?" in asked.err and path.exists()
    kept = path.rename(shell.folder / "elsewhere")
    answer = shell("runs", "rm", "elsewhere", "--yes")
    assert answer.code == 2 and "does not lie in `runs`" in answer.err and "--runs-dir" in answer.err and kept.exists()
    kept.rename(path)
    answer = shell("runs", "rm", "gone", "latest", "--yes", "--json")
    assert answer.code == 0 and answer.document == {"removed": [str(Path("runs") / path.name)]} and not path.exists()
