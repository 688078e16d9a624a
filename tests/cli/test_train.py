"""`train`: what it writes, what it prints and where, and its exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.session import SMALL, Shell, run

FILES = """run.json spec.yaml resolved.yaml history.csv metrics.json model.json model.weights.h5 preprocessing.json
checkpoints train.log curves.svg""".split()  # noqa: SIM905
HEAVY = SMALL.replace("epochs: 2", "epochs: 500").replace("limit: 200, ", "")


def test_the_last_line_of_standard_output_is_the_run_directory_and_it_is_complete(shell: Shell) -> None:
    shell.write(SMALL, "net.yaml")
    answer = shell("train", "net.yaml")
    assert answer.code == 0
    folder = shell.folder / answer.out.splitlines()[-1]
    assert folder.parent == shell.folder / "runs" and folder.name.startswith("net-2")
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert (folder / "spec.yaml").read_text() == SMALL
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "completed" and facts["epochs"] == 2 and facts["dataset"].startswith("sha256:")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"test", "validation"} and set(metrics["test"]) == {"loss", "accuracy"}
    log = (folder / "train.log").read_text()
    assert log.count("val_loss") == 2


def test_history_has_a_row_an_epoch_in_the_columns_of_keras(shell: Shell) -> None:
    shell.write(SMALL)
    answer = shell("train", "spec.yaml", "-q")
    with (shell.folder / answer.out.strip() / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss", "learning_rate", "seconds"]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"]) and float(rows[0]["learning_rate"]) == pytest.approx(0.001)


def test_piped_output_is_a_line_an_epoch_without_colours(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SMALL)
    answer = run("train", "spec.yaml", folder=tmp_path)
    assert answer.code == 0 and answer.out.count("\n") == 1
    assert sum(line.startswith("epoch ") for line in answer.err.splitlines()) == 2
    assert "\x1b" not in answer.out + answer.err and "\r" not in answer.err


def test_no_color_is_obeyed_and_force_color_shows_that_there_is_something_to_obey(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SMALL)
    coloured = run("train", "spec.yaml", folder=tmp_path, FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[" in coloured.err and "\x1b" not in coloured.out
    plain = run("train", "spec.yaml", folder=tmp_path, NO_COLOR="1")
    assert "\x1b" not in plain.err


def test_json_is_one_document_on_standard_output(shell: Shell) -> None:
    shell.write(SMALL + "expect: {test_accuracy: '>= 0', seconds: '< 100'}\n")
    answer = shell("train", "spec.yaml", "--json")
    found = answer.document
    assert answer.code == 0 and (shell.folder / found["run"] / "run.json").is_file()
    assert found["epochs"] == 2 and set(found["metrics"]["test"]) == {"loss", "accuracy"}
    assert [e["figure"] for e in found["expect"]] == ["test_accuracy", "seconds"] and all(
        e["met"] for e in found["expect"]
    )


def test_a_missed_bound_is_exit_code_1_with_a_table_and_the_run_is_kept(shell: Shell) -> None:
    shell.write(SMALL + "expect: {test_accuracy: '>= 1.5', loss: '< 100'}\n")
    answer = shell("train", "spec.yaml")
    assert answer.code == 1 and "MISSED" in answer.err and ">= 1.5" in answer.err
    folder = shell.folder / answer.out.splitlines()[-1]
    assert json.loads((folder / "run.json").read_text())["status"] == "completed"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("units: 16", "unitz: 16", "E203"),
        ("Flatten, ", "", "E3"),
        ("units: 10", "units: 9", "E312"),
        ("training:", "callbacks: [{type: EarlyStopping, monitor: val_speed}]\ntraining:", "E314"),
        ("training:", "expect: {test_auc: '> 0.5'}\ntraining:", "E315"),
    ],
)
def test_what_the_spec_alone_shows_to_be_wrong_is_exit_code_2_and_nothing_is_written(
    old: str, new: str, code: str, shell: Shell
) -> None:
    shell.write(SMALL.replace(old, new))
    answer = shell("train", "spec.yaml")
    checked = shell("validate", "spec.yaml")
    assert (answer.code, checked.code) == (2, 2)
    assert answer.out == "" and f"[{code}" in answer.err and answer.err == checked.err
    assert [p.name for p in shell.folder.iterdir()] == ["spec.yaml"]


def test_wrong_words_are_exit_code_2(shell: Shell) -> None:
    shell.write(SMALL)
    assert shell("train").code == 2
    assert shell("train", "spec.yaml", "--epochs", 3).code == 2
    assert shell("train", "spec.yaml", "--set", "training.epoch=3").code == 2
    assert shell("train", "absent.yaml").code == 2
    assert shell("trian", "spec.yaml").code == 2
    assert [p.name for p in shell.folder.iterdir()] == ["spec.yaml"]


def test_data_that_cannot_be_read_are_exit_code_1_and_the_run_says_failed(shell: Shell) -> None:
    (shell.folder / "table.csv").write_text(
        "a,b,y\n" + "".join(f"{k},{k % 3},{k % 2}\n" for k in range(20)) + "inf,1,0\n"
    )
    text = "dataset: {type: csv, path: table.csv, target: y}\nlayers: [{type: Dense, units: 1, activation: sigmoid}]\n"
    shell.write(text + "loss: binary_crossentropy\n")
    answer = shell("train", "spec.yaml")
    assert answer.code == 1 and "E404" in answer.err and "This is a fault of kerascli" not in answer.err
    facts = json.loads(next(shell.folder.glob("runs/*/run.json")).read_text())
    assert facts["status"] == "failed" and "inf" in facts["error"]


def test_a_dry_run_shows_the_model_and_writes_nothing(shell: Shell) -> None:
    shell.write(SMALL)
    answer = shell("train", "spec.yaml", "--dry-run")
    assert answer.code == 0 and "Total params:" in answer.out and "1,210" in answer.out
    assert shell("train", "spec.yaml", "--dry-run", "--json").document["parameters"] == 1210
    assert [p.name for p in shell.folder.iterdir()] == ["spec.yaml"]


def test_settings_change_the_spec_and_stand_in_the_resolved_one(shell: Shell) -> None:
    shell.write(SMALL)
    answer = shell("train", "spec.yaml", "-q", "--set", "training.epochs=1", "--set", "layers[2].units=7")
    folder = shell.folder / answer.out.strip()
    assert (folder / "spec.yaml").read_text() == SMALL
    assert "units: 7" in (folder / "resolved.yaml").read_text()
    again = shell("train", folder / "resolved.yaml", "-q", "--run-name", "again")
    first, second = (shell.folder / answer.out.strip() / "history.csv" for answer in (answer, again))
    assert _figures(first) == _figures(second)


def _figures(path: Path) -> list[list[str]]:
    return [row[:-1] for row in csv.reader(path.read_text().splitlines())]


def test_two_runs_in_one_second_have_two_names_and_run_name_is_the_stem(shell: Shell) -> None:
    shell.write(SMALL)
    words = ("train", "spec.yaml", "-q", "--set", "training.epochs=1", "--run-name", "first", "--runs-dir", "elsewhere")
    names = {shell(*words).out.strip() for _ in range(3)}
    assert len(names) == 3 and all(name.startswith("elsewhere/first-2") for name in names)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "nul\0"])
def test_a_run_name_cannot_lead_out_of_the_runs_directory(name: str, shell: Shell) -> None:
    shell.write(SMALL)
    answer = shell("train", "spec.yaml", "-q", "--run-name", name)
    assert answer.code == 2 and [p.name for p in shell.folder.iterdir()] == ["spec.yaml"]


def test_warnings_are_shown_and_do_not_stop_the_training(shell: Shell) -> None:
    shell.write(SMALL.replace(", activation: softmax", ""))
    answer = shell("train", "spec.yaml")
    assert answer.code == 0 and "warning[E320]" in answer.err
