"""Schedule-free AdamW: a running mean of the weights in place of a falling learning rate."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.ops.ir import Array
from kerascli.optimizers.base import Optimizer, approach, blend, start_correction
from kerascli.schedules import Rate


class ScheduleFreeAdamW(Optimizer):
    """AdamW on a fast copy z of the weights, whose mean x over all steps takes the place of a schedule.

    v ← v + (1 - β₂)(g² - v), z ← z - lr·g / (√(v / (1 - β₂ᵗ)) + ε), x ← x + (z - x) / t; gradients are taken at
    w = (1 - β₁)·z + β₁·x. x is not kept: it is (w - (1 - β₁)·z) / β₁. Source: Defazio et al., 2024. As in Keras, models
    are evaluated and saved with w, z begins as the first weights, and weight decay does not touch z.
    """

    aliases = ("schedulefreeadamw",)
    scratches = 2
    examples = (Example(), Example({"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.95, "warmup_steps": 5}))

    learning_rate: Rate = 0.0025
    """Size of the steps: a number, or a schedule by the step."""
    beta_1: float = Field(0.9, gt=0, le=1)
    """Where between the fast weights (0) and their mean (1) gradients are taken."""
    beta_2: float = Field(0.999, ge=0, lt=1)
    """Part of the old mean square that stays at each step."""
    epsilon: float = Field(1e-8, ge=0)
    """A small number that keeps the division finite."""
    warmup_steps: int = Field(0, ge=0)
    """Number of first steps over which the learning rate rises."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"momentum": 0.0, "velocity": 0.0},)

    def advance(
        self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], iteration: int, lr: float
    ) -> None:
        if iteration == 0:
            np.copyto(slots["momentum"], w)
        super().advance(w, g, slots, scratch, iteration, lr)

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        z, v, (mean, s) = slots["momentum"], slots["velocity"], scratch[:2]
        np.multiply(z, 1 - np.float32(self.beta_1), out=s)
        np.subtract(w, s, out=mean)
        np.divide(mean, self.beta_1, out=mean)
        np.multiply(g, g, out=s)
        approach(v, s, 1 - np.float32(self.beta_2), s)
        np.divide(v, start_correction(self.beta_2, t), out=s)
        np.sqrt(s, out=s)
        np.add(s, self.epsilon, out=s)
        np.divide(g, s, out=s)
        np.multiply(s, lr * min(t / self.warmup_steps, 1) if self.warmup_steps else lr, out=s)
        np.subtract(z, s, out=z)
        blend(mean, 1 - 1 / t, z, 1 / t, s)
        np.multiply(mean, self.beta_1, out=mean)
        np.multiply(z, 1 - np.float32(self.beta_1), out=s)
        np.add(s, mean, out=w)
