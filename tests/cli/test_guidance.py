"""What is said to people who mistype, and what tables look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerascli.cli.main import main
from kerascli.cli.progress import paired
from kerascli.overview import lines

SPEC = (
    "dataset: iris\nlayers: [{type: Dense, units: 3, activation: softmax}]\nloss: sparse_categorical_crossentropy\n"
    "training: {epochs: 2}\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers.yaml").write_text(SPEC)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("train flowers.yml", "did you mean `flowers.yaml`?"),
        ("train .", "a spec is one file, such as `flowers.yaml`"),
        ("train -", "`/dev/stdin` reads standard input"),
        ("train flowers.yaml --epochs 3", "`--set training.epochs=…`"),
        ("validate flowers.yaml --set training.epoch=3", "did you mean `epochs`?"),
        ("validate flowers.yaml --set layers.0.units=3", "write `layers[0].units=3`"),
        ("validate flowers.yaml --set layers[3].units=3", "`layers` has one item, numbered from 0; got 3"),
        ("validate flowers.yaml --set callbacks=[SwapEMAWeights]", "`optimizer: {type: RMSprop, use_ema: true}`"),
        ("validate flowers.yaml --set callbacks=[{type:~TensorBoard,profile_batch:~2}]", "is not written by kerascli"),
        ("evaluate latst", "did you mean `latest`?"),
        ("evaluate latest", "there are none yet: `kerascli train SPEC` makes one"),
        ("validate flowers.yaml --set callbacks=[{type:~EarlyStopping,monitor:~val_los}]", "did you mean `val_loss`?"),
        ("train flowers.yaml --set training.engine=torch", "must be `numpy` or `keras`"),
        ("train flowers.yaml -q --set training.initial_weights=a.keras", "there is no file"),
        ("explain early", "did you mean `EarlyStopping`?"),
        ("explain conv2", "did you mean `Conv2D`?"),
    ],
)
def test_a_mistake_is_told_with_its_mend(words: str, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([word.replace("~", " ") for word in words.split()]) in (1, 2)
    assert told in capfd.readouterr().err.replace("\n", " ")


def test_a_word_for_several_classes_is_explained_under_its_own_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "accuracy"]) == 0
    assert capfd.readouterr().out.startswith("accuracy  (metric)")
    assert main(["explain", "Conv2D"]) == 0
    assert "integer, or list of 2" in capfd.readouterr().out


def test_a_narrow_terminal_says_the_same_in_fewer_cells() -> None:
    assert paired({"loss": 1.0, "mae": 2.0, "val_loss": 3.0}) == ["loss 1.0000, val 3.0000", "mae 2.0000"]
    assert paired({"val_loss": 3.0}) == ["val_loss 3.0000"]


def test_the_story_of_a_run_counts_epochs_from_one_and_says_what_was_missed() -> None:
    expect = [{"figure": "test_accuracy", "bound": ">= 0.9", "found": 0.5, "met": False}]
    metrics = {"test": {"loss": 0.25}}
    facts = {"run": "runs/a", "status": "completed", "epochs": 3, "best_epoch": 0, "expect": expect}
    told = lines({**facts, "metrics": metrics, "last_epoch": None, "files": {"spec.yaml": 1200}}).splitlines()
    assert [" ".join(line.split()) for line in told] == [
        "run runs/a",
        "status completed",
        "epochs 3, the best was 1",
        "test loss 0.25",
        "expected test_accuracy >= 0.9: 0.5, MISSED",
        "",
        "spec.yaml 1,200 bytes",
    ]


def test_a_wrong_array_is_told_with_its_file(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "flowers.yaml", "-q"]) == 0
    np.save(folder / "wide.npy", np.zeros((2, 7)))
    assert main(["predict", "latest", "wide.npy"]) == 1
    assert "wide.npy" in capfd.readouterr().err


def test_pictures_whose_channel_was_forgotten_are_told_both_mends(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    layers = "[{type: Input, shape: [28, 28]}, {type: LSTM, units: 2}, {type: Dense, units: 10, activation: softmax}]"
    (folder / "rows.yaml").write_text(f"dataset: mnist\nlayers: {layers}\nloss: sparse_categorical_crossentropy\n")
    assert main(["validate", "rows.yaml"]) == 2
    told = " ".join(capfd.readouterr().err.split())
    assert "write `shape: [28, 28, 1]`, and {type: Reshape, target_shape: [28, 28]} after it" in told
