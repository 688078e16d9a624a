"""Training by Keras's `fit`: each epoch is one call of it, or the rest of one that was broken off.

Around it everything is as on our own engine: the order of samples, the callbacks, the run and its checkpoints. Between
two calls the weights, slots and sums lie where our engine has them, so a run may go on with either of them.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import keras

from kerascli.callbacks.base import Callback, State
from kerascli.engines.cluster import Cluster
from kerascli.engines.keras_net import Net
from kerascli.errors import Failure, Problem
from kerascli.feed import Feed
from kerascli.runner import Averages, Evaluation, Logs, Runner
from kerascli.sources.base import Split
from kerascli.trainer import Guard, Interrupted, Progress, Trainer

LOOKED = 16
"""Steps after which it is looked whether the loss is a number: a look waits for what the device is computing."""
Acting = list[tuple[Callback, State]]


class KerasTrainer(Trainer):
    """Trains a model with Keras."""

    def __init__(
        self,
        runner: Runner,
        train: Split,
        validation: Split | None,
        run_dir: Path,
        progress: Progress,
        save_model: Callable[[Path], None],
        save_weights: Callable[[Path], None],
        guard: Guard | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.cluster = cluster or Cluster()
        self.net = Net(runner, self.cluster)
        self.ahead = False
        """Whether Keras has newer weights than those that `state` shows."""
        super().__init__(runner, train, validation, run_dir, progress, save_model, save_weights, guard)

    @property
    def engine(self) -> Mapping[str, Any]:
        return self.net.facts

    def evaluation(self, split: Split) -> Evaluation:
        batch = min(self.spec.training.batch_size, len(split))
        feed = self.runner.in_order(split, self.runner.weights_of(split), batch)
        return KerasEvaluation(self.runner, math.ceil(len(split) / batch), -1, feed, self, len(split), batch)

    def new_averages(self) -> Averages:
        return KerasAverages(self.runner.model, self.net)

    def settle(self) -> None:
        if self.ahead:
            self.net.pull()
            self.net.sums(self.averages)
            self.ahead = False

    def state(self) -> dict[str, Any]:
        return {**super().state(), "keras_random": self.net.random()}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        if "keras_random" in state:
            self.net.set_random(state["keras_random"])

    def _steps(self, acting: Acting) -> None:
        if self._guard:
            self._guard.before_steps()
        while self.step < self.steps and not self.stop_reason:
            last = self.iteration + self.steps - self.step
            alike = self.alike(self.iteration, last, lambda number: len(self.rows(number)))
            self.net.push(self.iteration, self.learning_rate)
            batches, watch = _Batches(self, self.feed, self.iteration, alike), _Steps(self, acting)
            with _told(self.net.backend):
                if self.averages.samples:
                    self.net.build(batches[0])
                self.net.keras.fit(batches, shuffle=False, verbose=0, callbacks=[watch])

    def alike(self, first: int, end: int, rows: Callable[[int], int]) -> int:
        """How many batches from `first` on are dealt out to the devices in the same way; all, where there is one."""
        if self.net.dealt is None:
            return end - first
        whole = rows(first) % self.net.parts != 0
        self.net.dealt.whole = whole
        return len(list(takewhile(lambda k: (rows(k) % self.net.parts != 0) == whole, range(first, end))))

    def step_done(self, acting: Acting, logs: Mapping[str, Any], rows: int) -> None:
        assert isinstance(self.averages, KerasAverages)
        self.ahead = True
        self.averages.take(logs, rows)
        self._step_done(acting)


class KerasAverages(Averages):
    """The figures that Keras comes to. They are fetched from its device where somebody wants them."""

    def __init__(self, model: Any, net: Net) -> None:
        super().__init__(model)
        self.net = net
        self.latest: list[Any] | None = None
        self.steps = 0

    def take(self, logs: Mapping[str, Any], rows: int) -> None:
        """The figures after one more step."""
        self.latest, self.steps, self.samples = self.net.values(logs), self.steps + 1, self.samples + rows

    def is_broken(self) -> bool:
        return self.latest is not None and self.steps % LOOKED == 0 and not math.isfinite(float(self.latest[0]))

    def logs(self) -> Logs:
        return super().logs() if self.latest is None else self.net.logs(self.latest)


@dataclass
class KerasEvaluation(Evaluation):
    """Loss and metrics of one split, by Keras's `evaluate`."""

    trainer: KerasTrainer
    samples: int
    rows: int

    def run(self, between: Callable[[], None] = lambda: None) -> Logs:
        trainer, net = self.trainer, self.trainer.net
        net.push(trainer.iteration, trainer.learning_rate)
        sums, done, logs = None, 0, {}
        while done < self.batches:
            count = trainer.alike(done, self.batches, lambda k: min(self.rows, self.samples - k * self.rows))
            watch = _Checks(net, sums, between)
            with _told(net.backend):
                logs = net.keras.evaluate(
                    _Batches(trainer, self.feed, done, count), verbose=0, return_dict=True, callbacks=[watch]
                )
            done += count
            sums = Averages(net.model)
            net.sums(sums)
        return net.logs(net.values(logs))


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of our feed, one after the other."""

    def __init__(self, trainer: KerasTrainer, feed: Feed, first: int, count: int) -> None:
        super().__init__()
        self.trainer, self.feed, self.first, self.count = trainer, feed, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        net = self.trainer.net
        rows = self._own(self.feed.batch(self.first + index).index)
        arrays = self.trainer.runner.session.fed(self.feed.number)
        outputs = net.graph.outputs
        parts = [[arrays[f"x:{name}"][rows] for name in net.graph.inputs], [arrays[f"y:{n}"][rows] for n in outputs]]
        if f"w:{outputs[0]}" in arrays:
            parts.append([arrays[f"w:{name}"][rows] for name in outputs])
        return tuple(tuple(part) if len(part) > 1 else part[0] for part in parts)

    def _own(self, rows: Any) -> Any:
        """Those of this host."""
        hosts, dealt = len(self.trainer.cluster.hosts) or 1, self.trainer.net.dealt
        if hosts == 1 or dealt is None or dealt.whole:
            return rows
        share = len(rows) // hosts
        return rows[self.trainer.cluster.host * share : (self.trainer.cluster.host + 1) * share]


class _Steps(keras.callbacks.Callback):  # type: ignore[misc]
    """Lets the trainer know of every step."""

    def __init__(self, trainer: KerasTrainer, acting: Acting) -> None:
        super().__init__()
        self.trainer, self.acting = trainer, acting

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.trainer.net.backend == "jax":
            self.trainer.net.see()
        if batch == 0 and self.trainer.averages.samples:
            self.trainer.net.set_sums(self.trainer.averages)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        trainer = self.trainer
        if trainer.net.backend != "jax":
            trainer.net.see()
        trainer.step_done(self.acting, logs or {}, len(trainer.rows(trainer.iteration)))
        if trainer.stop_reason:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Before `fit` ends, for there Keras puts the moving average in the weights' place, if there is one."""
        self.trainer.settle()


class _Checks(keras.callbacks.Callback):  # type: ignore[misc]
    """Lets an evaluation go on with sums, and be broken off."""

    def __init__(self, net: Net, sums: Averages | None, between: Callable[[], None]) -> None:
        super().__init__()
        self.net, self.sums, self.between = net, sums, between

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.net.backend == "jax":
            self.net.see()
        if batch == 0 and self.sums is not None:
            self.net.set_sums(self.sums)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.net.backend != "jax":
            self.net.see()
        self.between()


@contextmanager
def _told(backend: str) -> Iterator[None]:
    """What Keras or its backend refuses is a Problem; faults of our own stay what they are."""
    try:
        yield
    except (Failure, Interrupted):
        raise
    except Exception as error:
        innermost = [frame.filename for frame in traceback.extract_tb(error.__traceback__)][-1]
        if Path(innermost).is_relative_to(Path(__file__).parents[1]) and Path(innermost) != Path(__file__):
            raise
        said = " ".join(str(error).split())[:400]
        message = f"Keras on {backend} cannot go on: {type(error).__name__}: {said}"
        raise Failure(Problem("E518", message, help="train it with `--engine numpy`")) from error
