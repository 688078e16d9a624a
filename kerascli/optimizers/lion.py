"""Lion: steps of one size, by the sign of a momentum."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.ops.ir import Array
from kerascli.optimizers.base import Optimizer, blend


class Lion(Optimizer):
    """Steps of the learning rate up or down, by the sign of a mean of gradients.

    w ← w - lr·sign(β₁·m + (1 - β₁)·g) and m ← β₂·m + (1 - β₂)·g. Source: Chen et al., 2023.
    """

    aliases = ("lion",)
    scratches = 2
    examples = (Example(), Example({"learning_rate": 0.01, "beta_1": 0.7, "beta_2": 0.8}))

    beta_1: float = Field(0.9, gt=0, le=1)
    """Part of the old mean in the direction of a step."""
    beta_2: float = Field(0.99, ge=0, le=1)
    """Part of the old mean that stays at each step."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"momentum": 0.0},)

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        m, (down, s) = slots["momentum"], scratch[:2]
        np.multiply(m, self.beta_1, out=down)
        np.multiply(g, 1 - np.float32(self.beta_1), out=s)
        np.add(down, s, out=down)
        np.sign(down, out=down)
        np.multiply(down, lr, out=down)
        np.subtract(w, down, out=w)
        blend(m, self.beta_2, g, 1 - np.float32(self.beta_2), s)
