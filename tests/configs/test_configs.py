"""Every spec in `configs/` is right, says what it should reach, and trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kerascli.api import train
from kerascli.check import check
from kerascli.cli.main import main

FOLDER = Path(__file__).parents[2] / "configs"
FULL = sorted(FOLDER.glob("*.yaml"))
ALL = sorted(FOLDER.rglob("*.yaml"))
TRAINED = [path for path in ALL if not path.stem.startswith("wide_")]
"""Wide nets are there to be timed; a checkpoint of one takes longer than all of the others' training."""
ROWS = 80
"""Enough that every split of the small sets has some, few enough that an epoch is short."""


def name(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def test_there_are_specs_to_test() -> None:
    assert len(FULL) >= 12


@pytest.mark.parametrize("path", ALL, ids=name)
def test_a_config_is_right_without_a_warning(path: Path) -> None:
    found = check(path)
    assert found.objective.warnings == ()
    assert path.read_text().startswith("#") and found.loaded.spec.version == 1, "say what it shows"


@pytest.mark.parametrize("path", FULL, ids=name)
def test_a_config_says_what_it_reaches(path: Path) -> None:
    bounds = check(path).loaded.spec.bounds()
    assert any(figure.startswith("test_") for figure in bounds), "a figure of data that training did not see"


@pytest.mark.parametrize("path", TRAINED, ids=name)
def test_a_config_trains_an_epoch_on_a_few_rows(path: Path, tmp_path: Path) -> None:
    few = [f"dataset.limit={ROWS}", "training.epochs=1", "training.batch_size=20", "expect={}"]
    outcome = train(check(path, few), tmp_path, threads=2)
    facts = json.loads((outcome.run / "run.json").read_text())
    assert facts["status"] == "completed" and outcome.epochs == 1
    assert all(value == value for logs in outcome.metrics.values() for value in logs.values())


def test_smoke_reaches_what_it_expects(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As it is written but for the seconds, which a busy machine may miss."""
    words = ["train", str(FOLDER / "smoke.yaml"), "--runs-dir", str(tmp_path), "--json", "--set", "expect.seconds=< 60"]
    code = main(words)
    found = json.loads(capfd.readouterr().out)
    assert code == 0 and all(bound["met"] for bound in found["expect"])
    accuracy = next(bound for bound in found["expect"] if bound["figure"] == "test_accuracy")
    assert accuracy["found"] > float(accuracy["bound"].split()[1]) + 0.01, "no margin for other machines' rounding"
