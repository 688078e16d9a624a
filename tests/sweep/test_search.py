"""What is wrong with `search:` is told with its place, before the first trial."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from kerascli.errors import Failure, Span, SpecFailure
from kerascli.search import seconds
from kerascli.sweep import storage as storages
from kerascli.sweep.folder import create, find, opened
from kerascli.sweep.ledger import Ledger
from kerascli.sweep.space import goal, open_space
from tests.sweep.helpers import begun, write

pytest.importorskip("optuna")

LINE = 11
"""Of the first line under `search:`."""


@pytest.mark.parametrize(
    ("line", "marked", "message"),
    [
        ("layers[0].unit: {int: [2, 4]}", "unit", "unknown key `unit` in Dense"),
        ("optimzer.learning_rate: {log: [0.1, 1.0]}", "optimzer", "unknown key `optimzer` in the spec"),
        ("layers[7].units: {int: [2, 4]}", "7", "`layers` has 2 items, numbered from 0; got 7"),
        ("layers.0.units: {int: [2, 4]}", "0", "`layers` is a list: it has no `0`"),
        ("'layers[0].unit': {int: [2, 4]}", "unit", "unknown key `unit` in Dense"),
        ("layers[0].units: {int: [4, 2]}", "[", "must begin with the lower end, as in `[2, 4]`"),
        ("layers[0].units: {int: [4, 4]}", "[", "must have two ends that differ"),
        ("optimizer.learning_rate: {log: [0, 0.1]}", "[", "must begin above 0"),
        ("optimizer.learning_rate: {log: [-0.1, 0.1]}", "[", "must begin above 0"),
        ("layers[0].units: {choice: []}", "[", "must be a list of at least 1"),
        ("layers[0].units: {choice: [2, 2]}", "[", "must be values that differ"),
        ("layers[0].units: {chioce: [2, 4]}", "layers", "did you mean `choice`?"),
        ("layers[0].units: {int: [2, 4], steps: 2}", "layers", "has no key `steps` beside `int`; did you mean `step`?"),
        ("layers[0].units: {int: [0, 4]}", "0", "`units` of Dense must be at least 1; got 0"),
        ("layers[0].units: {int: [2.5, 4]}", "2.5", "`int[0]` of `search.layers[0].units` must be an integer"),
        ("optimizer: {choice: [adam, {type: SDG}]}", "SDG", "unknown optimizer `SDG`"),
        ("optimizer: {choice: [adam, {type: SGD, rate: 1}]}", "rate", "unknown key `rate` in SGD"),
        ("layers[1].units: {choice: [2, 1]}", "1]", "with `layers[1].units: 1`: "),
        ("monitor: val_acuracy", "val_acuracy", "`search` watches `val_acuracy`, and no run of this spec has it"),
        ("monitor: test_loss", "test_loss", "and the data have no test split"),
        ("sampler: grod", "grod", "must be `tpe`, `random`, `grid` or `cmaes`"),
        ("time: soon", "soon", "must be a time above 0"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(line: str, marked: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, line)
    with pytest.raises(SpecFailure) as caught:
        goal(open_space(path, ()))
    problem = caught.value.problems[0]
    assert message in f"{problem.message}; {problem.label}"
    assert isinstance(problem.where, Span) and (problem.where.file, problem.where.line) == (str(path), LINE)
    assert path.read_text().splitlines()[LINE - 1][problem.where.column - 1 :].startswith(marked)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("sampler: grid\noptimizer.learning_rate: {log: [0.1, 1.0]}", "a grid cannot have every value"),
        ("sampler: grid\nseed: {int: [0, 999999]}", "the grid has 1,000,000 points"),
        ("sampler: cmaes\noptimizer: {choice: [adam, sgd]}", "CMA-ES moves through numbers"),
        ("pruner: median\nmonitor: seconds\nseed: {int: [0, 9]}", "pruning needs a figure of every epoch"),
        ("seeds: 2\nseed: {int: [0, 9]}", "`seed` cannot be searched and repeated"),
        ("trials: 3", "the spec says nothing to search"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(lines: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecFailure, match=message):
        goal(open_space(write(tmp_path, lines), ()))


def test_a_place_inside_of_a_choice_is_checked_with_every_choice(tmp_path: Path) -> None:
    both = "optimizer.momentum: {uniform: [0.1, 0.9]}\noptimizer: {choice: [sgd, {type: SGD, nesterov: true}]}"
    space = open_space(write(tmp_path, both), ())  # adam, which the spec has, knows no momentum
    found = space.spec({"optimizer.momentum": 0.5, "optimizer": space.parameters[1].labels[1]}).spec.optimizer
    assert found.model_dump()["momentum"] == 0.5 and found.model_dump()["nesterov"]
    with pytest.raises(SpecFailure, match="unknown key `momentum` in adam"):
        open_space(write(tmp_path, both.replace("[sgd,", "[adam,")), ())


def test_options_are_settings_and_a_time_has_a_unit(tmp_path: Path) -> None:
    space = open_space(write(tmp_path, "trials: 3\nseed: {int: [0, 9]}"), ("search.trials=5", "search.time=2h"))
    assert goal(space).trials == 5 and space.search.time == "2h" and seconds("2h") == 7200 == seconds(7200)
    assert space.search.ranges.keys() == {"seed"}


# ---- storages


def told(folder: Path, storage: str | None, search: str = "seed: {int: [0, 9]}") -> str:
    """What is said against a storage."""
    with pytest.raises(Failure) as caught:
        begun(folder, search, storage=storage)
    (problem,) = caught.value.problems
    assert problem.code in ("E521", "E516"), problem
    return problem.message


def test_a_storage_that_cannot_be_used_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storages, "LOCKED", 0.1)
    database = tmp_path / "trials.db"
    url = f"sqlite:///{database}"
    sweep = begun(tmp_path, "seed: {int: [0, 9]}", storage=url)
    other = open_space(write(tmp_path, "seed: {int: [0, 7]}"), ())
    again = create(tmp_path / "elsewhere", sweep.name, other, goal(other), (), url)
    with pytest.raises(Failure, match="is of another spec: its search differ"):
        Ledger(again, other)
    for number, (statement, words) in enumerate(
        (("BEGIN EXCLUSIVE", "is locked"), ("UPDATE version_info SET schema_version = 1", "another version of Optuna"))
    ):
        with sqlite3.connect(database, isolation_level=None) as connection:
            connection.execute(statement)
            if statement.startswith("UPDATE"):
                connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
            (tmp_path / str(number)).mkdir()
            assert words in told(tmp_path / str(number), url)
        connection.close()
    (tmp_path / "broken").write_text("{}\n{\n{}\n")
    (tmp_path / "2").mkdir()
    assert "is damaged" in told(tmp_path / "2", str(tmp_path / "broken"))
    (tmp_path / "3").mkdir()
    assert "`nosuch://me:***@here` cannot be used" in told(tmp_path / "3", "nosuch://me:secret@here")


def test_a_sweep_is_found_by_name_and_of_one_format(tmp_path: Path) -> None:
    sweep = begun(tmp_path, "seed: {int: [0, 9]}")
    assert find("latest", sweep.runs).folder == find("swe", sweep.runs).folder == sweep.folder
    with pytest.raises(Failure, match="no sweep `sweet`") as caught:
        find("sweet", sweep.runs)
    assert "`sweep`" in caught.value.problems[0].label
    file = sweep.folder / "sweep.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(Failure, match="the sweep is of format 2"):
        opened(sweep.folder)
