"""Training: the epoch loop, validation, callbacks, what they are told, and the state that a run is resumed from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kerascli.callbacks.base import Callback, Direction, State
from kerascli.ops.ir import Array
from kerascli.optimizers.base import AVERAGE
from kerascli.program.build import training_program
from kerascli.runner import Averages, Evaluation, Logs, Runner
from kerascli.sources.base import Split

MOST_WAITING = 0.3
"""Part of an epoch that may be spent waiting for data before it is said; a second may always be."""


class Progress(Protocol):
    """Who watches: the terminal, a file, nobody."""

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None: ...

    def batch_end(self, step: int, averages: Averages) -> None: ...

    def epoch_end(self, epoch: int, logs: Logs, rate: float, seconds: float, best: bool) -> str | None:
        """After an epoch and its validation. An answer ends the training, and is the reason."""

    def say(self, text: str) -> None: ...

    def happened(self, what: str, facts: Mapping[str, Any]) -> None:
        """Anything else, for programs that watch: `checkpoint_saved`, `diagnosis`, as `cli/events.py` lists them."""


class Guard(Protocol):
    """Who stands by while the steps of an epoch are made."""

    def before_steps(self) -> None:
        """Before the first step of an epoch, or the first after a resume."""

    def after_step(self) -> None: ...

    def broken(self) -> None:
        """The mean loss of the epoch is no finite number any more."""


class Interrupted(Exception):
    """The user asked to stop; the step at hand was finished."""


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
        guard: Guard | None = None,
    ) -> None:
        self.runner, self.spec, self.progress = runner, runner.spec, progress
        self.train, self.run_dir = train, run_dir
        self.directions: Mapping[str, Direction | None] = runner.model.objective.directions
        self._save_model, self._save_weights, self._guard = save_model, save_weights, guard
        training = self.spec.training
        self.batch = min(training.batch_size, len(train))
        self.batches = math.ceil(len(train) / self.batch)
        self.steps = training.steps_per_epoch or self.batches
        session, model = runner.session, runner.model
        weights = runner.weights_of(train, balance=True)
        program = training_program(model.graph, model.targets, bool(weights), runner.exact)
        self.job = session.add_program(program, self.batch)
        self.feed = runner.feed(train, weights, self.batch, self.rows)
        self.validation = self.evaluation(validation) if validation else None
        self._order: tuple[int, Array] | None = None
        self.iteration = 0
        """Steps of the whole training that are done; with the seed, all random streams and the order of the samples."""
        self.epoch, self.step = 0, 0
        """Where training stands: the epoch at hand, and the steps of it that are done."""
        self.averages = self.new_averages()
        self.states: list[State] | None = None
        """Of the callbacks; None until they have begun."""
        self.seconds = 0.0
        """What the epoch at hand took before this process."""
        self.stop_reason: str | None = None
        self.waited, self.stepping = 0.0, 0.0
        """Seconds that steps waited for samples to be read, and that all steps took, of whole epochs."""
        self._waited, self._told_of_waiting = 0.0, False
        self.interrupt = False
        self.ended = False
        self.averaged = False
        """Whether the weights and their moving average have changed places."""
        self._began: float | None = None
        rate = self.spec.optimizer.learning_rate
        self._rate = rate if isinstance(rate, float) else self.spec.optimizer.rate(0, 0.0)

    # ---- what an engine has of its own

    @property
    def engine(self) -> Mapping[str, Any]:
        """What `run.json` says of the engine."""
        return {"engine": "numpy", "backend": "numpy", "devices": 1}

    def evaluation(self, split: Split) -> Evaluation:
        """An evaluation of one split; make it before the first step."""
        return self.runner.evaluation(split)

    def new_averages(self) -> Averages:
        """The figures of an epoch, none of whose steps is done."""
        return Averages(self.runner.model)

    def settle(self) -> None:
        """Bring weights, slots and figures to where `state` looks for them: the NumPy engine has them there."""

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
        self.settle()
        return self.runner.parameters.copy()

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        self.runner.parameters.load(weights)

    def use_average(self, wanted: bool) -> None:
        if wanted != self.averaged:
            weights, average = self.runner.parameters.flat, self.runner.parameters.slots[AVERAGE]
            kept = weights.copy()
            np.copyto(weights, average)
            np.copyto(average, kept)
            self.averaged = wanted

    def save_model(self, path: Path) -> None:
        self.settle()
        self._save_model(path)

    def save_weights(self, path: Path) -> None:
        self.settle()
        self._save_weights(path)

    def say(self, text: str) -> None:
        self.progress.say(text)

    # ---- the loop

    def fit(self, callbacks: list[Callback]) -> Iterator[tuple[int, Logs, float, float]]:
        """Train from where it stands to the end; yields (epoch, logs, learning rate, seconds) after every epoch.

        Between two steps, and while it validates, `state` is all there is to know: `restore` goes on from there.
        """
        if self.states is None:
            self.states = [callback.begin(self) for callback in callbacks]
        acting, training = list(zip(callbacks, self.states, strict=True)), self.spec.training
        while self.epoch < training.epochs and not self.stop_reason:
            self._began = time.perf_counter()
            for callback, state in acting if self.step == 0 else ():
                callback.epoch_begin(state, self.epoch, self)
            self.progress.epoch_begin(self.epoch, training.epochs, self.steps, len(self.train))
            self._steps(acting)
            self._tell_of_waiting(time.perf_counter() - self._began)
            logs = self.averages.logs()
            if self.validation and (self.epoch + 1) % training.validation_freq == 0:
                logs |= {f"val_{name}": value for name, value in self._validate(self.validation, acting).items()}
            rate = self.learning_rate
            for callback, state in acting:
                callback.epoch_end(state, self.epoch, logs, self)
            done, seconds = self.epoch, self.elapsed
            self.epoch, self.step, self.averages, self.seconds = done + 1, 0, self.new_averages(), 0.0
            self._began = None
            yield done, logs, rate, seconds
            self.pause()
        self.ended = True
        self.use_average(False)
        self.spec.optimizer.finish(self.runner.parameters.flat, self.runner.parameters.slots)
        for callback, state in acting:
            callback.train_end(state, self)

    def _validate(self, validation: Evaluation, acting: list[tuple[Callback, State]]) -> Logs:
        for callback, state in acting:
            callback.test_begin(state, self)
        logs = validation.run(self.pause)
        for callback, state in acting:
            callback.test_end(state, self)
        return logs

    def _steps(self, acting: list[tuple[Callback, State]]) -> None:
        """The steps of the epoch at hand that are not done yet."""
        session = self.runner.session
        if self._guard:
            self._guard.before_steps()
        while self.step < self.steps and not self.stop_reason:
            batch = self.feed.batch(self.iteration)
            rate = self.spec.optimizer.rate(self.iteration, self._rate)
            job = session.run(self.job, self.feed.number, batch.index, self.iteration, rate)
            self.averages.add(session, job, batch)
            self._step_done(acting)

    def _step_done(self, acting: list[tuple[Callback, State]]) -> None:
        """What follows a step."""
        averages = self.averages
        if self._guard and averages.is_broken():
            self._guard.broken()
        self.iteration, self.step = self.iteration + 1, self.step + 1
        if busy := [(callback, state) for callback, state in acting if callback.every_batch]:
            logs = averages.logs()
            for callback, state in busy:
                callback.batch_end(state, self.epoch, self.step - 1, logs, self)
        self.progress.batch_end(self.step, averages)
        self.pause()
        if self._guard:
            self._guard.after_step()

    @property
    def data_wait(self) -> dict[str, float]:
        """Seconds that steps waited for samples to be read, and their share of the time of all steps."""
        return {"seconds": round(self.waited, 3), "share": round(self.waited / max(self.stepping, 1e-9), 4)}

    def _tell_of_waiting(self, seconds: float) -> None:
        """Say once where steps have to wait for their samples, for then a faster net would not train faster."""
        waited, self._waited = self.feed.waited - self._waited, self.feed.waited
        self.waited, self.stepping = self.waited + waited, self.stepping + seconds
        if waited > max(1.0, MOST_WAITING * seconds) and not self._told_of_waiting:
            self._told_of_waiting = True
            self.say(f"{waited / seconds:.0%} of the epoch's steps were spent waiting for data to be read and unpacked")

    def pause(self) -> None:
        """A place where training may be interrupted and taken up again."""
        if self.interrupt:
            self.settle()
            raise Interrupted

    @property
    def elapsed(self) -> float:
        """Seconds of the epoch at hand, those before a resume included."""
        return self.seconds + (time.perf_counter() - self._began if self._began is not None else 0.0)

    def state(self) -> dict[str, Any]:
        """All that decides how training goes on, as plain data and arrays."""
        self.settle()
        parameters = self.runner.parameters
        still = {path: array for path, array in parameters.weights.items() if path not in parameters.spans}
        return {
            "epoch": self.epoch,
            "step": self.step,
            "iteration": self.iteration,
            "seconds": self.elapsed,
            "waited": [self.waited, self.stepping],
            "learning_rate": self._rate,
            "stop_reason": self.stop_reason,
            "averaged": self.averaged,
            "averages": self.averages.state(),
            "callbacks": self.states,
            "weights": {"trained": parameters.flat, "still": still},
            "slots": parameters.slots,
            "carried": self.runner.session.carried,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand where `state` was taken. KeyError or ValueError where it is that of another model."""
        parameters = self.runner.parameters
        for mine, kept in (
            ({"trained": parameters.flat}, {"trained": state["weights"]["trained"]}),
            (dict(parameters.weights), state["weights"]["still"]),
            (parameters.slots, state["slots"]),
            (self.runner.session.carried, state["carried"]),
        ):
            for path, array in kept.items():
                if mine[path].shape != array.shape or mine[path].dtype != array.dtype:
                    raise ValueError(f"`{path}` is {array.shape} there and {mine[path].shape} in the model")
                np.copyto(mine[path], array)
        self.epoch, self.step, self.iteration = state["epoch"], state["step"], state["iteration"]
        self.seconds, self._rate, self.stop_reason = state["seconds"], state["learning_rate"], state["stop_reason"]
        self.states, self.averaged = state["callbacks"], state["averaged"]
        self.averages.restore(state["averages"])
        self.waited, self.stepping = state.get("waited", (0.0, 0.0))

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
