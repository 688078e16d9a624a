"""Runs of the MLflow callback, read back with MLflow's own client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kerascli.check import check
from kerascli.errors import Failure
from kerascli.launch import resume, train
from kerascli.resume import checked_again
from kerascli.run import History, Run
from kerascli.training import Silence

pytest.importorskip("mlflow")
SPEC = """
name: points
dataset: {type: synthetic, kind: classification, samples: 60, shape: [4], classes: 3, validation_split: 0.2}
layers: [{type: Dense, units: 3, activation: softmax, name: scores}]
loss: sparse_categorical_crossentropy
metrics: [accuracy]
training: {epochs: 3, batch_size: 16}
callbacks:
  - {type: MLflow, experiment: pairs, tracking_uri: URI}
"""


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Files, for tables take long to make."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return (tmp_path / "mlruns").as_uri()


def write_spec(folder: Path, uri: str, more: str = "") -> Path:
    path = folder / "points.yaml"
    path.write_text(SPEC.replace("URI", uri) + more)
    return path


def read(uri: str) -> tuple[Any, list[Any]]:
    """The client, and the runs of the experiment."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return client, client.search_runs([client.get_experiment_by_name("pairs").experiment_id])


def test_parameters_figures_and_files_are_those_of_the_run(uri: str, tmp_path: Path) -> None:
    outcome = train(check(write_spec(tmp_path, uri)), tmp_path / "runs", threads=1)
    client, (found,) = read(uri)
    assert found.info.status == "FINISHED" and found.info.run_name == outcome.run.name
    params = found.data.params
    assert params["layers.0.units"] == "3" and params["optimizer.type"] == "RMSprop" and params["name"] == "points"
    assert params["training.batch_size"] == "16" and params["dataset.shape"] == "[4]"
    rows = History.load(outcome.run / "history.csv").rows
    for name in ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"):
        history = client.get_metric_history(found.info.run_id, name)
        assert [(m.step, m.value) for m in history] == [(k, row[name]) for k, row in enumerate(rows)]
    assert found.data.metrics["validation_loss"] == outcome.metrics["validation"]["loss"]
    files = {file.path: file.file_size for file in client.list_artifacts(found.info.run_id)}
    assert {"spec.yaml", "run.json", "history.csv", "metrics.json", "model.json", "model.weights.h5"} <= files.keys()
    assert files["history.csv"] == (outcome.run / "history.csv").stat().st_size
    stored = client.download_artifacts(found.info.run_id, "run.json", str(tmp_path))
    assert json.loads(Path(stored).read_text())["status"] == "completed"


def test_a_resumed_run_goes_on_in_the_same_mlflow_run_and_logs_nothing_twice(uri: str, tmp_path: Path) -> None:
    from kerascli.trainer import Interrupted

    class Stops(Silence):
        """Ctrl-C after the second epoch."""

        def epoch_end(self, epoch: int, *rest: Any) -> None:
            if epoch == 1:
                raise KeyboardInterrupt

    path = write_spec(tmp_path, uri)
    with pytest.raises(Interrupted):
        train(check(path), tmp_path / "runs", threads=1, progress=Stops())
    client, (found,) = read(uri)
    assert found.info.status == "KILLED"
    (folder,) = (tmp_path / "runs").iterdir()
    run = Run.open(folder)
    resume(run, checked_again(run), threads=1)
    run = Run.open(folder)
    resume(run, checked_again(run, None, ["training.epochs=5"]), threads=1)
    client, (again,) = read(uri)
    assert again.info.run_id == found.info.run_id and again.info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(again.info.run_id, "loss")] == [0, 1, 2, 3, 4]


def test_a_run_that_fails_is_failed_there_too(uri: str, tmp_path: Path) -> None:
    hot = SPEC.replace("training:", "optimizer: {type: SGD, learning_rate: 1.0e+38}\ntraining:").replace("URI", uri)
    (tmp_path / "hot.yaml").write_text(hot)
    with pytest.raises(Failure):
        train(check(tmp_path / "hot.yaml"), tmp_path / "runs", threads=1)
    _, (found,) = read(uri)
    assert found.info.status == "FAILED"


def test_a_store_that_cannot_be_is_one_problem_before_training(uri: str, tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        train(check(write_spec(tmp_path, "nonsense://here")), tmp_path / "runs", threads=1)
    (problem,) = caught.value.problems
    assert problem.code == "E517" and "nonsense" in problem.message
    (folder,) = (tmp_path / "runs").iterdir()
    assert not (folder / "history.csv").exists() and Run.open(folder).status == "failed"


def test_a_store_that_is_lost_while_training_ends_nothing(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaks(Silence):
        """Takes the store away after the first epoch."""

        def __init__(self) -> None:
            self.lines: list[str] = []

        def epoch_end(self, epoch: int, *rest: Any) -> None:
            monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
            for folder in (tmp_path / "mlruns").rglob("meta.yaml"):
                folder.unlink()

        def say(self, text: str) -> None:
            self.lines.append(text)

    heard = Breaks()
    outcome = train(check(write_spec(tmp_path, uri)), tmp_path / "runs", threads=1, progress=heard)
    assert outcome.epochs == 3 and sum("MLflow takes nothing any more" in line for line in heard.lines) == 1


def test_an_absent_package_is_told_with_its_command_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else found(name))
    with pytest.raises(Failure) as caught:
        check(write_spec(tmp_path, "sqlite:///store.db"))
    (problem,) = caught.value.problems
    assert problem.code == "E516" and problem.where.line == 9  # type: ignore[union-attr]
    assert 'pip install "kerascli[mlflow]"' in problem.help
