"""A run that is trained once more comes to the same bits, and what does not is named; bounds are reported to CI."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import h5py
import pytest

from kerascli import api
from kerascli.check import check
from kerascli.checkpoint import INTERVAL
from kerascli.cli.train import SAVE_EVERY
from kerascli.errors import Failure
from kerascli.run import Run
from kerascli.verify import Verification, verify
from tests.cli.session import SMALL, Shell


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "spec.yaml").write_text(SMALL)
    return Run.open(api.train(check(tmp_path / "spec.yaml"), tmp_path / "runs", threads=1).run)


def differing(found: Verification) -> dict[str, str]:
    return {c.what: c.words for c in found.comparisons if not c.same}


def test_a_run_is_verified_with_any_number_of_threads(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    found = verify(run, threads=2)
    assert found.same and not found.circumstances and not differing(found)
    told = {c.what: c.words for c in found.comparisons}
    assert told["loss"] == "2 epochs" and told["weights"] == "1,210 numbers in 4 arrays" and "test figures" in told
    answer = Shell(run.path.parent.parent, capfd)("verify", "latest", "--json", "--quiet")
    assert answer.code == 0 and answer.document["same"] and answer.document["comparisons"][0]["what"] == "data"
    assert [p.name for p in run.path.parent.iterdir()] == [run.name], "nothing is left behind"


def test_what_differs_is_named_with_its_circumstances(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run.history.write_text(run.history.read_text().replace("\n1,", "\n1,7"))
    with h5py.File(run.weights, "r+") as file:
        file["layers/dense/vars/1"][3] += 0.25
    run.update(versions={**run.facts["versions"], "numpy": "1.0"})
    found = verify(run)
    told = differing(found)
    assert set(told) == {"accuracy", "weights of dense/bias"}
    assert (
        told["accuracy"].startswith("epoch 2: ") and told["weights of dense/bias"] == "1 of 16 numbers, by 0.25 at most"
    )
    assert [c for c in found.circumstances if c.startswith("numpy ") and c.endswith(", was 1.0")]
    answer = Shell(run.path.parent.parent, capfd)("verify", "latest", "--quiet")
    assert answer.code == 1 and "DIFFERS" in answer.out and "was 1.0" in answer.out


def test_only_a_completed_run_can_be_verified(run: Run) -> None:
    run.update(status="interrupted")
    with pytest.raises(Failure, match="is interrupted: there are no final weights yet"):
        verify(run)


def test_weights_to_start_from_are_kept_by_path_and_not_by_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "next.yaml").write_text(SMALL.replace("epochs: 2", "epochs: 1, initial_weights: latest"))
    second = Run.open(api.train(check(tmp_path / "next.yaml"), tmp_path / "runs", threads=1).run)
    assert f"initial_weights: {run.path}" in second.resolved.read_text()
    assert verify(second, threads=1).same


def test_bounds_are_reported_as_junit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bounds = 'expect: {test_accuracy: ">= 0.99", seconds: "< 100", val_loss: "> 0"}\n'
    shell = Shell(tmp_path, capfd)
    shell.write(SMALL + bounds)
    answer = shell("train", "spec.yaml", "--junit", "reports/junit.xml", "--threads", 1)
    assert answer.code == 1 and "MISSED" in answer.err
    suites = ElementTree.parse(tmp_path / "reports/junit.xml").getroot()
    (suite,) = suites
    assert suites.tag == "testsuites" and suite.attrib["tests"] == "4" and suite.attrib["failures"] == "1"
    cases = {case.attrib["name"]: case for case in suite}
    assert list(cases) == ["trained 2 epochs", "test_accuracy >= 0.99", "seconds < 100", "val_loss > 0"]
    (failure,) = suite.iter("failure")
    assert "expected test_accuracy >= 0.99, found 0." in failure.attrib["message"]
    assert cases["seconds < 100"].find("failure") is None and float(suite.attrib["time"]) > 0


def test_a_place_that_reports_cannot_go_to_is_told_before_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path, capfd)
    shell.write(SMALL)
    for place in ("spec.yaml/junit.xml", "."):
        answer = shell("train", "spec.yaml", "--junit", place)
        assert answer.code == 1 and "error[E501]" in answer.err and not (tmp_path / "runs").exists()


def test_a_figure_that_no_run_has_is_located(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shell = Shell(tmp_path, capfd)
    shell.write(SMALL + 'expect: {test_acuracy: ">= 0.99"}\n')
    answer = shell("train", "spec.yaml")
    assert answer.code == 2 and "error[E315]" in answer.err and "spec.yaml:9:10" in answer.err
    assert "did you mean `test_accuracy`?" in answer.err and not (tmp_path / "runs").exists()


def test_a_run_that_was_not_trained_here_has_nothing_to_repeat_or_resume(run: Run) -> None:
    del run.facts["epochs"]
    run.update()
    with pytest.raises(Failure, match="was not trained here: there is nothing to repeat"):
        verify(run)
    with pytest.raises(Failure, match="was not trained here: it has no checkpoint"):
        api.resume(run, api.checked_again(run))


def test_words_of_resuming_are_checked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert SAVE_EVERY == INTERVAL
    shell = Shell(tmp_path, capfd)
    shell.write(SMALL)
    for words, told in {
        (): "say which SPEC to train",
        ("--resume", "latest", "--run-name", "x"): "keeps its name",
        ("--resume", "latest"): "error[E502]: no run `latest`",
        ("spec.yaml", "--save-every", "-1"): "save-every",
    }.items():
        answer = shell("train", *words)
        assert answer.code in (1, 2) and told in answer.err and "Traceback" not in answer.err
