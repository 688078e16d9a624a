"""Learning rates that change with the step, in Keras's float32 arithmetic."""

from __future__ import annotations

from kerascli.component import Component


class Schedule(Component):
    """A learning rate as a function of the step."""

    family = "schedule"

    def rate(self, step: int) -> float:
        """The learning rate of that step, counted from 0."""
        raise NotImplementedError
