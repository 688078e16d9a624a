"""Lamb: Adam with steps in proportion to the size of each weight."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.ops.ir import Array
from kerascli.optimizers.base import Optimizer, moments, norm, start_correction


class Lamb(Optimizer):
    """Adam whose step for each weight is as long as the weight itself, times the learning rate.

    u = m̂ / (√v̂ + ε) with Adam's corrected means, w ← w - lr·u·‖w‖ / ‖u‖, the quotient being 1 where a norm is 0.
    Source: You et al., 2019.
    """

    aliases = ("lamb",)
    elementwise = False
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

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        m, v, (u, s) = slots["momentum"], slots["velocity"], scratch[:2]
        moments(m, v, g, (1 - self.beta_1, 1 - self.beta_2), s)
        np.divide(v, start_correction(self.beta_2, t), out=s)
        np.sqrt(s, out=s)
        np.add(s, self.epsilon, out=s)
        np.divide(m, start_correction(self.beta_1, t), out=u)
        np.divide(u, s, out=u)
        length, step = norm(w), norm(u)
        np.multiply(u, lr * (length / step if length > 0 and step > 0 else 1.0), out=u)
        np.subtract(w, u, out=w)
