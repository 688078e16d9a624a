"""A shell in an empty folder, and a folder with trained runs that tests read but do not change."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerascli.cli.main import main
from tests.cli.session import SMALL, Shell

PENGUINS = """
name: penguins
seed: 5
dataset: {type: penguins, validation_split: 0.2, test_split: 0.2}
layers: [{type: Dense, units: 16, activation: relu}, {type: Dense, units: 3, activation: softmax}]
loss: sparse_categorical_crossentropy
metrics: [accuracy]
optimizer: {type: Adam, learning_rate: 0.02}
training: {epochs: 8, batch_size: 32}
"""


@pytest.fixture
def shell(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capfd)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `runs` holds a run `digits…` and a later run `penguins…`."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "digits.yaml").write_text(SMALL)
    (folder / "penguins.yaml").write_text(PENGUINS)
    for name in ("digits", "penguins"):
        words = ["train", folder / f"{name}.yaml", "--runs-dir", folder / "runs", "--quiet", "--threads", 1]
        assert main([str(word) for word in words]) == 0
    return folder


@pytest.fixture
def ask(trained: Path, capfd: pytest.CaptureFixture[str]) -> Shell:
    """A shell in that folder."""
    return Shell(trained, capfd)
