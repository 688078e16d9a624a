"""The whole pipeline once, in a few seconds: for the habit of running it all the time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kerascli.cli.main import main

SPEC = """
seed: 7
dataset: {type: digits, limit: 400, validation_split: 0.1, test_split: 0.2}
layers:
  - {type: Rescaling, scale: 0.0625}
  - {type: Conv2D, filters: 8, kernel_size: 3, activation: relu}
  - MaxPooling2D
  - Flatten
  - {type: Dense, units: 10, activation: softmax}
loss: sparse_categorical_crossentropy
metrics: [accuracy]
optimizer: {type: Adam, learning_rate: 0.01}
training: {epochs: 6, batch_size: 32}
expect: {test_accuracy: ">= 0.7"}
"""


def test_a_spec_becomes_a_trained_run_that_evaluates_predicts_and_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(SPEC)
    np.save("x.npy", np.zeros((3, 8, 8, 1), np.uint8))
    assert main(["validate", "tiny.yaml"]) == 0
    capfd.readouterr()
    assert main(["train", "tiny.yaml", "--json"]) == 0
    trained = json.loads(capfd.readouterr().out)
    assert trained["metrics"]["test"]["accuracy"] >= 0.7
    assert main(["evaluate", "tiny", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["metrics"] == pytest.approx(trained["metrics"]["test"], rel=1e-6)
    assert main(["predict", "latest", "x.npy", "--top-k", "1"]) == 0
    assert capfd.readouterr().out.count("\n") == 4
    assert main(["export", "latest", "--format", "keras", "-o", "tiny.keras", "--no-verify"]) == 0
    assert main(["predict", "tiny.keras", "x.npy", "-o", "y.npz"]) == 0
    with np.load("y.npz") as outputs:
        assert outputs["dense"].shape == (3, 10)
