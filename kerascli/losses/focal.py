"""Focal crossentropies: samples that are already told well count less."""

from pydantic import Field

from kerascli.component import Example
from kerascli.losses.base import class_axis_last, floats
from kerascli.losses.probabilistic import BinaryCrossentropy, CategoricalCrossentropy
from kerascli.ops import elementwise, reduction
from kerascli.ops.activation import sigmoid
from kerascli.ops.ir import Value
from kerascli.ops.loss import EPSILON
from kerascli.ops.softmax import softmax


class BinaryFocalCrossentropy(BinaryCrossentropy):
    """The mean of (1 - p_t)^γ times the binary crossentropy, p_t being the probability given to the truth.

    Source: Lin et al., 2018. As in Keras on JAX, a probability held at 1e-7 or 1 - 1e-7 stops the gradient of the
    crossentropy.
    """

    aliases = ()
    examples = (
        Example(inputs=((1,), ())),
        Example({"gamma": 1.0, "label_smoothing": 0.2}, inputs=((3,), (3,))),
        Example({"apply_class_balancing": True, "alpha": 0.7, "gamma": 3.0, "from_logits": True}, inputs=((3,), (3,))),
        Example({"axis": 1, "gamma": 0.0}, inputs=((4, 3), (4, 3))),
    )

    apply_class_balancing: bool = False
    """Whether to weight the targets of 1 by `alpha` and those of 0 by 1 - `alpha`."""
    alpha: float = 0.25
    """Weight of the targets of 1."""
    gamma: float = Field(default=2.0, ge=0)
    """How much less the easy samples count; 0 is the plain crossentropy."""

    def values(self, y_true: Value, y_pred: Value) -> Value:
        y = class_axis_last(floats(y_true, y_pred), self.axis)
        p = class_axis_last(y_pred, self.axis)
        if self.label_smoothing:
            y = elementwise.add(elementwise.multiply(y, 1 - self.label_smoothing), 0.5 * self.label_smoothing)
        if self.from_logits:
            p = sigmoid(p)
        inside = elementwise.clip(p, EPSILON, 1 - EPSILON)
        found = _blend(y, elementwise.log(inside), elementwise.log(elementwise.subtract(1.0, inside)))
        missed = elementwise.subtract(1.0, _blend(y, p, elementwise.subtract(1.0, p)))
        values = _focused(elementwise.negative(found), missed, self.gamma)
        if self.apply_class_balancing:
            weights = elementwise.add(elementwise.multiply(y, 2 * self.alpha - 1), 1 - self.alpha)
            values = elementwise.multiply(weights, values)
        return reduction.mean(values, -1)


class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """-Σ α · (1 - p)^γ · y · log p over the classes, y one-hot or a distribution; p is made to sum to 1.

    Source: Lin et al., 2018. As in Keras on JAX, a probability held at 1e-7 or 1 - 1e-7 stops the gradient.
    """

    examples = (
        Example(inputs=((4,), (4,))),
        Example({"gamma": 1.0, "alpha": 0.6, "label_smoothing": 0.1}, inputs=((3, 4), (3, 4))),
        Example({"from_logits": True, "gamma": 3.0}, inputs=((4,), (4,))),
        Example({"axis": 1, "gamma": 0.0}, inputs=((4, 3), (4, 3))),
    )

    alpha: float = 0.25
    """Weight of all classes."""
    gamma: float = Field(default=2.0, ge=0)
    """How much less the easy samples count; 0 is the plain crossentropy times `alpha`."""

    def values(self, y_true: Value, y_pred: Value) -> Value:
        y = floats(y_true, y_pred)
        if self.label_smoothing:
            y = elementwise.add(
                elementwise.multiply(y, 1 - self.label_smoothing), self.label_smoothing / y_true.shape[-1]
            )
        y, p = class_axis_last(y, self.axis), class_axis_last(y_pred, self.axis)
        if self.from_logits:
            p = softmax(p)
        p = elementwise.divide(p, reduction.sum(p, -1, keepdims=True))
        p = elementwise.clip(p, EPSILON, 1 - EPSILON)
        found = elementwise.multiply(elementwise.log(p), elementwise.multiply(y, -self.alpha))
        return reduction.sum(_focused(found, elementwise.subtract(1.0, p), self.gamma), -1)


def _blend(share: Value, a: Value, b: Value) -> Value:
    """share · a + (1 - share) · b."""
    return elementwise.add(elementwise.multiply(share, a), elementwise.multiply(elementwise.subtract(1.0, share), b))


def _focused(values: Value, missed: Value, gamma: float) -> Value:
    """values · missed^γ; at γ = 0 the derivative of the power is not 0 · ∞."""
    return elementwise.multiply(values, elementwise.power(missed, gamma)) if gamma else values
