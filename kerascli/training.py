"""One training: from the data and the first weights, or a checkpoint, to a finished run directory."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kerascli import curves, files, keras_config, keras_files, keras_named
from kerascli.adaptation import adapt
from kerascli.callbacks import paths
from kerascli.callbacks.backup_and_restore import BackupAndRestore
from kerascli.checkpoint import KEPT, Checkpoints, State
from kerascli.diagnosis.examiner import Examiner
from kerascli.diagnosis.finding import Finding
from kerascli.engines.cluster import Cluster
from kerascli.errors import Failure, Problem
from kerascli.exporters import exporter
from kerascli.exporters.base import Trained
from kerascli.files import cannot_read
from kerascli.host import raw_inputs
from kerascli.keras_layout import OptimizerState, optimizer_state
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.outcome import Outcome, expectations
from kerascli.run import History, Run, differing, find
from kerascli.runner import Averages, Evaluation, Logs, Runner
from kerascli.sources.arrays import require_two_classes
from kerascli.sources.base import Dataset
from kerascli.spec import LayerWeights
from kerascli.stored import Stored
from kerascli.trainer import Interrupted, Progress, Trainer


class Silence:
    """Progress that nobody watches."""

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None:
        pass

    def batch_end(self, step: int, averages: Averages) -> None:
        pass

    def epoch_end(self, epoch: int, logs: Logs, rate: float, seconds: float, best: bool) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def happened(self, what: str, facts: Mapping[str, Any]) -> None:
        pass


@dataclass(frozen=True)
class Logged:
    """Passes progress on, and writes what is said and each epoch's figures to the run's `train.log`."""

    inner: Progress
    run: Run

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None:
        self.inner.epoch_begin(epoch, epochs, steps, samples)

    def batch_end(self, step: int, averages: Averages) -> None:
        self.inner.batch_end(step, averages)

    def epoch_end(self, epoch: int, logs: Logs, rate: float, seconds: float, best: bool) -> str | None:
        figures = "  ".join(f"{name} {value:.6g}" for name, value in logs.items())
        self.run.say(f"epoch {epoch + 1}  {seconds:.1f} s  {figures}{'  *' if best else ''}")
        return self.inner.epoch_end(epoch, logs, rate, seconds, best)

    def say(self, text: str) -> None:
        self.run.say(text)
        self.inner.say(text)

    def happened(self, what: str, facts: Mapping[str, Any]) -> None:
        self.inner.happened(what, facts)


def read_data(model: Model) -> Dataset:
    """The dataset, its targets encoded as the losses want them."""
    loaded, graph = model.loaded, model.graph
    names = (graph.inputs, graph.outputs, raw_inputs(graph.nodes))
    found = loaded.spec.dataset.load(loaded.base, loaded.spec.seed, model.encodings, *names)
    learned = found.preprocessing.model_copy(update={"layers": model.signature.learned})
    return replace(found, preprocessing=learned)


class Training:
    """What one training holds: the run directory, the data, the runner with its weights, and the record of epochs."""

    def __init__(
        self,
        model: Model,
        run: Run,
        workers: int,
        progress: Progress,
        save_every: float,
        began: float,
        resumed: bool = False,
        cluster: Cluster | None = None,
    ) -> None:
        self.model, self.spec, self.run, self.progress = model, model.spec, run, progress
        self.data = read_data(model)
        if self.spec.dataset.limit is None:
            require_two_classes(self.data.train, self.data.preprocessing.targets)
        if resumed:
            _require_same_data(run, model, self.data)
        self.compiled = keras_config.compiled(self.spec)
        self.checkpoints = _checkpoints(run, model, save_every)
        self.history = History(run.history)
        self.best: int | None = None
        self._best_value = float("inf")
        self._began, self._before = began, 0.0
        keras = self.spec.training.engine == "keras"
        self.runner = Runner(model, workers, trains=True, processes=False if keras else None)
        state = self.checkpoints.newest(progress.say) if resumed else None
        if state is None:
            self._start(resumed)
        self.trainer = self._trainer(cluster)
        self.examiner = Examiner(model, self.data, self.trainer, self._tell)
        if state is not None:
            self._restore(state)

    def _trainer(self, cluster: Cluster | None) -> Trainer:
        """On the engine that the spec asks for; Keras is loaded only where it does."""
        given = (self.runner, self.data.train, self.data.validation, self.run.path, self.progress)
        saves = (self.save_model, self.save_weights)
        if self.spec.training.engine == "numpy":
            return Trainer(*given, *saves, self)
        from kerascli.engines.keras_trainer import KerasTrainer

        return KerasTrainer(*given, *saves, self, cluster)

    def _start(self, resumed: bool) -> None:
        """From the beginning."""
        if resumed and self.run.status == "completed":
            help = "`BackupAndRestore` keeps them with `delete_checkpoint: false`; train a new run from its weights"
            raise Failure(Problem("E514", "the run has no checkpoint to go on from", self.run.checkpoints, help=help))
        if resumed:
            self.progress.say("there is no checkpoint yet: training begins anew")
        self.runner.initialise()
        if source := self.spec.training.initial_weights:
            self.runner.parameters.load(initial_weights(source, self.run.path.parent, self.model))
        adapt(self.runner, self.data.train)

    # ---- what a checkpoint holds

    def _state(self) -> State:
        record = {"best": self.best, "best_value": self._best_value, "seconds": self._seconds()}
        return {"trainer": self.trainer.state(), "record": {**record, "found": self.examiner.found}}

    def _restore(self, state: State) -> None:
        """Stand where the checkpoint was written; later epochs of the history are trained once more."""
        try:
            self.trainer.restore(state["trainer"])
            record = state["record"]
            self.best, self._best_value = record["best"], record["best_value"]
            self._before, self.examiner.found = record["seconds"], list(record.get("found", ()))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            message = f"the checkpoint does not fit the model: {error}"
            raise Failure(Problem("E513", message, self.checkpoints.folder)) from error
        trainer = self.trainer
        self.history = History.load(self.run.history)
        self.history.cut(trainer.epoch)
        if len(self.history.rows) != trainer.epoch:
            self.progress.say(f"warning: `history.csv` lacks some of the {trainer.epoch} epochs that are trained")
        if differences := differing(self.run.facts):
            self.progress.say(f"warning: the last digits may differ from here on: {'; '.join(differences)}")
        before, now = self.run.facts.get("engine", "numpy"), trainer.engine["engine"]
        if before != now:
            self.run.update(engines_before=[*self.run.facts.get("engines_before", ()), before])
            self.progress.say(f"the engine is {now} from here on, and was {before}: the last digits may differ")
        within = f" and {trainer.step} of {trainer.steps} steps" if trainer.step else ""
        self.progress.say(f"resumed after {trainer.epoch} epochs{within}")
        if trainer.stop_reason and self.spec.training.epochs > trainer.epoch:
            self.progress.say(f"more epochs would change nothing, for training was ended: {trainer.stop_reason}")

    def _save_state(self) -> None:
        trainer = self.trainer
        self.checkpoints.save(trainer.iteration, self._state())
        facts = {"epoch": trainer.epoch, "step": trainer.step, "iteration": trainer.iteration}
        self.progress.happened("checkpoint_saved", {**facts, "folder": str(self.checkpoints.folder)})

    # ---- what stands by while the steps are made

    def before_steps(self) -> None:
        self.examiner.before_steps()

    def broken(self) -> None:
        self.examiner.broken()

    def after_step(self) -> None:
        self.examiner.after_step()
        if self.checkpoints.due(self.trainer.iteration, epoch_ended=False):
            self._save_state()

    def _seconds(self) -> float:
        """What the training has taken so far, in all its processes."""
        return self._before + time.perf_counter() - self._began

    def _describe(self) -> None:
        """Write what is known before the first step."""
        self.progress.say(self._headline())
        facts = {"dataset": self.data.fingerprint, "threads": self.runner.session.workers, **self.trainer.engine}
        self.run.update(**facts)
        for note in self.data.notes:
            self.progress.say(note)
        files.write_text(self.run.preprocessing, self.data.preprocessing.to_json())
        config = keras_config.model(self.model.graph, self.spec.name, self.compiled)
        files.write_text(self.run.model, json.dumps(config))
        if self.trainer.iteration == 0:
            self.examiner.before()

    def _tell(self, found: list[dict[str, Any]], finding: Finding | None) -> None:
        """Keep what was found with the run, and show the last of it."""
        self.run.update(diagnoses=found)
        if finding:
            self.progress.say(finding.line)
        self.progress.happened("diagnosis", found[-1])

    def _headline(self) -> str:
        """What is about to be trained, on how much."""
        graph, data = self.model.graph, self.data
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        samples = ", ".join(f"{name} {len(split):,}" for name, split in parts.items() if split)
        return f"{self.spec.name}: {len(graph.layers)} layers, {graph.count():,} parameters; {samples}"

    def run_through(self) -> Outcome:
        """Train, evaluate, write the results, and let the callbacks know how it ended."""
        try:
            outcome = self._through()
        except BaseException as error:
            self._ended("interrupted" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "failed")
            raise
        self._ended("completed")
        return outcome

    def _ended(self, status: str) -> None:
        for callback, state in zip(self.spec.callbacks, self.trainer.states or (), strict=False):
            callback.ended(state, status, self.trainer)

    def _through(self) -> Outcome:
        self._describe()
        trainer = self.trainer
        try:
            with self.runner.session, _interruptible(trainer):
                checks = self._checks()
                for epoch, logs, rate, seconds in trainer.fit(list(self.spec.callbacks)):
                    self._record(epoch, logs, rate, seconds)
                metrics = {}
                for split, check in checks.items():
                    metrics[split] = check.run(trainer.pause)
                    self.progress.happened("evaluation", {"split": split, "logs": metrics[split]})
                self._write()
        except Interrupted:
            self._put_aside()
            raise Interrupted(str(self.run.path)) from None
        files.write_json(self.run.metrics, metrics)
        outcome = Outcome(self.run.path, len(self.history.rows), self._seconds(), metrics, self.best)
        outcome.expectations = expectations(self.spec, outcome, self.history)
        outcome.data_wait = trainer.data_wait
        if trainer.waited > 1:
            self.progress.say(f"{outcome.data_wait['share']:.1%} of the steps' time was spent waiting for data")
        self.run.end(
            "completed",
            best_epoch=self.best,
            epochs=outcome.epochs,
            seconds=round(outcome.seconds, 3),
            stopped=trainer.stop_reason,
            expect=outcome.facts()["expect"],
            data_wait=outcome.data_wait,
        )
        if any(c.delete_checkpoint for c in self.spec.callbacks if isinstance(c, BackupAndRestore)):
            self.checkpoints.clear()
        return outcome

    def _put_aside(self) -> None:
        """After Ctrl-C: the checkpoint, the weights so far, and nothing of a completed run that this was before."""
        if not self.trainer.ended:
            self._save_state()
        self._write()
        self.run.metrics.unlink(missing_ok=True)
        self.run.end("interrupted", best_epoch=self.best, epochs=len(self.history.rows))

    def _checks(self) -> dict[str, Evaluation]:
        """The evaluations at the end: the splits held back; the training split if there is none, or it is asked for."""
        parts = {"test": self.data.test, "validation": self.data.validation}
        if not any(parts.values()) or any(figure.startswith("train_") for figure in self.spec.expect):
            parts["train"] = self.data.train
        known = {"validation": self.trainer.validation}
        return {split: known.get(split) or self.trainer.evaluation(part) for split, part in parts.items() if part}

    def _record(self, epoch: int, logs: Logs, rate: float, seconds: float) -> None:
        self.history.add(epoch, logs, rate, seconds)
        self.history.save()
        self.examiner.require_finite()
        watched = logs.get("val_loss", logs["loss"])
        if watched < self._best_value:
            self.best, self._best_value = epoch, watched
            self.save_weights(self.run.best_weights)
        if reason := self.progress.epoch_end(epoch, logs, rate, seconds, self.best == epoch):
            self.trainer.stop(reason)
        self.examiner.epoch_end(epoch, self.history.rows)
        last = epoch + 1 >= self.spec.training.epochs or self.trainer.stop_reason is not None
        if last or self.checkpoints.due(self.trainer.iteration, epoch_ended=True):
            self._save_state()

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


def _checkpoints(run: Run, model: Model, seconds: float) -> Checkpoints:
    """Where and when this run saves its state: as BackupAndRestore says, where the spec has one."""
    asked = next((c for c in model.spec.callbacks if isinstance(c, BackupAndRestore)), None)
    if asked is None:
        return Checkpoints(run.checkpoints, seconds)
    batches = None if asked.save_freq == "epoch" else int(asked.save_freq)
    kept = KEPT if asked.double_checkpoint else 1
    return Checkpoints(paths.place(run.path, asked.backup_dir), seconds, batches, kept)


def _require_same_data(run: Run, model: Model, data: Dataset) -> None:
    before = run.facts.get("dataset")
    if before in (None, data.fingerprint):
        return
    sizes, old = model.signature.sizes, (run.facts.get("signature") or {}).get("sizes") or {}
    loaded, unread = model.loaded, run.facts.get("unread")
    if unread and sizes == old and loaded.spec.dataset.without(loaded.base, Path(unread["file"])) == unread["others"]:
        return  # the file that ended the training, before any step had read it, is mended
    other = [f"{old.get(k, 0):,} {k} samples are now {n:,}" for k, n in sizes.items() if old.get(k, 0) != n]
    how = "; ".join(other) or "as many samples, with other values"
    help = "put the old data back, or train a new run with `training.initial_weights`"
    message = f"the data are not those that the run was trained on: {how}"
    raise Failure(Problem("E513", message, run.path, help=help))


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


def initial_weights(source: str | LayerWeights, runs: Path, model: Model) -> dict[str, Array]:
    """Weights to start from, of all layers or of some: a file of weights or a model, or a run."""
    word = source.path if isinstance(source, LayerWeights) else source
    path = Path(word)
    if not path.is_file():
        if path.suffix in (".keras", ".h5"):
            raise cannot_read(path, what=" to take the initial weights from")
        path = Run.open(find(word, runs)).weights
    if isinstance(source, LayerWeights):
        return keras_named.load_layers(path, model.graph, source.names)
    return keras_files.load_weights(path, model.graph)
