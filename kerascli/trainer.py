"""Training: the epoch loop, validation, callbacks, and what they are told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kerascli.callbacks.base import Callback, Direction
from kerascli.engine.memory import SharedMemory
from kerascli.engine.parameters import Parameter, Parameters
from kerascli.engine.session import Job, Session
from kerascli.graph import Graph
from kerascli.metrics.base import Sums
from kerascli.model import Model, class_weights
from kerascli.ops.ir import Array
from kerascli.program.build import evaluation_program, prediction_program, training_program
from kerascli.sources.base import Split

Logs = dict[str, float]
PREDICTED_ROWS = 256
"""Samples that are predicted at a time, at most."""
STAGED_BYTES = 1 << 26
"""Size of the inputs that are predicted at a time, at most."""


class Progress(Protocol):
    """Who watches: the terminal, a file, nobody."""

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None: ...

    def batch_end(self, step: int, averages: Averages) -> None: ...

    def epoch_end(self, epoch: int, logs: Logs, seconds: float, best: bool) -> None: ...

    def say(self, text: str) -> None: ...


class Interrupted(Exception):
    """The user asked to stop; the step at hand was finished."""


@dataclass
class Averages:
    """Loss and metrics over the batches of one pass."""

    model: Model
    total: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    sums: list[Sums] = field(default_factory=list)

    def __post_init__(self) -> None:
        for measure in self.model.measures:
            self.sums.append(measure.metric.zero(self.model.graph.node(measure.output).shape))

    def add(self, session: Session, job: Job, split: Split, index: Array, weights: Array | None) -> None:
        """Take in the run just made on the rows `index`."""
        rows = len(index)
        self.samples += rows
        self.total += session.loss(job) * rows
        if self.model.loss_columns:
            for name, value in session.losses(job).items():
                self.parts[name] = self.parts.get(name, 0.0) + value * rows
        if not self.model.measures:
            return
        outputs, masks = session.outputs(job, rows), session.masks(job, rows)
        truths = {name: y[index] for name, y in split.targets.items()}
        for measure, sums in zip(self.model.measures, self.sums, strict=True):
            weight = masks.get(measure.output)
            if measure.weighted and weights is not None:
                own = weights[index]
                weight = own if weight is None else weight * own.reshape(rows, *(1,) * (weight.ndim - 1))
            with np.errstate(all="ignore"):  # a net that has come to infinity says so by its loss
                measure.metric.add(sums, truths[measure.output], outputs[measure.output], weight)

    def logs(self) -> Logs:
        """Keras's logs: the mean loss, and every metric's result."""
        count = max(self.samples, 1)
        found: Logs = {"loss": self.total / count}
        found |= {self.model.loss_columns[name]: value / count for name, value in self.parts.items()}
        for measure, sums in zip(self.model.measures, self.sums, strict=True):
            result = np.asarray(measure.metric.result(sums))
            if result.ndim == 0:
                found[measure.column] = float(result)
            else:
                found |= {f"{measure.column}_{k}": float(v) for k, v in enumerate(result.reshape(-1))}
        return found


class Runner:
    """A model with weights, ready to train, evaluate and predict on the NumPy engine."""

    def __init__(self, model: Model, workers: int, trains: bool = False, processes: bool | None = None) -> None:
        spec = model.loaded.spec
        self.model, self.spec = model, spec
        optimizer = spec.optimizer if trains else None
        self.memory = SharedMemory()
        trainable = {
            f"{node.name}/{s.name}": s.trainable and node.trainable for node in model.graph.nodes for s in node.weights
        }
        self.specs = model.graph.weights()
        self.parameters = Parameters(
            [Parameter(path, s.shape, trainable[path], s.dtype) for path, s in self.specs.items()],
            optimizer.slots() if optimizer else {},
            self.memory,
        )
        constraints = {
            path: s.constraint.apply for path, s in self.specs.items() if s.constraint is not None and trainable[path]
        }
        self.session = Session(
            self.parameters, self.memory, spec.seed, workers, optimizer, constraints if trains else {}, processes
        )
        self.exact = spec.training.convolution == "direct"
        self._evaluation: dict[tuple[int, bool], int] = {}
        self._prediction: Prediction | None = None

    def initialise(self) -> None:
        """Draw every weight from its initializer; each has a stream of its own, keyed by seed and position."""
        for number, (path, s) in enumerate(self.specs.items()):
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.spec.seed, number))))
            np.copyto(self.parameters.weights[path], s.initializer.draw(s.shape, rng), casting="unsafe")

    def feed(self, split: Split, weights: Mapping[str, Array] | None = None) -> int:
        """Register a split's arrays with the engine."""
        arrays = {f"x:{name}": np.ascontiguousarray(array) for name, array in split.inputs.items()}
        arrays |= {f"y:{name}": _target(array, self.model, name) for name, array in split.targets.items()}
        arrays |= {f"w:{name}": array for name, array in (weights or {}).items()}
        return self.session.add_feed(arrays)

    def weights_of(self, split: Split, balance: bool = False) -> dict[str, Array]:
        """Sample weights of each output: the data's own, or those of its classes; none where neither is given."""
        wanted = self.spec.training.class_weight if balance else None
        if split.sample_weight is None and wanted is None:
            return {}
        found = {}
        for name, y in split.targets.items():
            own = np.ones(len(split), np.float32) if split.sample_weight is None else split.sample_weight
            if wanted is not None:
                own = own * class_weights(y, wanted, self.model.classes(name))
            found[name] = np.ascontiguousarray(own, np.float32)
        return found

    def evaluation(self, split: Split) -> Evaluation:
        """An evaluation of one split, planned and fed; make it before the workers start."""
        batch = min(self.spec.training.batch_size, len(split))
        weights = self.weights_of(split)
        key = (batch, bool(weights))
        if key not in self._evaluation:
            program = evaluation_program(self.model.graph, self.model.targets, bool(weights), self.exact)
            self._evaluation[key] = self.session.add_program(program, batch)
        return Evaluation(self, split, batch, self._evaluation[key], self.feed(split, weights), weights)

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for all samples, in their order."""
        if self._prediction is None:
            self._prediction = Prediction(self, self.model.graph)
        return self._prediction.run(inputs)


class Prediction:
    """The outputs of a model, or of a part of it, with its weights as they are now.

    Samples pass through arrays that the workers share, so data that come in pieces need no new workers.
    """

    def __init__(self, runner: Runner, graph: Graph) -> None:
        self.session = runner.session
        nodes = [node for node in graph.nodes if node.name in graph.inputs]
        dtypes = {node.name: np.dtype("float32" if node.dtype == "float" else node.dtype) for node in nodes}
        sample = sum(math.prod(node.shape) * dtypes[node.name].itemsize for node in nodes)
        self.batch = max(1, min(PREDICTED_ROWS, STAGED_BYTES // max(sample, 1)))
        self.stage = {n.name: runner.memory.zeros((self.batch, *n.shape), dtypes[n.name]) for n in nodes}
        self.job = self.session.add_program(prediction_program(graph, runner.exact), self.batch)
        self.feed = self.session.add_feed({f"x:{name}": array for name, array in self.stage.items()})

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for all samples, in their order."""
        count = len(next(iter(inputs.values())))
        found: dict[str, Array] = {}
        for start in range(0, count, self.batch):
            rows = min(self.batch, count - start)
            for name, array in self.stage.items():
                np.copyto(array[:rows], inputs[name][start : start + rows], casting="same_kind")
            done = self.session.run(self.job, self.feed, np.arange(rows))
            for name, array in self.session.outputs(done, rows).items():
                if name not in found:
                    found[name] = np.empty((count, *array.shape[1:]), array.dtype)
                found[name][start : start + rows] = array
        return found


