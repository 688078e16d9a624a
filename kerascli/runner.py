"""A model on the NumPy engine: its weights, its evaluations and its predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerascli.bounds import require_ids
from kerascli.engine.memory import SharedMemory
from kerascli.engine.parameters import Parameter, Parameters
from kerascli.engine.session import Job, Session
from kerascli.errors import Failure, Problem
from kerascli.feed import Batch, Feed, Order, feed
from kerascli.graph import Graph
from kerascli.metrics.base import Sums
from kerascli.model import Model, class_weights
from kerascli.ops.ir import Array
from kerascli.program.build import evaluation_program, prediction_program
from kerascli.sources.base import Split
from kerascli.sources.rows import Streamed

Logs = dict[str, float]
PREDICTED_ROWS = 256
"""Samples that are predicted at a time, at most."""
STAGED_BYTES = 1 << 26
"""Size of the inputs that are predicted at a time, at most."""


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

    def add(self, session: Session, job: Job, batch: Batch) -> None:
        """Take in the run just made on a batch."""
        rows = len(batch.index)
        self.samples += rows
        self.total += session.loss(job) * rows
        if self.model.loss_columns:
            for name, value in session.losses(job).items():
                self.parts[name] = self.parts.get(name, 0.0) + value * rows
        if not self.model.measures:
            return
        outputs, masks = session.outputs(job, rows), session.masks(job, rows)
        for measure, sums in zip(self.model.measures, self.sums, strict=True):
            weight = masks.get(measure.output)
            if measure.weighted and (own := batch.weights) is not None:
                weight = own if weight is None else weight * own.reshape(rows, *(1,) * (weight.ndim - 1))
            with np.errstate(all="ignore"):  # a net that has come to infinity says so by its loss
                measure.metric.add(sums, batch.truths[measure.output], outputs[measure.output], weight)

    def is_broken(self) -> bool:
        """Whether the loss is no finite number any more."""
        return not math.isfinite(self.total)

    def state(self) -> dict[str, Any]:
        """The sums so far, as a checkpoint keeps them."""
        return {"total": self.total, "parts": self.parts, "samples": self.samples, "sums": self.sums}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with such sums."""
        self.total, self.parts, self.samples = state["total"], dict(state["parts"]), state["samples"]
        for sums, kept in zip(self.sums, state["sums"], strict=True):
            for name, array in sums.items():
                np.copyto(array, kept[name])

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
        self._prediction: Batched | None = None

    def initialise(self) -> None:
        """Draw every weight from its initializer; each has a stream of its own, keyed by seed and position."""
        for number, (path, s) in enumerate(self.specs.items()):
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.spec.seed, number))))
            np.copyto(self.parameters.weights[path], s.initializer.draw(s.shape, rng), casting="unsafe")

    def feed(self, split: Split, weights: Mapping[str, Array], batch: int, order: Order) -> Feed:
        """Register a split with the engine."""
        return feed(self.session, self.model, split, weights, batch, order)

    def weights_of(self, split: Split, balance: bool = False) -> dict[str, Array]:
        """Sample weights of each output: the data's own, or those of its classes; none where neither is given."""
        wanted = self.spec.training.class_weight if balance else None
        if split.sample_weight is None and wanted is None:
            return {}
        found = {}
        for name, y in split.targets.items():
            own = np.ones(len(split), np.float32) if split.sample_weight is None else split.sample_weight
            if wanted is not None:
                if isinstance(y, Streamed):
                    message = f"`class_weight` needs all labels of `{name}` at once, and they are too large for that"
                    raise Failure(Problem("E405", message, help="give each sample its weight: `sample_weight_train`"))
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
        batches = math.ceil(len(split) / batch)
        return Evaluation(self, batches, self._evaluation[key], self.in_order(split, weights, batch))

    def in_order(self, split: Split, weights: Mapping[str, Array], batch: int) -> Feed:
        """Register a split whose samples are wanted one after the other."""

        def rows(number: int) -> Array | None:
            found = np.arange(number * batch, min((number + 1) * batch, len(split)))
            return found if len(found) else None

        return self.feed(split, weights, batch, rows)

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for all samples, in their order."""
        if self._prediction is None:
            self._prediction = self.prediction()
        return self._prediction.run(inputs)

    def prediction(self) -> Batched:
        """Who predicts with the whole model."""
        return Prediction(self, self.model.graph)


class Batched:
    """The outputs of a model, or of a part of it, batch by batch, whatever engine computes them."""

    def __init__(self, graph: Graph, memory: SharedMemory) -> None:
        self.graph = graph
        nodes = [node for node in graph.computed.nodes if node.name in graph.computed.inputs]
        dtypes = {node.name: np.dtype("float32" if node.dtype == "float" else node.dtype) for node in nodes}
        sample = sum(math.prod(node.shape) * dtypes[node.name].itemsize for node in nodes)
        self.batch = graph.batch or max(1, min(PREDICTED_ROWS, STAGED_BYTES // max(sample, 1)))
        self.stage = {n.name: memory.zeros((self.batch, *n.shape), dtypes[n.name]) for n in nodes}
        """Where a batch lies."""

    def compute(self, rows: int) -> Mapping[str, Array]:
        """The outputs for so many samples of the stage; they are copied before the next batch."""
        raise NotImplementedError

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for all samples, in their order."""
        inputs = self.graph.served(inputs)
        require_ids(self.graph.computed, inputs)
        count = len(next(iter(inputs.values())))
        if self.graph.batch and count % self.batch:
            message = f"{count:,} samples do not fill whole batches of {self.batch}, as a stateful layer needs"
            raise Failure(Problem("E316", message, help="give a multiple of so many samples"))
        found: dict[str, Array] = {}
        for start in range(0, count, self.batch):
            rows = min(self.batch, count - start)
            for name, array in self.stage.items():
                np.copyto(array[:rows], inputs[name][start : start + rows], casting="same_kind")
            for name, array in self.compute(rows).items():
                if name not in found:
                    found[name] = np.empty((count, *array.shape[1:]), array.dtype)
                found[name][start : start + rows] = array
        return found


class Prediction(Batched):
    """The outputs on the NumPy engine, with the weights as they are now.

    The workers share the stage, so data that come in pieces need no new workers.
    """

    def __init__(self, runner: Runner, graph: Graph) -> None:
        super().__init__(graph, runner.memory)
        self.session = runner.session
        self.job = self.session.add_program(prediction_program(graph, runner.exact), self.batch)
        self.feed = self.session.add_feed({f"x:{name}": array for name, array in self.stage.items()})

    def compute(self, rows: int) -> Mapping[str, Array]:
        return self.session.outputs(self.session.run(self.job, self.feed, np.arange(rows)), rows)


@dataclass
class Evaluation:
    """Loss and metrics of one split, as often as asked."""

    runner: Runner
    batches: int
    job: int
    feed: Feed

    def run(self, between: Callable[[], None] = lambda: None) -> Logs:
        """The figures; `between` is called after every batch."""
        averages = Averages(self.runner.model)
        for number in range(self.batches):
            batch = self.feed.batch(number)
            job = self.runner.session.run(self.job, self.feed.number, batch.index)
            averages.add(self.runner.session, job, batch)
            between()
        return averages.logs()
