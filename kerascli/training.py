"""One training: from a checked spec to a finished run directory."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from kerascli import curves, files, keras_config, keras_files
from kerascli.adaptation import adapt
from kerascli.check import Checked
from kerascli.engine.team import cores
from kerascli.errors import Failure, Problem
from kerascli.exporters import exporter
from kerascli.exporters.base import Trained
from kerascli.keras_layout import OptimizerState, optimizer_state
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.run import History, Run, find, git_commit
from kerascli.runner import Averages, Evaluation, Logs, Runner
from kerascli.sources.base import Dataset
from kerascli.spec import checked_name, resolved
from kerascli.stored import Stored, signature_facts
from kerascli.trainer import Interrupted, Progress, Trainer


class Silence:
    """Progress that nobody watches."""

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None:
        pass

    def batch_end(self, step: int, averages: Averages) -> None:
        pass

    def epoch_end(self, epoch: int, logs: Logs, seconds: float, best: bool) -> None:
        pass

    def say(self, text: str) -> None:
        pass


@dataclass(frozen=True)
class Expectation:
    """One bound of `expect:` and what was found."""

    figure: str
    bound: str
    found: float | None
    met: bool


@dataclass
class Outcome:
    """What a training came to."""

    run: Path
    epochs: int
    seconds: float
    metrics: dict[str, Logs]
    """The final evaluation, by split."""
    best_epoch: int | None
    expectations: list[Expectation] = field(default_factory=list)

    @property
    def met(self) -> bool:
        return all(e.met for e in self.expectations)

    def facts(self) -> dict[str, Any]:
        """As one JSON document."""
        return {
            "run": str(self.run),
            "epochs": self.epochs,
            "seconds": round(self.seconds, 3),
            "best_epoch": self.best_epoch,
            "metrics": self.metrics,
            "expect": [
                {"figure": e.figure, "bound": e.bound, "found": e.found, "met": e.met} for e in self.expectations
            ],
        }


@dataclass(frozen=True)
class Logged:
    """Passes progress on, and writes what is said and each epoch's figures to the run's `train.log`."""

    inner: Progress
    run: Run

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None:
        self.inner.epoch_begin(epoch, epochs, steps, samples)

    def batch_end(self, step: int, averages: Averages) -> None:
        self.inner.batch_end(step, averages)

    def epoch_end(self, epoch: int, logs: Logs, seconds: float, best: bool) -> None:
        figures = "  ".join(f"{name} {value:.6g}" for name, value in logs.items())
        self.run.say(f"epoch {epoch + 1}  {seconds:.1f} s  {figures}{'  *' if best else ''}")
        self.inner.epoch_end(epoch, logs, seconds, best)

    def say(self, text: str) -> None:
        self.run.say(text)
        self.inner.say(text)


def train(
    checked: Checked,
    runs: Path | str = "runs",
    run_name: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train a checked spec and write its run directory.

    Raises Failure when the work fails (the run says so in `run.json`), and Interrupted after Ctrl-C, when the weights
    so far are saved.
    """
    began = time.perf_counter()
    model, loaded = Model.of(checked), checked.loaded
    run = Run.create(
        Path(runs),
        loaded.spec.name if run_name is None else _allowed(run_name),
        loaded.path.read_bytes(),
        resolved(loaded.spec),
        git_commit=git_commit(loaded.base),
        signature=signature_facts(model.signature),
    )
    try:
        return Training(model, run, threads or cores(), Logged(progress or Silence(), run)).run_through(began)
    except BaseException as error:
        _give_up(run, error)
        raise


def _allowed(name: str) -> str:
    try:
        return checked_name(name)
    except PydanticCustomError as error:
        raise Failure(Problem("E205", f"the run's name {error.message()}"), exit_code=2) from None


def _give_up(run: Run, error: BaseException) -> None:
    """Note why a run ended before its time; that its disk may be full is no reason to hide the first error."""
    with suppress(Failure):
        if run.status != "running":
            return
        if isinstance(error, KeyboardInterrupt):
            run.end("interrupted")
        else:
            run.say(f"failed: {error}")
            run.end("failed", error=f"{type(error).__name__}: {error}")


def read_data(model: Model) -> Dataset:
    """The dataset, its targets encoded as the losses want them."""
    loaded = model.loaded
    return loaded.spec.dataset.load(
        loaded.base, loaded.spec.seed, model.encodings, model.graph.inputs, model.graph.outputs
    )


