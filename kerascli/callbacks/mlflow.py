"""MLflow."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kerascli import files, yamltext
from kerascli.callbacks import paths
from kerascli.callbacks.base import Callback, State, TrainingView
from kerascli.component import Example
from kerascli.errors import Failure, Problem

RECORD = "mlflow.json"
"""File in the run directory that says which MLflow run it is, and how many of its epochs are logged."""
AT_ONCE = 100
"""Parameters that MLflow takes in one request."""
LONGEST = 500
"""Signs of a parameter; what is longer is cut."""
STATUSES = {"completed": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflow(Callback):
    """Logs the run to MLflow: the resolved spec as parameters, figures by epoch, and the run's files at the end.

    Needs `pip install "kerascli[mlflow]"`. Parameters are named by their place in the spec, such as `layers.0.units`.
    A resumed run goes on in the same MLflow run, which `mlflow.json` in the run directory names. Once training has
    begun, a server that does not answer is no reason to end it. Keras has no such callback.
    """

    requires: ClassVar[str] = "mlflow"
    examples = (Example(), Example({"experiment": "digits", "run_name": "first", "log_artifacts": False}))

    experiment: str | None = Field(None, min_length=1)
    """Name of the experiment, which is made where there is none; by default the name of the spec."""
    run_name: str | None = Field(None, min_length=1)
    """Name of the run in MLflow; by default that of the run directory."""
    tracking_uri: str | None = Field(None, min_length=1)
    """Where MLflow keeps runs: a server or a database; by default as MLflow says, `$MLFLOW_TRACKING_URI` first."""
    log_artifacts: bool = True
    """Whether the files of the run directory, checkpoints excepted, are stored with the run at its end."""

    def conflict(self, earlier: Callback) -> tuple[str, str] | None:
        if isinstance(earlier, MLflow):
            return "a run is logged to one run of MLflow, and another logs it already", "leave one of the two out"
        return super().conflict(earlier)

    def begin(self, view: TrainingView) -> State:
        try:
            self._opened(view)
        except _errors() as error:
            where = f" at `{self.tracking_uri}`" if self.tracking_uri else ""
            help = "give `tracking_uri: sqlite:///mlflow.db`, or the address of a server that runs"
            raise Failure(Problem("E517", f"MLflow{where} cannot be used: {_first_line(error)}", help=help)) from error
        return {"gave_up": None}

    def epoch_end(self, state: State, epoch: int, logs: dict[str, float], view: TrainingView) -> None:
        def log() -> None:
            client, record = self._opened(view)
            if epoch < record["epochs"]:
                return  # trained once more after a resume, to the same figures
            _log(client, record["run_id"], {**logs, "learning_rate": view.learning_rate}, epoch)
            _keep(view, {**record, "epochs": epoch + 1})

        self._attempt(state, view, log)

    def ended(self, state: State, status: str, view: TrainingView) -> None:
        def finish() -> None:
            client, record = self._opened(view)
            if status == "completed":
                _log(client, record["run_id"], _finals(view.run_dir), record["epochs"])
                for path in _artifacts(view.run_dir) if self.log_artifacts else ():
                    client.log_artifact(record["run_id"], str(path))
            client.set_terminated(record["run_id"], STATUSES[status])
            _keep(view, {**record, "status": STATUSES[status]})

        self._attempt(state, view, finish)

    def _attempt(self, state: State, view: TrainingView, work: Callable[[], None]) -> None:
        """Do the work; where MLflow fails, say so and leave it in peace until the run is resumed."""
        if state["gave_up"] == os.getpid():
            return
        try:
            work()
        except _errors() as error:
            state["gave_up"] = os.getpid()
            view.say(f"warning: MLflow takes nothing any more, and training goes on: {_first_line(error)}")

    def _opened(self, view: TrainingView) -> tuple[Any, dict[str, Any]]:
        """A client, and the record of the run, which is begun where there is none, and running."""
        client = _client(self.tracking_uri)
        path = view.run_dir / RECORD
        if not path.is_file():
            record = self._begun(client, view)
            _keep(view, record)
            return client, record
        record = json.loads(path.read_text("utf-8"))
        if record["status"] != "RUNNING":
            client.update_run(record["run_id"], "RUNNING")
            record["status"] = "RUNNING"
            _keep(view, record)
        return client, record

    def _begun(self, client: Any, view: TrainingView) -> dict[str, Any]:
        """A new run of the experiment, with the spec as its parameters."""
        from mlflow.entities import Param

        text = view.run_dir / "resolved.yaml"
        spec = yamltext.parse(text.read_bytes(), str(text)).value if text.is_file() else {}
        name = self.experiment or str(spec.get("name", "kerascli"))
        known = client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else client.create_experiment(name)
        tags = {"mlflow.source.name": "kerascli", "kerascli.run": str(view.run_dir.resolve())}
        run = client.create_run(experiment, tags=tags, run_name=self.run_name or view.run_dir.name)
        params = [Param(_allowed(key), value) for key, value in _flat(spec) if key]
        for start in range(0, len(params), AT_ONCE):
            client.log_batch(run.info.run_id, params=params[start : start + AT_ONCE])
        return {"run_id": run.info.run_id, "experiment_id": experiment, "status": "RUNNING", "epochs": 0}


def _client(uri: str | None) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody asked for it
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # not of the tables that it makes
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _errors() -> tuple[type[Exception], ...]:
    """What MLflow raises: its own error, what the network or a disk does, a driver that is not installed."""
    from mlflow.exceptions import MlflowException

    return MlflowException, OSError, ImportError


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _keep(view: TrainingView, record: Mapping[str, Any]) -> None:
    files.write_json(paths.place(view.run_dir, RECORD), record)


def _log(client: Any, run: str, figures: Mapping[str, float], step: int) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    client.log_batch(run, metrics=[Metric(_allowed(k), float(v), now, step) for k, v in figures.items()])


def _finals(run_dir: Path) -> dict[str, float]:
    """The final evaluation: `test_loss` and so on."""
    path = run_dir / "metrics.json"
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return {f"{split}_{name}": float(value) for split, logs in found.items() for name, value in logs.items()}


def _artifacts(run_dir: Path) -> list[Path]:
    return sorted(p for p in run_dir.iterdir() if p.is_file() and p.name != RECORD and not p.name.startswith("."))


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(`layers.0.units`, `64`) of every value; a list of plain values is one."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if parts and (isinstance(value, dict) or any(isinstance(part, (dict, list)) for part in value)):
        for key, part in parts:
            yield from _flat(part, f"{place}.{key}" if place else str(key))
    else:
        text = value if isinstance(value, str) else yamltext.inline(value)
        yield place, text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _allowed(name: str) -> str:
    """With the signs that MLflow allows in names."""
    return re.sub(r"[^\w\-. /:]", "_", name)
