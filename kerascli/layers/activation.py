"""Activations as layers of their own."""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from kerascli import activations
from kerascli.component import Example
from kerascli.constraints import Constraint
from kerascli.initializers import Initializer, Zeros
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import penalise, sample_axes, trimmed
from kerascli.ops.elementwise import cast, multiply, negative, subtract, where
from kerascli.ops.ir import Shape, Value
from kerascli.ops.shape import reshape, with_last
from kerascli.ops.softmax import softmax
from kerascli.regularizers import Regularizer


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


class Activation(Layer):
    """An activation of the input, by its name."""

    examples = (
        Example({"activation": "relu"}, inputs=((5,),)),
        Example({"activation": {"type": "elu", "alpha": 0.5}, "activity_regularizer": "l2"}, inputs=((2, 3),)),
        Example({"activation": "glu"}, inputs=((3, 4),)),
        Example({"activation": "softmax"}, inputs=((2, 4),)),
    )

    activation: activations.Activation
    """The function."""
    activity_regularizer: Regularizer | None = None
    """Penalty on the output, per sample of the batch."""

    def infer_shape(self, shape: Shape) -> Shape:
        return self.activation.infer_shape(shape)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return penalise(context, self.activity_regularizer, self.activation.apply(x))


class ReLU(Layer):
    """max(x, 0); generally negative_slope · (x - threshold) below the threshold, x above it, at most max_value."""

    examples = (
        Example(inputs=((5,),)),
        Example({"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}, inputs=((2, 3),)),
    )

    max_value: float | None = Field(None, ge=0)
    """Largest value of the output; none by default."""
    negative_slope: float = Field(0.0, ge=0)
    """Slope below the threshold."""
    threshold: float = Field(0.0, ge=0)
    """Value below which x is damped or set to zero."""

    def infer_shape(self, shape: Shape) -> Shape:
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        function = activations.Relu(
            negative_slope=self.negative_slope, max_value=self.max_value, threshold=self.threshold
        )
        return function.apply(x)


class LeakyReLU(Layer):
    """x where x > 0, else negative_slope · x."""

    examples = (Example(inputs=((5,),)), Example({"negative_slope": 0.05}, inputs=((2, 3),)))

    negative_slope: float = Field(0.3, ge=0)
    """Slope for negative x (0.3 here, 0.2 in the activation `leaky_relu`)."""

    def infer_shape(self, shape: Shape) -> Shape:
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return activations.LeakyRelu(negative_slope=self.negative_slope).apply(x)


class ELU(Layer):
    """x where x > 0, else alpha · (exp(x) - 1). Source: Clevert, Unterthiner and Hochreiter, 2016."""

    examples = (Example(inputs=((5,),)), Example({"alpha": 0.5}, inputs=((2, 3),)))

    alpha: float = Field(1.0, ge=0)
    """Height of the step down that negative x approach."""

    def infer_shape(self, shape: Shape) -> Shape:
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return activations.Elu(alpha=self.alpha).apply(x)


class PReLU(Layer):
    """x where x > 0, else α · x, with an α that is learnt for every place of a sample.

    Source: He, Zhang, Ren and Sun, 2015.
    """

    examples = (
        Example(inputs=((5,),)),
        Example({"shared_axes": [1, 2], "alpha_initializer": "he_normal"}, inputs=((2, 3, 4),)),
        Example({"shared_axes": [2], "alpha_regularizer": "l2", "alpha_constraint": "non_neg"}, inputs=((3, 4),)),
    )

    alpha_initializer: Initializer = Zeros()
    """First values of α."""
    alpha_regularizer: Regularizer | None = None
    """Penalty on α."""
    alpha_constraint: Constraint | None = None
    """Rule that α obeys."""
    shared_axes: Annotated[list[int] | None, BeforeValidator(_as_list)] = None
    """Axes along which α is the same, such as `[1, 2]` for an image; the batch is axis 0."""

    def infer_shape(self, shape: Shape) -> Shape:
        self._extent(shape)
        return shape

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return (self._trained("alpha", self._extent(shape)),)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        relu = activations.Relu()
        alpha = reshape(w["alpha"], trimmed(w["alpha"].shape))
        return subtract(relu.apply(x), multiply(relu.apply(negative(x)), alpha))

    def _extent(self, shape: Shape) -> Shape:
        shared = sample_axes(self.shared_axes or (), shape)
        return tuple(1 if k in shared else n for k, n in enumerate(shape))


class Softmax(Layer):
    """exp(x) / Σ exp(x) along one axis, or over several together.

    A mask of the input's own shape leaves numbers out; Keras refuses masks of other shapes, here they just pass on.
    """

    examples = (
        Example(inputs=((5,),)),
        Example({"axis": 1}, inputs=((2, 3),)),
        Example({"axis": [1, 3]}, inputs=((2, 3, 4),)),
    )

    axis: int | list[int] = -1
    """Axis, or axes, along which the results add up to 1; the batch is axis 0."""

    def infer_shape(self, shape: Shape) -> Shape:
        sample_axes(self.axis, shape)
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        mask = context.masks[0]
        if mask is not None and mask.shape != x.shape:
            mask = None
        if mask is not None:
            x = where(mask, x, -1e9)
        y = self._softmax(x, sample_axes(self.axis, x.shape))
        return y if mask is None else multiply(y, cast(mask, "float"))

    def _softmax(self, x: Value, axes: tuple[int, ...]) -> Value:
        if len(axes) == 1:
            return softmax(x, axes[0])
        return with_last(x, axes, lambda moved: _joint_softmax(moved, len(axes)))


def _joint_softmax(x: Value, axes: int) -> Value:
    """Over the last `axes` axes together."""
    kept = x.shape[:-axes]
    return reshape(softmax(reshape(x, (*kept, x.size // prod(kept)))), x.shape)
