"""`kerascli data` as a user meets it: figures, findings, exit codes, in a pipe and as JSON."""

from __future__ import annotations

import numpy as np
import pytest

from kerascli.cli.main import main
from kerascli.downloads import OFFLINE
from tests.cli.session import SMALL, Shell

UNSCALED = """dataset: {type: npz, path: data.npz}
layers: [{type: Dense, units: 2, activation: softmax}]
loss: sparse_categorical_crossentropy
"""


@pytest.fixture
def spec(shell: Shell) -> str:
    rng = np.random.default_rng(0)
    x, y = 100 * rng.normal(size=(60, 3)).astype("f4"), rng.integers(2, size=60)
    np.savez(shell.folder / "data.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    return shell.write(UNSCALED).name


def test_figures_and_findings_are_shown_within_80_columns(shell: Shell, spec: str) -> None:
    answer = shell("data", spec)
    assert answer.code == 0
    assert answer.err == ""
    lines = answer.out.splitlines()
    assert lines[0] == "spec: npz, 80 samples (train 60, test 20)"
    assert "Input input_layer: 3 float32" in lines
    assert "Target dense: 2 classes, as whole numbers" in lines
    assert "Copies: 20 test in train" in lines
    assert "Found: 2 warnings" in lines
    place = lines.index("Found: 2 warnings")
    assert max(map(len, lines[:place])) <= 80
    assert [line.split(": ")[:2] for line in lines[place + 1 :]] == [
        ["spec.yaml:1:1", "warning"],
        ["spec.yaml:2:17", "warning"],
    ]
    assert "\x1b" not in answer.out


def test_strict_fails_where_there_is_more_than_a_note(shell: Shell, spec: str) -> None:
    assert shell("data", spec, "--strict").code == 1
    shell.write(SMALL, "fine.yaml")
    assert shell("data", "fine.yaml", "--strict").code == 0


def test_json_is_one_document_with_the_same_figures(shell: Shell, spec: str) -> None:
    document = shell("data", spec, "--json").document
    assert document["samples"] == {"train": 60, "test": 20}
    assert [finding["kind"] for finding in document["findings"]] == ["copies_across_splits", "unscaled"]
    assert document["findings"][1]["where"]["line"] == 2
    assert document["inputs"]["input_layer"]["numbers"]["train"]["count"] == 180
    assert document["problems"] == []


def test_one_split_alone_can_be_looked_at(shell: Shell, spec: str) -> None:
    assert shell("data", spec, "--split", "test", "--json").document["samples"] == {"test": 20}
    answer = shell("data", spec, "--split", "validation")
    assert (answer.code, answer.out) == (1, "")
    assert "the dataset has no validation split" in answer.err


def test_the_spec_can_be_changed(shell: Shell, spec: str) -> None:
    answer = shell("data", spec, "--set", "dataset.limit=10", "--set", "dataset.validation_split=0.5")
    assert "20 samples" not in answer.out
    assert "(train 10, validation 10, test 10)" in answer.out


def test_a_network_that_does_not_fit_is_told_after_the_data(shell: Shell, spec: str) -> None:
    answer = shell("data", spec, "--set", "layers=[{type: Conv2D, filters: 2, kernel_size: 3}]")
    assert answer.code == 2
    assert "Target y: 2 classes" in answer.out
    assert "error[E301]" in answer.err
    document = shell("data", spec, "--json", "--set", "layers=[{type: Conv2D, filters: 2, kernel_size: 3}]").document
    assert [problem["code"] for problem in document["problems"]] == ["E301"]


def test_data_that_cannot_be_read_are_a_problem(shell: Shell, spec: str) -> None:
    answer = shell("data", spec, "--set", "dataset.path=absent.npz")
    assert (answer.code, answer.out) == (1, "")
    assert "error[E401]" in answer.err


def test_many_classes_and_columns_are_cut_short(shell: Shell) -> None:
    head = ",".join([*(f"c{k}" for k in range(100)), "kind"])
    rows = [",".join([*(str((i * (k + 3)) % 17) for k in range(100)), f"k{i % 30:02}"]) for i in range(120)]
    (shell.folder / "wide.csv").write_text("\n".join([head, *rows]))
    shell.write(UNSCALED.replace("type: npz, path: data.npz", "type: csv, path: wide.csv, target: kind"))
    answer = shell("data", "spec.yaml", "--set", "layers=[{type: Dense, units: 30, activation: softmax}]")
    assert answer.code == 0
    assert "… and 40 more; --json has all" in answer.out
    assert "… and 10 classes between these; --json has all" in answer.out


def test_offline_fetches_nothing_and_ends_with_the_command(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(shell.folder))
    shell.write("dataset: boston_housing\nlayers: [{type: Dense, units: 1}]\nloss: mse\n", "absent.yaml")
    for name in ("data", "train"):
        answer = shell(name, "absent.yaml", "--offline")
        assert answer.code == 1, name
        assert "`--offline` forbids to fetch it" in answer.err, name
    assert not OFFLINE.get()


def test_every_command_that_reads_data_can_be_kept_offline() -> None:
    for name in ("train", "evaluate", "predict", "bench", "summary", "plan", "validate", "data"):
        assert main([name, "--offline", "--help"]) == 0, name
