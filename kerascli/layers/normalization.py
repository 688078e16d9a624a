"""Normalisation of each sample alone beside LayerNormalization: by groups, by root mean square, to unit length."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from kerascli.component import Example
from kerascli.constraints import Constraint
from kerascli.initializers import Initializer, Ones, Zeros
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import _Unmasked, sample_axes
from kerascli.layers.layer_normalization import _trimmed
from kerascli.ops.elementwise import add, multiply
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.layer_norm import standardise
from kerascli.ops.row_norm import rms_normalise, unit_normalise
from kerascli.ops.shape import permute, reshape
from kerascli.regularizers import Regularizer

Axes = int | list[int]


def with_last(x: Value, axes: tuple[int, ...], rule: Callable[[Value], Value]) -> Value:
    """`rule` of x with some of a sample's axes moved to the end, and back again."""
    order = (*(k for k in range(len(x.shape)) if k not in axes), *axes)
    return permute(rule(permute(x, order)), tuple(map(order.index, range(len(order)))))


def _axes(axis: Axes, shape: Shape) -> tuple[int, ...]:
    return sample_axes(axis if isinstance(axis, int) else tuple(axis), shape)


class UnitNormalization(Layer):
    """y = x / √Σx², the sum over `axis` of each sample; what is shorter than 1e-12 counts as that long."""

    examples = (
        Example(inputs=((6,),)),
        Example({"axis": 1}, inputs=((3, 4),)),
        Example({"axis": [1, 3]}, inputs=((2, 3, 4),)),
    )

    axis: Axes = -1
    """Axis, or axes, that get length 1 together; the batch is axis 0."""

    def infer_shape(self, shape: Shape) -> Shape:
        _axes(self.axis, shape)
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        axes = _axes(self.axis, x.shape)
        return with_last(x, axes, lambda moved: unit_normalise(moved, len(axes), 1e-12))


class RMSNormalization(_Unmasked):
    """y = scale · x / √(mean(x²) + ε), the mean over the last axis, or axes, of each sample.

    Source: Zhang and Sennrich, 2019. Departure: Keras takes other axes too, but multiplies by a scale that does not
    fit them; here they are refused.
    """

    examples = (
        Example(inputs=((6,),)),
        Example({"axis": [1, 2], "epsilon": 1e-3}, inputs=((3, 4),)),
        Example({"axis": -1}, inputs=((2, 5),)),
    )

    axis: Axes = -1
    """The last axis, or several of the last ones, that the mean is taken over; the batch is axis 0."""
    epsilon: float = Field(1e-6, ge=0)
    """Added to the mean square."""

    def infer_shape(self, shape: Shape) -> Shape:
        axes = _axes(self.axis, shape)
        if axes != tuple(range(len(shape) - len(axes), len(shape))):
            raise ShapeError(
                f"`axis` {self.axis} is not the end of a sample {shape}",
                "use the last axes, or put Permute before and after",
            )
        return shape

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return (WeightSpec("scale", tuple(shape[k] for k in _axes(self.axis, shape)), Ones()),)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return multiply(rms_normalise(x, len(_axes(self.axis, x.shape)), self.epsilon), w["scale"])

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"axis": [self.axis] if isinstance(self.axis, int) else sorted(self.axis)}


def _some(groups: int) -> int:
    if groups < 1 and groups != -1:
        raise PydanticCustomError("groups", "must be at least 1, or -1 for a group of each channel")
    return groups


class GroupNormalization(Layer):
    """y = γ (x - μ) / √(σ² + ε) + β, with mean and variance over a group of channels and all places of a sample.

    γ and β have a number for each channel. Source: Wu and He, 2018.
    """

    examples = (
        Example({"groups": 2}, inputs=((3, 4, 6),)),
        Example({"groups": -1, "epsilon": 1e-5, "gamma_initializer": "ones"}, inputs=((4, 3),)),
        Example({"groups": 3, "axis": 1, "center": False}, inputs=((6, 2),)),
        Example({"groups": 1, "scale": False, "beta_regularizer": "l2"}, inputs=((4,),)),
    )

    groups: Annotated[int, AfterValidator(_some)] = 32
    """Number of groups, which divides that of the channels; -1 for a group of each channel."""
    axis: int = -1
    """Axis of the channels; the batch is axis 0."""
    epsilon: float = Field(1e-3, ge=0)
    """Added to the variance."""
    center: bool = True
    """Whether β is added."""
    scale: bool = True
    """Whether the result is multiplied by γ."""
    beta_initializer: Initializer = Zeros()
    """First values of β."""
    gamma_initializer: Initializer = Ones()
    """First values of γ."""
    beta_regularizer: Regularizer | None = None
    """Penalty on β."""
    gamma_regularizer: Regularizer | None = None
    """Penalty on γ."""
    beta_constraint: Constraint | None = None
    """Rule that β obeys."""
    gamma_constraint: Constraint | None = None
    """Rule that γ obeys."""

    def infer_shape(self, shape: Shape) -> Shape:
        channels = shape[self._channel_axis(shape)]
        if channels % self._groups(shape):
            raise ShapeError(f"{channels} channels do not divide into {self.groups} groups")
        return shape

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        own = (shape[self._channel_axis(shape)],)
        gamma = WeightSpec("gamma", own, self.gamma_initializer, True, self.gamma_regularizer, self.gamma_constraint)
        beta = WeightSpec("beta", own, self.beta_initializer, True, self.beta_regularizer, self.beta_constraint)
        return (*(gamma,) * self.scale, *(beta,) * self.center)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        shape, k, groups = x.shape, self._channel_axis(x.shape), self._groups(x.shape)
        apart = reshape(x, (*shape[:k], groups, shape[k] // groups, *shape[k + 1 :]))
        others = tuple(axis for axis in range(len(shape) + 1) if axis != k)
        y = reshape(with_last(apart, others, lambda g: standardise(g, len(others), self.epsilon)), shape)
        wide = _trimmed(tuple(n if axis == k else 1 for axis, n in enumerate(shape)))
        if self.scale:
            y = multiply(y, reshape(w["gamma"], wide))
        return add(y, reshape(w["beta"], wide)) if self.center else y

    def _channel_axis(self, shape: Shape) -> int:
        return sample_axes(self.axis, shape)[0]

    def _groups(self, shape: Shape) -> int:
        return shape[self._channel_axis(shape)] if self.groups == -1 else self.groups

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"groups": self._groups(shapes[0])} if shapes else {}
