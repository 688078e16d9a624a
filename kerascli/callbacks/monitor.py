"""Callbacks that watch one figure of the logs."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from kerascli.callbacks.base import Callback, Direction, State, TrainingView
from kerascli.component import nearest
from kerascli.errors import Failure, Problem


class _Monitor(Callback):
    """Watches one figure and knows which way it is better."""

    monitor: str = "val_loss"
    """Name of the figure in the logs, such as `val_loss` or `accuracy`."""
    mode: Literal["auto", "min", "max"] = "auto"
    """Which way the figure is better; `auto` asks the loss or metric."""

    def problem(self, directions: Mapping[str, Direction | None], scheduled: bool) -> tuple[str, str] | None:
        if self._direction(directions) is None:
            near = nearest(self.monitor, [f"{split}{name}" for split in ("val_", "") for name in directions])
            meant = f"did you mean `{near}`? Else " if near and near != self.monitor else ""
            return f"cannot tell whether `{self.monitor}` should rise or fall", f"{meant}set `mode: max` or `mode: min`"
        return None

    def begin(self, view: TrainingView) -> State:
        direction = self._direction(view.directions)
        if direction is None:
            message, mend = self.problem(view.directions, False) or ("", "")
            raise Failure(Problem("E510", f"{type(self).__name__} {message}", help=mend))
        return {"direction": direction, "best": None, "warned": False}

    def _direction(self, directions: Mapping[str, Direction | None]) -> Direction | None:
        name = self.monitor.removeprefix("val_")
        if self.mode == "auto":
            return "down" if name == "loss" else directions.get(name)
        return "up" if self.mode == "max" else "down"

    def _current(self, state: State, logs: Mapping[str, float], view: TrainingView) -> float | None:
        """The figure; None, and a warning the first time, where the logs lack it."""
        if self.monitor not in logs and not state["warned"]:
            state["warned"] = True
            found = ", ".join(f"`{name}`" for name in logs) or "none"
            view.say(f"warning: {type(self).__name__} finds no `{self.monitor}` in the logs (there: {found})")
        return logs.get(self.monitor)

    @staticmethod
    def _better(state: State, value: float, reference: float | None, min_delta: float = 0.0) -> bool:
        """Whether `value` beats `reference` by more than `min_delta`, compared in float32 as Keras does."""
        if reference is None:
            return True
        if state["direction"] == "up":
            return bool(np.float32(value - abs(min_delta)) > np.float32(reference))
        return bool(np.float32(value + abs(min_delta)) < np.float32(reference))