@dataclass
class Evaluation:
    """Loss and metrics of one split, as often as asked."""

    runner: Runner
    split: Split
    batch: int
    job: int
    feed: int
    weights: dict[str, Array]

    def run(self) -> Logs:
        averages = Averages(self.runner.model)
        weight = next(iter(self.weights.values()), None)
        for start in range(0, len(self.split), self.batch):
            index = np.arange(start, min(start + self.batch, len(self.split)))
            job = self.runner.session.run(self.job, self.feed, index)
            averages.add(self.runner.session, job, self.split, index, weight)
        return averages.logs()


def _target(array: Array, model: Model, name: str) -> Array:
    """Targets in the dtype and shape of the program: (n,) numbers stand for (n, 1)."""
    target = model.targets[name]
    kind = np.float32 if target.dtype == "float" else np.dtype(target.dtype)
    return np.ascontiguousarray(array, kind).reshape(len(array), *target.shape)


class Trainer:
    """Trains a model on the NumPy engine. Also the view that callbacks have of the run."""

    def __init__(
        self,
        runner: Runner,
        train: Split,
        validation: Split | None,
        run_dir: Path,
        progress: Progress,
        save_model: Callable[[Path], None],
        save_weights: Callable[[Path], None],
    ) -> None:
        self.runner, self.spec, self.progress = runner, runner.spec, progress
        self.train, self.run_dir = train, run_dir
        self.directions: Mapping[str, Direction | None] = runner.model.objective.directions
        self._save_model, self._save_weights = save_model, save_weights
        training = self.spec.training
        self.batch = min(training.batch_size, len(train))
        self.batches = math.ceil(len(train) / self.batch)
        self.steps = training.steps_per_epoch or self.batches
        session, model = runner.session, runner.model
        self.weights = runner.weights_of(train, balance=True)
        program = training_program(model.graph, model.targets, bool(self.weights), runner.exact)
        self.job = session.add_program(program, self.batch)
        self.fed = runner.feed(train, self.weights)
        self.validation = runner.evaluation(validation) if validation else None
        self._order: tuple[int, Array] | None = None
        self.iteration = 0
        self.epoch = 0
        self.stop_reason: str | None = None
        self.interrupt = False
        rate = self.spec.optimizer.learning_rate
        self._rate = rate if isinstance(rate, float) else self.spec.optimizer.rate(0, 0.0)

    # ---- what callbacks see

    @property
    def learning_rate(self) -> float:
        return self.spec.optimizer.rate(self.iteration, self._rate)

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._rate = rate

    def stop(self, reason: str) -> None:
        self.stop_reason = reason

    def get_weights(self) -> dict[str, Array]:
        return self.runner.parameters.copy()

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        self.runner.parameters.load(weights)

    def save_model(self, path: Path) -> None:
        self._save_model(path)

    def save_weights(self, path: Path) -> None:
        self._save_weights(path)

    def say(self, text: str) -> None:
        self.progress.say(text)

    # ---- the loop

    def fit(self, callbacks: list[Callback]) -> Iterator[tuple[int, Logs, float, float]]:
        """Train; yields (epoch, logs, learning rate, seconds) after every epoch. An epoch cut short is not counted."""
        states = [callback.begin(self) for callback in callbacks]
        acting = list(zip(callbacks, states, strict=True))
        training = self.spec.training
        try:
            for epoch in range(self.epoch, training.epochs):
                self.epoch, began = epoch, time.perf_counter()
                for callback, state in acting:
                    callback.epoch_begin(state, self.epoch, self)
                self.progress.epoch_begin(self.epoch, training.epochs, self.steps, len(self.train))
                logs = self._pass(acting)
                if self.validation and (self.epoch + 1) % training.validation_freq == 0:
                    logs |= {f"val_{name}": value for name, value in self.validation.run().items()}
                rate = self.learning_rate
                for callback, state in acting:
                    callback.epoch_end(state, self.epoch, logs, self)
                yield self.epoch, logs, rate, time.perf_counter() - began
                if self.interrupt:
                    raise Interrupted
                if self.stop_reason:
                    break
        finally:
            if not self.interrupt:
                self.spec.optimizer.finish(self.runner.parameters.flat, self.runner.parameters.slots)
        for callback, state in acting:
            callback.train_end(state, self)

    def _pass(self, acting: list[tuple[Callback, Any]]) -> Logs:
        """The steps of one epoch."""
        runner, session = self.runner, self.runner.session
        averages = Averages(runner.model)
        weight = next(iter(self.weights.values()), None)
        busy = [(callback, state) for callback, state in acting if callback.every_batch]
        for step in range(self.steps):
            index = self.rows(self.iteration)
            rate = self.spec.optimizer.rate(self.iteration, self._rate)
            job = session.run(self.job, self.fed, index, self.iteration, rate)
            self.iteration += 1
            averages.add(session, job, self.train, index, weight)
            if busy:
                logs = averages.logs()
                for callback, state in busy:
                    callback.batch_end(state, self.epoch, step, logs, self)
            self.progress.batch_end(step + 1, averages)
            if self.interrupt and step + 1 < self.steps:
                raise Interrupted
            if self.stop_reason:
                break
        return averages.logs()

    def rows(self, iteration: int) -> Array:
        """The samples of a batch. Each pass over the data has an order of its own, keyed by the seed and its number."""
        number, place = divmod(iteration, self.batches)
        if self._order is None or self._order[0] != number:
            self._order = (number, self._permutation(number))
        return self._order[1][place * self.batch : (place + 1) * self.batch]

    def _permutation(self, number: int) -> Array:
        if not self.spec.training.shuffle:
            return np.arange(len(self.train))
        key = np.random.SeedSequence((self.spec.seed, 0x5EED, number))
        return np.random.Generator(np.random.Philox(key)).permutation(len(self.train))
