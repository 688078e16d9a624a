"""Gradient descent, plain or with momentum."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.ops.ir import Array
from kerascli.optimizers.base import Optimizer
from kerascli.schedules import Rate


class SGD(Optimizer):
    """Gradient descent.

    w ← w - lr·g; with momentum m ← μ·m - lr·g and w ← w + m, or with Nesterov's w ← w + μ·m - lr·g.
    """

    aliases = ("sgd",)
    scratches = 2
    examples = (
        Example(),
        Example({"learning_rate": 0.05, "momentum": 0.9}),
        Example({"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
    )

    learning_rate: Rate = 0.01
    """Size of the steps: a number, or a schedule by the step."""
    momentum: float = Field(0.0, ge=0, le=1)
    """Part of the last step that is taken again."""
    nesterov: bool = False
    """Whether to look ahead along the momentum (Nesterov)."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"momentum": 0.0},) if self.momentum else ()

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        down, ahead = scratch[:2]
        np.multiply(g, lr, out=down)
        if not self.momentum:
            np.subtract(w, down, out=w)
            return
        m = slots["momentum"]
        np.multiply(m, self.momentum, out=m)
        np.subtract(m, down, out=m)
        if not self.nesterov:
            np.add(w, m, out=w)
            return
        np.multiply(m, self.momentum, out=ahead)
        np.subtract(ahead, down, out=ahead)
        np.add(w, ahead, out=w)
