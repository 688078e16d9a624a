"""The trials of a sweep: what is tried, what ends early, what is repeated, and that none is lost."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.check import check
from kerascli.launch import train
from kerascli.resume import previous
from kerascli.run import Run, listing
from kerascli.runner import Averages
from kerascli.sweep import results, storage
from kerascli.sweep import worker as workers
from kerascli.sweep.ledger import Entry, Ledger
from kerascli.sweep.space import open_space
from kerascli.trainer import Trainer
from tests.sweep.helpers import begun, finished, worker, write

pytest.importorskip("optuna")
pytest.importorskip("cmaes")

RANGES = """
    layers[0].units: {int: [2, 8], step: 2}
    optimizer.learning_rate: {log: [1e-3, 1e-1]}
    layers[0].activation: {choice: [relu, tanh]}
"""


def states(ledger: Ledger) -> list[str]:
    return [entry.state for entry in ledger.current()]


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_a_sampler_tries_as_many_values_of_the_ranges_as_asked(sampler: str, tmp_path: Path) -> None:
    sweep, space, ledger = finished(tmp_path, f"sampler: {sampler}\ntrials: 4\n{RANGES}", epochs=1)
    assert states(ledger) == ["completed"] * 4
    for entry in ledger.entries():
        assert entry.values["layers[0].units"] in (2, 4, 6, 8)
        assert 1e-3 <= float(str(entry.values["optimizer.learning_rate"])) <= 1e-1
        run = Run.open(sweep.runs / str(entry.run))
        trained = previous(run)
        assert trained.layers[0].units == entry.values["layers[0].units"] and trained.search is None
        assert run.status == "completed" and run.spec.read_bytes() == space.origin.read_bytes()
    assert len({tuple(entry.values.values()) for entry in ledger.entries()}) > 1
    assert len(listing(sweep.runs)) == 4


def test_a_grid_has_every_point_once_and_whole_components_are_choices(tmp_path: Path) -> None:
    search = """
        sampler: grid
        monitor: val_accuracy
        optimizer: {choice: [{type: SGD, momentum: 0.5}, adam]}
        optimizer.learning_rate: {uniform: [0.1, 0.3], step: 0.1}
    """
    sweep, space, ledger = finished(tmp_path, search, epochs=1)
    assert sweep.goal.trials == 6 and sweep.goal.direction == "maximize"
    points = [tuple(entry.values.values()) for entry in ledger.entries()]
    assert points == [(o, r) for o in ("{type: SGD, momentum: 0.5}", "adam") for r in (0.1, 0.2, 0.1 + 2 * 0.1)]
    first = previous(Run.open(sweep.runs / str(ledger.entries()[0].run))).optimizer
    assert (type(first).__name__, first.learning_rate) == ("SGD", 0.1)
    last = previous(Run.open(sweep.runs / str(ledger.entries()[-1].run))).optimizer
    assert last.learning_rate == 0.3, "and not 0.30000000000000004"
    assert space.values(ledger.entries()[0].values)["optimizer"] == {"type": "SGD", "momentum": 0.5}


def test_what_promises_nothing_is_pruned_and_stays_a_run_that_can_be_used(tmp_path: Path) -> None:
    search = """
        sampler: grid
        pruner: median
        optimizer.learning_rate: {choice: [0.03, 0.02, 0.04, 0.05, 1e-9]}
    """
    sweep, _, ledger = finished(tmp_path, search, epochs=12)
    assert states(ledger) == ["completed"] * 4 + ["pruned"]
    pruned = ledger.entries()[-1]
    run = Run.open(sweep.runs / str(pruned.run))
    assert max(pruned.curve) == 2 == run.facts["epochs"] and "pruned" in run.facts["stopped"]
    assert run.status == "completed" and run.weights.exists() and run.metrics.exists()
    assert results.require_best(sweep, ledger.current()).number != pruned.number


def test_a_loss_that_becomes_nan_is_told_apart_from_a_fault(tmp_path: Path) -> None:
    search = "sampler: grid\noptimizer: {choice: [{type: SGD, learning_rate: 1e30}, adam]}"
    _, _, ledger = finished(tmp_path, search)
    assert states(ledger) == ["diverged", "completed"]


def test_the_best_spec_trains_to_the_very_figure_of_its_trial(tmp_path: Path) -> None:
    sweep, space, ledger = finished(tmp_path, f"trials: 3\n{RANGES}")
    best = results.require_best(sweep, ledger.current())
    assert best.mean == min(entry.value for entry in ledger.entries() if entry.value is not None)
    path = tmp_path / "elsewhere.yaml"
    path.write_text(results.best_spec(space, best))
    outcome = train(check(path), tmp_path / "again", threads=1)
    assert outcome.metrics["validation"]["loss"] == best.mean


def test_relative_paths_in_the_best_spec_are_made_absolute(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b,y\n" + "1,2,x\n2,1,z\n" * 20)
    path = write(tmp_path, "layers[0].units: {choice: [2, 3]}")
    text = path.read_text().splitlines()
    path.write_text("\n".join([*text[:1], "dataset: {type: csv, path: rows.csv, target: y}", *text[2:]]))
    space = open_space(path, ())
    found = results.best_spec(space, results.Candidate(0, {"layers[0].units": 3}, ()))
    assert f"path: {tmp_path / 'rows.csv'}" in found and "units: 3" in found and "search" not in found


def test_seeds_give_mean_and_deviation(tmp_path: Path) -> None:
    sweep, _, ledger = finished(tmp_path, "", "search.seeds=3", "seed=5")
    (found,) = results.candidates(ledger.current())
    specs = [previous(Run.open(sweep.runs / str(entry.run))) for entry in found.entries]
    assert [spec.seed for spec in specs] == [5, 6, 7]
    values = [float(entry.notes["figures"]["val_accuracy"]) for entry in found.entries]
    figures = found.statistics()["val_accuracy"]
    assert figures["mean"] == pytest.approx(np.mean(values)) and figures["highest"] == max(values)
    assert figures["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert found.deviation == pytest.approx(statistics.stdev(found.found)) and len(found.found) == 3


def test_with_seeds_the_best_mean_wins(tmp_path: Path) -> None:
    search = "sampler: grid\nseeds: 2\nlayers[0].activation: {choice: [relu, tanh]}"
    sweep, space, ledger = finished(tmp_path, search, epochs=1)
    found = results.candidates(ledger.current())
    assert [len(candidate.found) for candidate in found] == [2, 2]
    assert results.require_best(sweep, ledger.current()).mean == min(c.mean for c in found if c.mean is not None)
    told = results.document(sweep, space, ledger.current())
    assert told["finished"] == 4 and [t["seed"] for t in told["best"]["trials"]] == [0, 1]


def test_an_interrupted_trial_goes_on_to_the_figures_it_would_have_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = "sampler: grid\noptimizer.learning_rate: {choice: [0.01, 0.02]}"
    (tmp_path / "whole").mkdir()
    _, _, whole = finished(tmp_path / "whole", search, epochs=4)
    sweep = begun(tmp_path, search, epochs=4)
    one = worker(sweep)

    def stop_in_the_third(watcher: Any, step: int, averages: Averages) -> None:
        if watcher.run is not None and len(watcher._rows(99)) == 1 and step == 2:
            one.stopping = True
        if one.stopping:
            raise workers.Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(workers._Watcher, "batch_end", stop_in_the_third)
        one.work()
    one.close()
    assert [entry.state for entry in one.ledger.entries()] == ["interrupted", "waiting", "waiting"]
    first = one.ledger.entries()[0]
    assert Run.open(sweep.runs / str(first.run)).status == "interrupted"
    two = worker(sweep, 2)
    assert two.ledger.make_good() == [], "what was interrupted is in the queue already"
    two.work()
    again = {entry.leader: entry for entry in two.ledger.current()}
    assert {n: entry.value for n, entry in again.items()} == {entry.number: entry.value for entry in whole.entries()}
    assert again[0].run == first.run and again[0].curve == whole.entries()[0].curve
    assert len(listing(sweep.runs)) == 2, "it goes on with the same run"


def test_a_trial_whose_worker_died_is_begun_once_more_and_no_third_time(tmp_path: Path) -> None:
    sweep = begun(tmp_path, f"trials: 2\n{RANGES}")
    first, second = worker(sweep, 1), worker(sweep, 2)
    lost = first.ledger.take("w1", 1)
    kept = second.ledger.take("w2", 2)
    assert lost is not None and kept is not None
    assert first.ledger.take("w1", 1) is None, "two were asked for"

    def make_good(dead: list[str]) -> list[Entry]:
        return second.ledger.make_good(dead)

    assert [entry.number for entry in make_good(["w1"])] == [lost.number]
    assert make_good(["w1"]) == [] and states(second.ledger) == ["running", "waiting"]
    again = second.ledger.take("w3", 3)
    assert again is not None and again.params == lost.params
    make_good(["w3"])
    assert states(second.ledger) == ["running", "died"] and second.ledger.take("w2", 2) is None
    (entry,) = (entry for entry in second.ledger.current() if entry.state == "died")
    assert entry.leader == lost.number and entry.tries == 2


def test_a_free_lock_tells_that_a_worker_is_dead(tmp_path: Path) -> None:
    sweep = begun(tmp_path, f"trials: 1\n{RANGES}")
    one = worker(sweep)
    assert one.ledger.take("w1", 1) is not None
    assert one.ledger.make_good() == []
    one.close()
    assert len(one.ledger.make_good()) == 1


def test_trials_that_all_fail_alike_end_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, *given: Any) -> None:
        raise workers.Failure(workers.Problem("E404", "the data hold NaN"))

    monkeypatch.setattr(Trainer, "fit", fail)
    sweep = begun(tmp_path, f"trials: 9\n{RANGES}")
    one = worker(sweep)
    with pytest.raises(workers.Failure, match=r"all in the same way.*the data hold NaN"):
        one.work()
    assert states(one.ledger) == ["failed"] * 3


def test_the_lock_of_a_worker_that_died_while_it_wrote_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "PATIENCE", 1)
    sweep = begun(Path(), "seed: {int: [0, 9]}")
    with storage.quiet():
        storage.lock(str(sweep.journal)).acquire()
    assert not sweep.journal.is_absolute() and Ledger(sweep, sweep.space()).left() == sweep.goal.trials
