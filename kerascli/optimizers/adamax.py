"""Adamax and Nadam: Adam with the largest gradient for its scale, and Adam that looks ahead as Nesterov does."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.ops.ir import Array
from kerascli.optimizers.base import Optimizer, approach, moments, start_correction

HALVINGS = np.cumprod(1 - 0.5 * 0.96 ** np.arange(1, 601))
"""Products of Nadam's 1 - 0.96ⁱ / 2; they no longer change after some 500 steps."""


class Adamax(Optimizer):
    """Adam with the largest absolute gradient of the past, which fades, in place of the root mean square.

    m ← m + (1 - β₁)(g - m), u ← max(β₂·u, |g|), w ← w - lr·m / ((1 - β₁ᵗ)(u + ε)). Source: Kingma and Ba, 2014, §7.
    """

    aliases = ("adamax",)
    examples = (Example(), Example({"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-4}))

    beta_1: float = Field(0.9, ge=0, lt=1)
    """Part of the old mean gradient that stays at each step."""
    beta_2: float = Field(0.999, ge=0, lt=1)
    """How much of the largest gradient is remembered at each step."""
    epsilon: float = Field(1e-7, ge=0)
    """A small number that keeps the division finite."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"momentum": 0.0, "norm": 0.0},)

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        m, u, s = slots["momentum"], slots["norm"], scratch[0]
        approach(m, g, 1 - self.beta_1, s)
        np.multiply(u, self.beta_2, out=u)
        np.abs(g, out=s)
        np.maximum(u, s, out=u)
        np.add(u, self.epsilon, out=s)
        np.divide(m, s, out=s)
        np.multiply(s, lr / start_correction(self.beta_1, t), out=s)
        np.subtract(w, s, out=w)


class Nadam(Optimizer):
    """Adam with Nesterov momentum, the momentum growing from half of β₁ to β₁.

    μᵢ = β₁(1 - 0.96ⁱ / 2), Πₜ = μ₁·…·μₜ; m and v as Adam's; w ← w - lr·m̂ / (√(v / (1 - β₂ᵗ)) + ε), where
    m̂ = μₜ₊₁·m / (1 - Πₜ₊₁) + (1 - μₜ)·g / (1 - Πₜ). Source: Dozat, 2015. As in Keras, 1 - β is in float32.
    """

    aliases = ("nadam",)
    scratches = 2
    examples = (Example(), Example({"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-4}))

    beta_1: float = Field(0.9, ge=0, lt=1)
    """Part of the old mean gradient that stays at each step."""
    beta_2: float = Field(0.999, ge=0, lt=1)
    """Part of the old mean square that stays at each step."""
    epsilon: float = Field(1e-7, ge=0)
    """A small number that keeps the division finite."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"momentum": 0.0, "velocity": 0.0},)

    def totals(self, iteration: int) -> dict[str, float]:
        return {"u_product": self._product(self.updates(iteration))}

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        m, v = slots["momentum"], slots["velocity"]
        ahead, s = scratch[:2]
        moments(m, v, g, (1 - np.float32(self.beta_1), 1 - np.float32(self.beta_2)), s)
        np.multiply(m, self._momentum(t + 1) / (1 - self._product(t + 1)), out=ahead)
        np.multiply(g, (1 - self._momentum(t)) / (1 - self._product(t)), out=s)
        np.add(ahead, s, out=ahead)
        np.divide(v, start_correction(self.beta_2, t), out=s)
        np.sqrt(s, out=s)
        np.add(s, self.epsilon, out=s)
        np.multiply(ahead, lr, out=ahead)
        np.divide(ahead, s, out=ahead)
        np.subtract(w, ahead, out=w)

    def _momentum(self, t: int) -> float:
        return self.beta_1 * (1 - 0.5 * 0.96**t)

    def _product(self, t: int) -> float:
        return float(self.beta_1**t * HALVINGS[min(t, len(HALVINGS)) - 1]) if t else 1.0
