"""A model that computes a share of each batch, for backends on which `keras.distribution` does not deal out batches.

Each device is given the whole batch and computes its share of it, and the outputs of all shares are brought together
before losses and metrics see them. So these are of the whole batch by their definition, whatever they divide by, on
every device; what is left to the backend's own means is to add up the gradients.
"""

from __future__ import annotations

from typing import Any, Protocol

import keras


class Dealer(Protocol):
    """Who deals out batches."""

    def deals(self, inputs: Any) -> bool:
        """Whether these inputs are dealt out, or computed by each device."""

    def share(self, array: Any) -> Any:
        """This device's rows."""

    def gathered(self, array: Any) -> Any:
        """The rows of all devices. Its gradient is such that those of the weights add up to that of the batch."""

    def compute(self, inputs: Any, training: bool | None) -> Any:
        """What the layers make of the inputs: `Dealt.layers_alone`, with what the backend has to do around it."""

    def averaged(self, loss: Any) -> Any:
        """The loss, with the mean of all devices for its value: outputs have penalties that are of a share alone."""


class Dealt(keras.Model):  # type: ignore[misc]
    """The layers of a functional model, on shares of the batches."""

    dealer: Dealer

    def layers_alone(self, inputs: Any, training: bool | None) -> Any:
        return super().call(inputs, training=training)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        dealer = self.dealer
        if not dealer.deals(inputs):
            return dealer.compute(inputs, training)
        outputs = dealer.compute(keras.tree.map_structure(dealer.share, inputs), training)
        return keras.tree.map_structure(self._gathered, outputs)

    def _gathered(self, output: Any) -> Any:
        """Of all devices, with the mask that Keras's losses look for."""
        found, mask = self.dealer.gathered(output), getattr(output, "_keras_mask", None)
        if mask is not None:
            found._keras_mask = keras.ops.cast(self.dealer.gathered(keras.ops.cast(mask, "float32")), "bool")
        return found

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        return self.dealer.averaged(super().compute_loss(x, y, y_pred, sample_weight, training))


def dealt(model: Any, dealer: Dealer) -> Dealt:
    """The same layers, and so the same variables, on shares."""
    inputs, outputs = (found[0] if len(found) == 1 else found for found in (model.inputs, model.outputs))
    found = Dealt(inputs, outputs, name=model.name)
    found.dealer = dealer
    return found
