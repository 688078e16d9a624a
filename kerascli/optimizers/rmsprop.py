"""RMSprop."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.ops.ir import Array
from kerascli.optimizers.base import Optimizer, blend


class RMSprop(Optimizer):
    """Gradient descent with each step divided by the root of a moving average of squared gradients.

    v ← ρ·v + (1 - ρ)·g² and w ← w - lr·g / √(v + ε); centered: √(v - a² + ε), where a ← ρ·a + (1 - ρ)·g;
    with momentum, m ← μ·m + the step, and w ← w - m. Source: Tieleman and Hinton, 2012; ε is in the root, as in Keras.
    """

    aliases = ("rmsprop",)
    examples = (
        Example(),
        Example({"rho": 0.8, "momentum": 0.9}),
        Example({"centered": True, "epsilon": 1e-5}),
        Example({"centered": True, "momentum": 0.5, "learning_rate": 0.01}),
    )

    rho: float = Field(0.9, ge=0, le=1)
    """Part of the old averages that stays at each step."""
    momentum: float = Field(0.0, ge=0)
    """Part of the last step that is taken again."""
    epsilon: float = Field(1e-7, ge=0)
    """A small number that keeps the division finite."""
    centered: bool = False
    """Whether to divide by the root of the variance rather than of the mean square."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return (
            {"velocity": 0.0},
            *(({"momentum": 0.0},) if self.momentum else ()),
            *(({"average_gradient": 0.0},) if self.centered else ()),
        )

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        v, s = slots["velocity"], scratch[0]
        np.multiply(g, g, out=s)
        blend(v, self.rho, s, 1 - self.rho, s)
        if self.centered:
            self._variance(slots["average_gradient"], v, g, s)
            np.add(s, self.epsilon, out=s)
        else:
            np.add(v, self.epsilon, out=s)
        np.sqrt(s, out=s)
        np.divide(g, s, out=s)
        np.multiply(s, lr, out=s)
        if self.momentum:
            m = slots["momentum"]
            np.multiply(m, self.momentum, out=m)
            np.add(m, s, out=m)
            np.subtract(w, m, out=w)
        else:
            np.subtract(w, s, out=w)

    def _variance(self, average: Array, v: Array, g: Array, s: Array) -> None:
        """Update the mean gradient, and leave v - average² in `s`."""
        blend(average, self.rho, g, 1 - self.rho, s)
        np.multiply(average, average, out=s)
        np.subtract(v, s, out=s)
