"""Evaluations and predictions by Keras: of the splits of a training, and of a stored model."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerascli.engines.cluster import Cluster
from kerascli.engines.keras_net import Net
from kerascli.errors import Failure, Problem
from kerascli.feed import Feed
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.runner import Averages, Batched, Evaluation, Logs, Runner
from kerascli.sources.base import Split
from kerascli.trainer import Interrupted


class KerasRunner(Runner):
    """A model whose evaluations and predictions are computed by Keras, with the weights that it is given before."""

    def __init__(self, model: Model, workers: int) -> None:
        super().__init__(model, workers, processes=False)
        self.net = Net(self, Cluster())

    def evaluation(self, split: Split) -> Evaluation:
        return evaluation(self.net, split)

    def prediction(self) -> Batched:
        self.net.push_weights()
        return KerasPrediction(self.net)


class KerasPrediction(Batched):
    """The outputs by Keras's `predict_on_batch`."""

    def __init__(self, net: Net) -> None:
        super().__init__(net.model.graph, net.runner.memory)
        self.net = net

    def compute(self, rows: int) -> Mapping[str, Array]:
        graph = self.net.graph
        inputs = tuple(self.stage[name][:rows] for name in graph.inputs)
        with told(self.net.backend.name):
            found = self.net.keras.predict_on_batch(inputs if len(inputs) > 1 else inputs[0])
        outputs = found if isinstance(found, (list, tuple)) else [found]
        return {name: np.asarray(array) for name, array in zip(graph.outputs, outputs, strict=True)}


def evaluation(net: Net, split: Split) -> KerasEvaluation:
    """An evaluation of one split, in batches as on our own engine."""
    runner = net.runner
    batch = min(net.spec.training.batch_size, len(split))
    feed = runner.in_order(split, runner.weights_of(split), batch)
    return KerasEvaluation(runner, math.ceil(len(split) / batch), -1, feed, net, len(split), batch)


@dataclass
class KerasEvaluation(Evaluation):
    """Loss and metrics of one split, by Keras's `evaluate`."""

    net: Net
    samples: int
    rows: int

    def run(self, between: Callable[[], None] = lambda: None) -> Logs:
        net, figures = self.net, self.net.figures
        net.push_weights()
        watch, done = _Checks(net, between), 0
        while done < self.batches:
            count = net.alike(done, self.batches, lambda k: min(self.rows, self.samples - k * self.rows))
            batches = Batches(net, self.feed, done, count)
            with told(net.backend.name):
                steps = net.backend.steps(count)
                net.keras.evaluate(net.backend.data(batches), steps=steps, verbose=0, callbacks=[watch])
            done += count
            watch.sums = Averages(net.model)
            figures.sums(watch.sums)
        return figures.logs(watch.values)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of our feed, one after the other."""

    def __init__(self, net: Net, feed: Feed, first: int, count: int) -> None:
        super().__init__()
        self.net, self.feed, self.first, self.count = net, feed, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        graph = self.net.graph
        rows = self.net.backend.rows(self.feed.batch(self.first + index).index)
        arrays = self.net.runner.session.fed(self.feed.number)
        outputs = graph.outputs
        parts = [[arrays[f"x:{name}"][rows] for name in graph.inputs], [arrays[f"y:{n}"][rows] for n in outputs]]
        if f"w:{outputs[0]}" in arrays:
            parts.append([arrays[f"w:{name}"][rows] for name in outputs])
        return tuple(tuple(part) if len(part) > 1 else part[0] for part in parts)


class _Checks(keras.callbacks.Callback):  # type: ignore[misc]
    """Lets an evaluation go on with sums, and be broken off."""

    def __init__(self, net: Net, between: Callable[[], None]) -> None:
        super().__init__()
        self.net, self.between = net, between
        self.sums: Averages | None = None
        """Of the batches before."""
        self.values: list[Any] = []
        """Keras's figures after the last batch."""

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.net.backend.early:
            self.net.figures.see()
        if batch == 0 and self.sums is not None:
            self.net.figures.set_sums(self.sums)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self.net.backend.early:
            self.net.figures.see()
        self.values = self.net.figures.values(logs or {})
        self.between()


@contextmanager
def told(backend: str) -> Iterator[None]:
    """What Keras or its backend refuses is a Problem; faults of our own stay what they are."""
    try:
        yield
    except (Failure, Interrupted):
        raise
    except Exception as error:
        innermost = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        engines = Path(__file__).parent
        if innermost.is_relative_to(engines.parent) and innermost.parent != engines:
            raise
        said = " ".join(str(error).split())[:400]
        message = f"Keras on {backend} cannot go on: {type(error).__name__}: {said}"
        raise Failure(Problem("E518", message, help="use `--engine numpy`")) from error
