"""Adam, and Adam with weight decay."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.ops.ir import Array
from kerascli.optimizers.base import Optimizer, moments, start_correction


class Adam(Optimizer):
    """Moving averages of gradients and of their squares, corrected for their start at zero.

    m ← m + (1 - β₁)(g - m), v ← v + (1 - β₂)(g² - v), w ← w - α·m / (√v + ε) with α = lr·√(1 - β₂ᵗ) / (1 - β₁ᵗ).
    amsgrad takes the largest v so far. Source: Kingma and Ba, 2014; Reddi et al., 2018. As in Keras, both corrections
    are in α, so that ε is the paper's ε̂, and α is in float32.
    """

    aliases = ("adam",)
    examples: ClassVar[tuple[Example, ...]] = (
        Example(),
        Example({"amsgrad": True, "beta_1": 0.8, "beta_2": 0.95}),
        Example({"learning_rate": 0.01, "epsilon": 1e-3, "weight_decay": 0.01}),
    )

    beta_1: float = Field(0.9, ge=0, lt=1)
    """Part of the old mean gradient that stays at each step."""
    beta_2: float = Field(0.999, ge=0, lt=1)
    """Part of the old mean square that stays at each step."""
    epsilon: float = Field(1e-7, ge=0)
    """A small number that keeps the division finite."""
    amsgrad: bool = False
    """Whether to divide by the root of the largest mean square so far."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"momentum": 0.0, "velocity": 0.0}, *(({"velocity_hat": 0.0},) if self.amsgrad else ()))

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        m, v, s = slots["momentum"], slots["velocity"], scratch[0]
        moments(m, v, g, (1 - self.beta_1, 1 - self.beta_2), s)
        if self.amsgrad:
            largest = slots["velocity_hat"]
            v = np.maximum(largest, v, out=largest)
        np.sqrt(v, out=s)
        np.add(s, self.epsilon, out=s)
        np.divide(m, s, out=s)
        np.multiply(s, self._alpha(t, lr), out=s)
        np.subtract(w, s, out=w)

    def _alpha(self, t: int, lr: float) -> float:
        """The learning rate with both corrections."""
        return lr * math.sqrt(start_correction(self.beta_2, t)) / start_correction(self.beta_1, t)


class AdamW(Adam):
    """Adam that also takes a part of each weight off before a step.

    w ← w - w·weight_decay·lr, then Adam's rule. Source: Loshchilov and Hutter, 2017.
    """

    aliases = ("adamw",)
    examples = (Example(), Example({"weight_decay": 0.1, "learning_rate": 0.01, "amsgrad": True}))

    weight_decay: float = Field(0.004, ge=0)
    """Part of each weight, times the learning rate, that is taken off before a step."""
