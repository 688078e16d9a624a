"""The library's face, which the commands use too: load, train, evaluate, predict and export."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kerascli import curves, files, keras_config, keras_files
from kerascli.adaptation import adapt
from kerascli.check import Checked
from kerascli.errors import Failure, Problem
from kerascli.exporters import exporter
from kerascli.exporters.base import Trained
from kerascli.keras_layout import OptimizerState, optimizer_state
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.program.build import prediction_program, training_program
from kerascli.program.plan import Plan, make_plan
from kerascli.program.program import Program
from kerascli.run import History, Run, find, git_commit
from kerascli.sources.base import Dataset, Split
from kerascli.sources.raw import read_inputs, read_split
from kerascli.spec import load, resolved
from kerascli.stored import Stored, export, signature_facts
from kerascli.trainer import Averages, Interrupted, Logs, Progress, Runner, Trainer

__all__ = ["Outcome", "evaluate", "export", "load", "predict", "train"]


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


def workers_here() -> int:
    """Cores this process may use."""
    with suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
        run_name or loaded.spec.name,
        loaded.path.read_bytes(),
        resolved(loaded.spec),
        git_commit=git_commit(loaded.base),
        signature=signature_facts(model.signature),
    )
    try:
        return _train(model, run, threads or workers_here(), progress or Silence(), began)
    except Interrupted:
        raise
    except BaseException as error:
        run.end("failed", error=f"{type(error).__name__}: {error}")
        raise


def read_data(model: Model) -> Dataset:
    """The dataset, its targets encoded as the losses want them."""
    loaded = model.loaded
    return loaded.spec.dataset.load(
        loaded.base, loaded.spec.seed, model.encodings, model.graph.inputs, model.graph.outputs
    )


def _train(model: Model, run: Run, workers: int, progress: Progress, began: float) -> Outcome:
    spec, graph = model.loaded.spec, model.graph
    data = read_data(model)
    run.update(dataset=data.fingerprint)
    for note in data.notes:
        progress.say(note)
    files.write_text(run.preprocessing, data.preprocessing.to_json())
    compiled = keras_config.compiled(spec)
    files.write_text(run.model, json.dumps(keras_config.model(graph, spec.name, compiled)))
    runner = Runner(model, workers, trains=True)
    runner.initialise()
    if spec.training.initial_weights:
        runner.parameters.load(initial_weights(spec.training.initial_weights, Path(run.path).parent, model))
    adapt(runner, data.train)

    def state() -> OptimizerState:
        slots = {slot: runner.parameters.views(flat) for slot, flat in runner.parameters.slots.items()}
        return optimizer_state(graph, spec.name, spec.optimizer, trainer.iteration, trainer.learning_rate, slots)

    def save_weights(path: Path) -> None:
        keras_files.save_weights(path, graph, runner.parameters.weights, spec.name, state())

    def save_model(path: Path) -> None:
        attachments = Stored(run.path).attachments()
        trained = Trained(spec.name, graph, runner.parameters.copy(), compiled, state(), attachments)
        exporter({".h5": "h5"}.get(path.suffix, "keras")).write(trained, path)

    trainer = Trainer(runner, data.train, data.validation, run.path, progress, save_model, save_weights)
    history, best, best_value = History(run.history), None, float("inf")
    try:
        with runner.session, _interruptible(trainer):
            finals = {"test": data.test, "validation": data.validation}
            if (not data.test and not data.validation) or any(f.startswith("train_") for f in spec.expect):
                finals["train"] = data.train
            checks = {
                split: trainer.validation
                if split == "validation" and trainer.validation
                else runner.evaluation(part, min(spec.training.batch_size, len(part)))
                for split, part in finals.items()
                if part
            }
            for epoch, logs, rate, seconds in trainer.fit(list(spec.callbacks)):
                history.add(epoch, logs, rate, seconds)
                history.save()
                watched = logs.get("val_loss", logs["loss"])
                if watched < best_value:
                    best, best_value = epoch, watched
                    save_weights(run.best_weights)
                progress.epoch_end(epoch, logs, seconds, best == epoch)
            metrics = {split: check.run() for split, check in checks.items() if check}
    except Interrupted:
        save_weights(run.weights)
        files.write_text(run.curves, curves.draw(history.rows, spec.name, best))
        run.end("interrupted", best_epoch=best, epochs=len(history.rows))
        raise Interrupted(str(run.path)) from None
    save_weights(run.weights)
    files.write_json(run.metrics, metrics)
    files.write_text(run.curves, curves.draw(history.rows, spec.name, best))
    outcome = Outcome(run.path, len(history.rows), time.perf_counter() - began, metrics, best)
    outcome.expectations = expectations(model, outcome, history)
    run.end(
        "completed",
        best_epoch=best,
        epochs=outcome.epochs,
        seconds=round(outcome.seconds, 3),
        stopped=trainer.stop_reason,
        expect=outcome.facts()["expect"],
    )
    return outcome


@contextmanager
def _interruptible(trainer: Trainer) -> Iterator[None]:
    """The first Ctrl-C lets the step finish and ends the training; the second stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        if trainer.interrupt:
            raise KeyboardInterrupt
        trainer.interrupt = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def initial_weights(source: str, runs: Path, model: Model) -> dict[str, Array]:
    """Weights to start from: a file of weights or a model, or a run."""
    path = Path(source)
    if path.is_file():
        return keras_files.load_weights(path, model.graph)
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


