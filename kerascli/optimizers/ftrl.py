"""FTRL: follow the regularized leader."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.ops.ir import Array
from kerascli.optimizers.base import Optimizer


class Ftrl(Optimizer):
    """Weights solved anew at each step from the sum of all gradients, so that an L1 penalty makes them exactly 0.

    n' = n + g², z ← z + g + 2·s·w - (n'⁻ᵖ - n⁻ᵖ) / lr · w, w = (clip(z, ±λ₁) - z) / (n'⁻ᵖ / lr + 2·λ₂ + β / lr),
    with p the learning rate's power and s the shrinkage. Source: McMahan et al., 2013.
    """

    aliases = ("ftrl",)
    scratches = 3
    examples = (
        Example(),
        Example({"learning_rate": 0.1, "l1_regularization_strength": 0.01, "l2_regularization_strength": 0.1}),
        Example({"learning_rate": 0.1, "learning_rate_power": -0.7, "initial_accumulator_value": 0.5, "beta": 0.2}),
        Example({"learning_rate": 0.05, "l2_shrinkage_regularization_strength": 0.1}),
        Example({"learning_rate": 0.05, "learning_rate_power": 0.0}),
    )

    learning_rate_power: float = Field(-0.5, le=0)
    """How the steps shrink with the sum of squared gradients; 0 keeps them as they are."""
    initial_accumulator_value: float = Field(0.1, ge=0)
    """First value of the sums of squared gradients."""
    l1_regularization_strength: float = Field(0.0, ge=0)
    """Strength of the penalty on absolute weights."""
    l2_regularization_strength: float = Field(0.0, ge=0)
    """Strength of the penalty on squared weights."""
    l2_shrinkage_regularization_strength: float = Field(0.0, ge=0)
    """Strength of a pull of the weights to 0 that counts as a part of the gradients."""
    beta: float = 0.0
    """A number that holds the first steps small."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"accumulator": self.initial_accumulator_value, "linear": 0.0},)

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        n, z, (root, pull, s) = slots["accumulator"], slots["linear"], scratch[:3]
        np.power(n, np.float32(-self.learning_rate_power), out=s)
        np.multiply(g, g, out=root)
        np.add(n, root, out=n)
        np.power(n, np.float32(-self.learning_rate_power), out=root)
        np.subtract(root, s, out=s)
        np.divide(s, lr, out=s)
        np.multiply(s, w, out=s)
        np.multiply(w, 2 * self.l2_shrinkage_regularization_strength, out=pull)
        np.add(g, pull, out=pull)
        np.subtract(pull, s, out=pull)
        np.add(z, pull, out=z)
        np.divide(root, lr, out=root)
        np.add(root, 2 * (self.l2_regularization_strength + self.beta / (2 * lr)), out=root)
        np.clip(z, -self.l1_regularization_strength, self.l1_regularization_strength, out=s)
        np.subtract(s, z, out=s)
        np.divide(s, root, out=w)
