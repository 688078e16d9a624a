"""Penalties on a weight that training adds to the loss."""

from __future__ import annotations

from kerascli.component import Component
from kerascli.ops.ir import Value


class Regularizer(Component):
    """A penalty on an array, such as a weight or a layer's output."""

    family = "regularizer"
    snake_names = True

    def penalty(self, w: Value) -> Value:
        """A scalar: the amount that the loss grows by."""
        raise NotImplementedError
