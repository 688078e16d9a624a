"""A data file that is not there: every source names what lies beside it, and what was probably meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kerascli.files import cannot_read
from tests.sources.helpers import fails, load


def test_the_nearest_name_in_the_folder_is_shown(tmp_path: Path) -> None:
    (tmp_path / "Flowers.csv").touch()
    (tmp_path / "notes.txt").touch()
    (problem,) = cannot_read(tmp_path / "flower.csv", FileNotFoundError()).problems
    assert problem.message == f"there is no file `{tmp_path / 'flower.csv'}`"
    assert problem.help == f"did you mean `{tmp_path / 'Flowers.csv'}`?"


def test_where_no_name_is_near_files_of_the_same_kind_are_listed(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.npz"):
        (tmp_path / name).touch()
    (problem,) = cannot_read(tmp_path / "something.csv").problems
    assert problem.help == "beside it are `a.csv`, `b.csv`"
    (problem,) = cannot_read(tmp_path / "something.h5").problems
    assert problem.help == ""


def test_a_missing_folder_is_told_with_its_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (problem,) = cannot_read(tmp_path / "dta" / "deep" / "a.csv").problems
    wanted = f"there is no folder `{tmp_path / 'dta'}`; did you mean `{tmp_path / 'data'}`?"
    assert problem.help == wanted


@pytest.mark.parametrize(
    "config",
    [
        {"type": "npz", "path": "flower.npz"},
        {"type": "hdf5", "path": "flower.h5"},
        {"type": "csv", "path": "flower.csv", "target": "kind"},
        {"type": "idx", "images": "flower.idx", "labels": "flower.idx"},
    ],
    ids=lambda config: config["type"],
)
def test_every_source_names_it(tmp_path: Path, config: dict[str, Any]) -> None:
    wrong = config.get("path", "flower.idx")
    (tmp_path / wrong.replace("flower", "flowers")).touch()
    with fails("E401", "did you mean", "flowers"):
        load(tmp_path, **config)
