"""Adagrad and Adadelta: steps divided by the root of all squared gradients, or of a moving average of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.ops.ir import Array
from kerascli.optimizers.base import Optimizer, blend


class Adagrad(Optimizer):
    """Gradient descent with each step divided by the root of the sum of all squared gradients so far.

    a ← a + g² and w ← w - lr·g / √(a + ε). Source: Duchi et al., 2011; ε is in the root, as in Keras.
    """

    aliases = ("adagrad",)
    examples = (
        Example(),
        Example({"learning_rate": 0.05, "initial_accumulator_value": 0.3, "epsilon": 1e-4}),
    )

    initial_accumulator_value: float = Field(0.1, ge=0)
    """First value of the sums of squared gradients."""
    epsilon: float = Field(1e-7, ge=0)
    """A small number that keeps the division finite."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"accumulator": self.initial_accumulator_value},)

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        total, down = slots["accumulator"], scratch[0]
        np.multiply(g, g, out=down)
        np.add(total, down, out=total)
        np.add(total, self.epsilon, out=down)
        np.sqrt(down, out=down)
        np.divide(g, down, out=down)
        np.multiply(down, lr, out=down)
        np.subtract(w, down, out=w)


class Adadelta(Optimizer):
    """Gradient descent with each step in the units of the weights: times the root mean square of the last steps.

    a ← ρ·a + (1 - ρ)·g², d = g·√(b + ε) / √(a + ε), b ← ρ·b + (1 - ρ)·d² and w ← w - lr·d. Source: Zeiler, 2012.
    """

    aliases = ("adadelta",)
    scratches = 2
    examples = (Example(), Example({"learning_rate": 1.0, "rho": 0.8, "epsilon": 1e-4}))

    rho: float = Field(0.95, ge=0, le=1)
    """Part of the old averages that stays at each step."""
    epsilon: float = Field(1e-7, ge=0)
    """A small number that keeps the division finite and lets the first steps begin."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"accumulated_grad": 0.0, "accumulated_delta_var": 0.0},)

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        squares, moved = slots["accumulated_grad"], slots["accumulated_delta_var"]
        down, s = scratch[:2]
        self._mix(squares, g, s)
        np.add(moved, self.epsilon, out=down)
        np.sqrt(down, out=down)
        np.multiply(down, g, out=down)
        np.add(squares, self.epsilon, out=s)
        np.sqrt(s, out=s)
        np.divide(down, s, out=down)
        self._mix(moved, down, s)
        np.multiply(down, lr, out=down)
        np.subtract(w, down, out=w)

    def _mix(self, average: Array, x: Array, s: Array) -> None:
        """average ← ρ·average + (1 - ρ)·x²."""
        np.multiply(x, x, out=s)
        blend(average, self.rho, s, 1 - self.rho, s)