class Training:
    """What one training holds: the run directory, the data, the runner with its weights, and the record of epochs."""

    def __init__(self, model: Model, run: Run, workers: int, progress: Progress) -> None:
        self.model, self.spec, self.run, self.progress = model, model.spec, run, progress
        self.data = read_data(model)
        self.compiled = keras_config.compiled(self.spec)
        self.history = History(run.history)
        self.best: int | None = None
        self._best_value, self._told = float("inf"), False
        self._describe()
        self.progress.say(self._headline())
        self.runner = Runner(model, workers, trains=True)
        self.runner.initialise()
        if source := self.spec.training.initial_weights:
            self.runner.parameters.load(initial_weights(source, run.path.parent, model))
        adapt(self.runner, self.data.train)
        data = self.data
        self.trainer = Trainer(
            self.runner, data.train, data.validation, run.path, progress, self.save_model, self.save_weights
        )

    def _describe(self) -> None:
        """Write what is known before the first step."""
        self.run.update(dataset=self.data.fingerprint)
        for note in self.data.notes:
            self.progress.say(note)
        files.write_text(self.run.preprocessing, self.data.preprocessing.to_json())
        config = keras_config.model(self.model.graph, self.spec.name, self.compiled)
        files.write_text(self.run.model, json.dumps(config))

    def _headline(self) -> str:
        """What is about to be trained, on how much."""
        graph, data = self.model.graph, self.data
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        samples = ", ".join(f"{name} {len(split):,}" for name, split in parts.items() if split)
        return f"{self.spec.name}: {len(graph.nodes)} layers, {graph.count():,} parameters; {samples}"

    def run_through(self, began: float) -> Outcome:
        """Train, evaluate, and write the results."""
        try:
            with self.runner.session, _interruptible(self.trainer):
                checks = self._checks()
                for epoch, logs, rate, seconds in self.trainer.fit(list(self.spec.callbacks)):
                    self._record(epoch, logs, rate, seconds)
                metrics = {split: check.run() for split, check in checks.items()}
        except Interrupted:
            self._write()
            self.run.end("interrupted", best_epoch=self.best, epochs=len(self.history.rows))
            raise Interrupted(str(self.run.path)) from None
        self._write()
        files.write_json(self.run.metrics, metrics)
        outcome = Outcome(self.run.path, len(self.history.rows), time.perf_counter() - began, metrics, self.best)
        outcome.expectations = expectations(self.model, outcome, self.history)
        self.run.end(
            "completed",
            best_epoch=self.best,
            epochs=outcome.epochs,
            seconds=round(outcome.seconds, 3),
            stopped=self.trainer.stop_reason,
            expect=outcome.facts()["expect"],
        )
        return outcome

    def _checks(self) -> dict[str, Evaluation]:
        """The evaluations at the end: the splits held back; the training split if there is none, or it is asked for."""
        parts = {"test": self.data.test, "validation": self.data.validation}
        if not any(parts.values()) or any(figure.startswith("train_") for figure in self.spec.expect):
            parts["train"] = self.data.train
        known = {"validation": self.trainer.validation}
        return {split: known.get(split) or self.runner.evaluation(part) for split, part in parts.items() if part}

    def _record(self, epoch: int, logs: Logs, rate: float, seconds: float) -> None:
        self.history.add(epoch, logs, rate, seconds)
        self.history.save()
        if not math.isfinite(logs["loss"]) and not self._told:
            self._told = True
            self.progress.say(
                "warning: the loss is no finite number any more; try a lower learning rate, or `clipnorm`"
            )
        watched = logs.get("val_loss", logs["loss"])
        if watched < self._best_value:
            self.best, self._best_value = epoch, watched
            self.save_weights(self.run.best_weights)
        self.progress.epoch_end(epoch, logs, seconds, self.best == epoch)

    def _write(self) -> None:
        self.save_weights(self.run.weights)
        files.write_text(self.run.curves, curves.draw(self.history.rows, self.spec.name, self.best))

    def _optimizer_state(self) -> OptimizerState:
        trainer, parameters = self.trainer, self.runner.parameters
        slots = {slot: parameters.views(flat) for slot, flat in parameters.slots.items()}
        return optimizer_state(
            self.model.graph, self.spec.name, self.spec.optimizer, trainer.iteration, trainer.learning_rate, slots
        )

    def save_weights(self, path: Path) -> None:
        """As Keras's `save_weights`."""
        weights = self.runner.parameters.weights
        keras_files.save_weights(path, self.model.graph, weights, self.spec.name, self._optimizer_state())

    def save_model(self, path: Path) -> None:
        """As Keras's `save`, in the format of the path's suffix."""
        weights, attachments = self.runner.parameters.copy(), Stored(self.run.path).attachments()
        trained = Trained(
            self.spec.name, self.model.graph, weights, self.compiled, self._optimizer_state(), attachments
        )
        exporter({".h5": "h5"}.get(path.suffix, "keras")).write(trained, path)


@contextmanager
def _interruptible(trainer: Trainer) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) lets the step finish and ends the training; the second stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        if trainer.interrupt:
            raise KeyboardInterrupt
        trainer.interrupt = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def initial_weights(source: str, runs: Path, model: Model) -> dict[str, Array]:
    """Weights to start from: a file of weights or a model, or a run."""
    path = Path(source)
    if path.is_file():
        return keras_files.load_weights(path, model.graph)
    if path.suffix in (".keras", ".h5"):
        raise Failure(Problem("E401", f"there is no file `{path}` to take the initial weights from", path))
    return keras_files.load_weights(Run.open(find(source, runs)).weights, model.graph)


def expectations(model: Model, outcome: Outcome, history: History) -> list[Expectation]:
    """`expect:` against the figures: `test_…`, `val_…` and `train_…` of the final evaluation, the last epoch's logs."""
    last = history.rows[-1] if history.rows else {}
    figures = {name: value for name, value in last.items() if value is not None}
    figures["seconds"] = outcome.seconds
    for split, logs in outcome.metrics.items():
        prefix = {"test": "test", "validation": "val", "train": "train"}[split]
        figures |= {f"{prefix}_{name}": value for name, value in logs.items()}
    found = []
    for figure, bound in model.loaded.spec.bounds().items():
        value = figures.get(figure)
        found.append(
            Expectation(figure, f"{bound.sign} {bound.limit:g}", value, value is not None and bound.holds(value))
        )
    return found
