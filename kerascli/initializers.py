"""Initial values of weights, drawn from Keras's distributions."""

from __future__ import annotations

import numpy as np

from kerascli.component import Component
from kerascli.ops.ir import Array, Shape


class Initializer(Component):
    """A rule that makes the first values of a weight."""

    family = "initializer"
    snake_names = True

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        """An array of that shape; the caller casts it to the weight's dtype."""
        raise NotImplementedError
