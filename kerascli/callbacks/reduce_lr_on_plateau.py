"""ReduceLROnPlateau."""

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from kerascli.callbacks.base import Callback, Direction, State, TrainingView
from kerascli.callbacks.learning_rate_scheduler import SCHEDULED, LearningRateScheduler
from kerascli.callbacks.monitor import _Monitor
from kerascli.component import Example


class ReduceLROnPlateau(_Monitor):
    """Multiplies the learning rate by `factor` when a figure has stopped improving.

    Logs `learning_rate` as it was in the epoch, before a reduction.
    """

    examples = (
        Example({"patience": 1}),
        Example({"monitor": "loss", "factor": 0.5, "patience": 2, "cooldown": 2, "min_lr": 0.0003}),
        Example({"monitor": "accuracy", "mode": "max", "patience": 0, "min_delta": 0.05}),
    )

    factor: float = Field(0.1, ge=0, lt=1)
    """What the rate is multiplied by."""
    patience: int = Field(10, ge=0)
    """Epochs without improvement after which the rate falls."""
    verbose: int = Field(0, ge=0)
    """1 says when the rate falls."""
    min_delta: float = 0.0001
    """How much better counts as an improvement; the sign does not matter."""
    cooldown: int = Field(0, ge=0)
    """Epochs after a reduction in which none are counted."""
    min_lr: float = Field(0.0, ge=0)
    """The lowest rate."""

    def problem(self, directions: Mapping[str, Direction | None], scheduled: bool) -> tuple[str, str] | None:
        return SCHEDULED if scheduled else super().problem(directions, scheduled)

    def overruled(self, other: Callback) -> tuple[str, str] | None:
        if isinstance(other, LearningRateScheduler):
            return (
                "the rate is set before each epoch, so no reduction of ReduceLROnPlateau lasts",
                "leave one out",
            )
        return None

    def begin(self, view: TrainingView) -> State:
        return {**super().begin(view), "wait": 0, "cooldown": 0}

    def epoch_end(self, state: State, epoch: int, logs: dict[str, float], view: TrainingView) -> None:
        logs["learning_rate"] = view.learning_rate
        current = self._current(state, logs, view)
        if current is None:
            return
        if state["cooldown"] > 0:
            state["cooldown"] -= 1
            state["wait"] = 0
        if self._better(state, current, state["best"], self.min_delta):
            state.update(best=current, wait=0)
        elif state["cooldown"] == 0:
            state["wait"] += 1
            if state["wait"] >= self.patience and self._reduce(epoch, view):
                state.update(cooldown=self.cooldown, wait=0)

    def _reduce(self, epoch: int, view: TrainingView) -> bool:
        if not view.learning_rate > np.float32(self.min_lr):
            return False
        view.learning_rate = max(view.learning_rate * self.factor, self.min_lr)
        if self.verbose:
            view.say(
                f"Epoch {epoch + 1}: `{self.monitor}` is on a plateau, learning rate is now {view.learning_rate:g}"
            )
        return True