def plan(checked: Checked, predict: bool = False) -> tuple[Program, Plan]:
    """The program of a training step (or of prediction), and how it is run."""
    model, training = Model.of(checked), checked.loaded.spec.training
    exact = training.convolution == "direct"
    program = (
        prediction_program(model.graph, exact)
        if predict
        else training_program(model.graph, model.targets, training.class_weight is not None, exact)
    )
    return program, make_plan(program.sinks(), training.batch_size)


def opened(stored: Stored, which: str, workers: int | None) -> Runner:
    """A stored model on the engine."""
    runner = Runner(Model.stored(stored.loaded, stored.signature), workers or workers_here())
    runner.parameters.load(stored.weights(which))
    return runner


def evaluate(
    stored: Stored, split: str | None = None, which: str = "last", threads: int | None = None, data: Path | None = None
) -> tuple[str, Logs]:
    """Loss and metrics of a split: the named one, else test, else validation, else train. Returns its name too."""
    runner = opened(stored, which, threads)
    if data is not None:
        name, part = str(data), data_split(stored, runner.model, data)
    else:
        name, part = _split(read_data(runner.model), split)
    with runner.session:
        batch = min(runner.spec.training.batch_size, len(part))
        return name, runner.evaluation(part, batch).run()


def data_split(stored: Stored, model: Model, path: Path) -> Split:
    """Another dataset for a stored model: a spec's, or a file of the kind it was trained on."""
    if path.suffix in (".yaml", ".yml"):
        other = load(path)
        dataset = other.spec.dataset.load(
            other.base, other.spec.seed, model.encodings, model.graph.inputs, model.graph.outputs
        )
        return _split(dataset, None)[1]
    return read_split(path, stored.preprocessing, model.signature.inputs)[0]


def _split(data: Dataset, name: str | None) -> tuple[str, Split]:
    parts = {"test": data.test, "validation": data.validation, "train": data.train}
    for key, part in parts.items():
        if part is not None and name in (None, key):
            return key, part
    have = ", ".join(key for key, part in parts.items() if part is not None)
    raise Failure(Problem("E507", f"the dataset has no {name} split", help=f"it has {have}"))


def predict(
    stored: Stored,
    inputs: Sequence[str],
    which: str = "last",
    threads: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Model, dict[str, Array]]:
    """The outputs of raw files (`-` is standard input) for all samples in order, and the model they come from."""
    runner = opened(stored, which, threads)
    signature = runner.model.signature
    allow = runner.model.spec.dataset.allow_nan
    with runner.session:
        blocks = [
            runner.predict(block)
            for block in read_inputs(inputs, stored.preprocessing, signature.inputs, allow_nan=allow, say=say)
        ]
    return runner.model, {name: np.concatenate([b[name] for b in blocks]) for name in runner.model.graph.outputs}
