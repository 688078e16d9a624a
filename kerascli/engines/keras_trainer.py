"""Training by Keras's `fit`: each epoch is one call of it, or the rest of one that was broken off.

Around it everything is as on our own engine: the order of samples, the callbacks, the run and its checkpoints. Between
two calls the weights, slots and sums lie where our engine has them, so a run may go on with either of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from kerascli.callbacks.base import Callback, State
from kerascli.engines.backend import Backend
from kerascli.engines.cluster import Cluster
from kerascli.engines.keras_inference import Batches, evaluation, told
from kerascli.engines.keras_net import Net
from kerascli.runner import Averages, Evaluation, Logs, Runner
from kerascli.sources.base import Split
from kerascli.trainer import Guard, Progress, Trainer

LOOKED = 16
"""Steps after which it is looked whether the loss is a number: a look waits for what the device is computing."""
ASKED = 1.0
"""Seconds after which the hosts agree again whether to stop."""
MOST_PAUSES = 1000
"""Steps, or batches of an evaluation, after which they do so at the latest."""
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
        self.asking = _Asking(self.net.backend)
        super().__init__(runner, train, validation, run_dir, progress, save_model, save_weights, guard)

    @property
    def engine(self) -> Mapping[str, Any]:
        return self.net.facts

    def evaluation(self, split: Split) -> Evaluation:
        return evaluation(self.net, split)

    def new_averages(self) -> Averages:
        return KerasAverages(self.runner.model, self.net)

    def settle(self) -> None:
        if self.ahead:
            self.net.pull()
            self.net.figures.sums(self.averages)
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
            alike = self.net.alike(self.iteration, last, lambda number: len(self.rows(number)))
            self.net.push(self.iteration, self.learning_rate)
            batches, watch = Batches(self.net, self.feed, self.iteration, alike), _Steps(self, acting)
            backend = self.net.backend
            with told(backend.name):
                if self.averages.samples:
                    self.net.figures.build(batches[0])
                data, steps = backend.data(batches), backend.steps(alike)
                self.net.keras.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[watch])

    def pause(self) -> None:
        """Several hosts end together, after the same step, when one of them is asked to."""
        if self.asking.due():
            self.interrupt = self.asking.agreed(self.interrupt)
            super().pause()

    def step_done(self, acting: Acting, logs: Mapping[str, Any], rows: int) -> None:
        assert isinstance(self.averages, KerasAverages)
        self.ahead = True
        self.net.backend.stepped()
        self.averages.take(logs, rows)
        self._step_done(acting)


class _Asking:
    """Asks all hosts, about once in so many seconds, whether one of them was asked to stop."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.every = self.left = 1
        """Pauses from one time to the next, the same on all hosts; and those that are left of them."""
        self.began = time.perf_counter()

    def due(self) -> bool:
        self.left -= 1
        return self.left == 0 or not self.backend.cluster.hosts

    def agreed(self, wanted: bool) -> bool:
        """Whether any of them was. The time between is that of the slowest."""
        if not self.backend.cluster.hosts:
            return wanted
        seconds = (time.perf_counter() - self.began) / self.every
        with told(self.backend.name):
            stop, slowest = self.backend.highest([float(wanted), seconds])
        self.every = self.left = max(1, min(MOST_PAUSES, round(ASKED / max(slowest, 1e-9))))
        self.began = time.perf_counter()
        return stop > 0


class KerasAverages(Averages):
    """The figures that Keras comes to. They are fetched from its device where somebody wants them."""

    def __init__(self, model: Any, net: Net) -> None:
        super().__init__(model)
        self.net = net
        self.latest: list[Any] | None = None
        self.steps = 0

    def take(self, logs: Mapping[str, Any], rows: int) -> None:
        """The figures after one more step."""
        self.latest, self.steps, self.samples = self.net.figures.values(logs), self.steps + 1, self.samples + rows

    def is_broken(self) -> bool:
        return self.latest is not None and self.steps % LOOKED == 0 and not math.isfinite(float(self.latest[0]))

    def logs(self) -> Logs:
        return super().logs() if self.latest is None else self.net.figures.logs(self.latest)


class _Steps(keras.callbacks.Callback):  # type: ignore[misc]
    """Lets the trainer know of every step."""

    def __init__(self, trainer: KerasTrainer, acting: Acting) -> None:
        super().__init__()
        self.trainer, self.acting = trainer, acting

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.trainer.net.backend.early:
            self.trainer.net.figures.see()
        if batch == 0 and self.trainer.averages.samples:
            self.trainer.net.figures.set_sums(self.trainer.averages)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        trainer = self.trainer
        if not trainer.net.backend.early:
            trainer.net.figures.see()
        trainer.step_done(self.acting, logs or {}, len(trainer.rows(trainer.iteration)))
        if trainer.stop_reason:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Before `fit` ends, for there Keras puts the moving average in the weights' place, if there is one."""
        self.trainer.settle()
