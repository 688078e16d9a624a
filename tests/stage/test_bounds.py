"""Numbers out of range are told with their row before a net learns from them, at evaluation and at prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.session import Shell

SPEC = """
dataset: {type: npz, path: data.npz, target_encoding: ENCODING}
layers: LAYERS
loss: LOSS
training: {batch_size: 4}
"""
DENSE = "[{type: Dense, units: 3, activation: softmax, name: kind}]"
IDS = """[Flatten, {type: Reshape, target_shape: [2, 2]}, {type: Embedding, input_dim: 5, output_dim: 3, name: words},
  Flatten, {type: Dense, units: 3, activation: softmax}]"""


def write(folder: Path, layers: str, loss: str = "sparse_categorical_crossentropy", encoding: str = "none") -> Path:
    path = folder / "net.yaml"
    path.write_text(SPEC.replace("LAYERS", layers).replace("LOSS", loss).replace("ENCODING", encoding))
    return path


def save(folder: Path, name: str = "data.npz", **arrays: Any) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 4), np.float32), rng.integers(0, 3, 10)
    np.savez(folder / name, **{"x_train": x, "y_train": y, **arrays})
    return folder / name


@pytest.fixture
def shell(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capfd)


@pytest.mark.parametrize(
    ("wrong", "said", "mend"),
    [
        (7, "row 6 has class 7, and sparse_categorical_crossentropy knows 0 to 2", "give the last layer 8 units"),
        (-1, "row 6 has class -1", "`ignore_class` leaves one out"),
        (1.5, "row 6 has class 1.5", "number the classes from 0"),
    ],
)
def test_a_class_without_an_output_is_told_with_its_row(shell: Shell, wrong: float, said: str, mend: str) -> None:
    y = np.zeros(10, np.float32)
    y[5] = wrong
    save(shell.folder, y_train=y)
    answer = shell("train", write(shell.folder, DENSE), "-q")
    told = " ".join(answer.err.split())
    assert answer.code == 1
    assert "E405" in told and said in told and mend in told


def test_an_ignored_class_may_have_any_number(shell: Shell) -> None:
    y = np.zeros(10, np.float32)
    y[5] = 255
    save(shell.folder, y_train=y)
    loss = "{type: SparseCategoricalCrossentropy, ignore_class: 255}"
    assert shell("train", write(shell.folder, DENSE, loss), "-q").code == 0


def test_evaluation_tells_a_class_without_an_output_too(shell: Shell) -> None:
    save(shell.folder)
    assert shell("train", write(shell.folder, DENSE), "-q").code == 0
    data = shell.folder / "other.npz"
    np.savez(data, x=np.zeros((3, 4), np.float32), y=np.array([0, 1, 9]))
    answer = shell("evaluate", "latest", "--data", data)
    assert answer.code == 1
    assert "row 3 has class 9" in " ".join(answer.err.split())


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float32])
def test_an_id_without_a_row_is_told_with_its_place_through_layers_of_shape(shell: Shell, kind: Any) -> None:
    x = np.arange(40).reshape(10, 4) % 5
    x[2, 3] = 11
    save(shell.folder, x_train=x.astype(kind))
    answer = shell("train", write(shell.folder, IDS), "-q")
    told = " ".join(answer.err.split())
    assert answer.code == 1
    assert "E420" in told and "row 3, column 4 has the id 11" in told
    assert "Embedding `words` has input_dim 5, for ids from 0 to 4" in told
    assert "write `input_dim: 12` or more" in told


def test_prediction_tells_an_id_without_a_row(shell: Shell) -> None:
    save(shell.folder, x_train=np.arange(40).reshape(10, 4) % 5)
    assert shell("train", write(shell.folder, IDS), "-q").code == 0
    np.save(shell.folder / "new.npy", np.array([[0, 1, -2, 3]]))
    answer = shell("predict", "latest", "new.npy")
    assert answer.code == 1
    assert "row 1, column 3 has the id -2" in " ".join(answer.err.split())


def test_labels_in_a_column_of_their_own_become_plain_one_hot_rows(shell: Shell) -> None:
    """CIFAR's labels are (n, 1)."""
    save(shell.folder, y_train=np.random.default_rng(0).integers(0, 3, (10, 1)))
    spec = write(shell.folder, DENSE, "categorical_crossentropy", "auto")
    assert shell("train", spec, "-q").code == 0
