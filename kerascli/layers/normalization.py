"""Normalisation of each sample alone beside LayerNormalization: by groups, by root mean square, to unit length."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from kerascli.component import Example
from kerascli.initializers import Ones
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import _Unmasked, sample_axes
from kerascli.layers.layer_normalization import _Rescaled
from kerascli.ops.elementwise import multiply
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.layer_norm import standardise
from kerascli.ops.row_norm import rms_normalise, unit_normalise
from kerascli.ops.shape import reshape, with_last


class UnitNormalization(Layer):
    """y = x / √Σx², the sum over `axis` of each sample; what is shorter than 1e-12 counts as that long."""

    examples = (
        Example(inputs=((6,),)),
        Example({"axis": 1}, inputs=((3, 4),)),
        Example({"axis": [1, 3]}, inputs=((2, 3, 4),)),
    )

    axis: int | list[int] = -1
    """Axis, or axes, that get length 1 together; the batch is axis 0."""

    def infer_shape(self, shape: Shape) -> Shape:
        sample_axes(self.axis, shape)
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        axes = sample_axes(self.axis, x.shape)
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

    axis: int | list[int] = -1
    """The last axis, or several of the last ones, that the mean is taken over; the batch is axis 0."""
    epsilon: float = Field(1e-6, ge=0)
    """Added to the mean square."""

    def infer_shape(self, shape: Shape) -> Shape:
        axes = sample_axes(self.axis, shape)
        if axes != tuple(range(len(shape) - len(axes), len(shape))):
            raise ShapeError(
                f"`axis` {self.axis} is not the end of a sample {shape}",
                "use the last axes, or put Permute before and after",
            )
        return shape

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return (WeightSpec("scale", tuple(shape[k] for k in sample_axes(self.axis, shape)), Ones()),)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return multiply(rms_normalise(x, len(sample_axes(self.axis, x.shape)), self.epsilon), w["scale"])

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"axis": [self.axis] if isinstance(self.axis, int) else sorted(self.axis)}


def _some(groups: int) -> int:
    if groups < 1 and groups != -1:
        raise PydanticCustomError("groups", "must be at least 1, or -1 for a group of each channel")
    return groups


class GroupNormalization(_Rescaled):
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

    def infer_shape(self, shape: Shape) -> Shape:
        (k,) = sample_axes(self.axis, shape)
        if shape[k] % self._groups(shape):
            raise ShapeError(f"{shape[k]} channels do not divide into {self.groups} groups")
        return shape

    def _standardised(self, x: Value, axes: tuple[int, ...]) -> Value:
        shape, (k,), groups = x.shape, axes, self._groups(x.shape)
        apart = reshape(x, (*shape[:k], groups, shape[k] // groups, *shape[k + 1 :]))
        others = tuple(axis for axis in range(len(shape) + 1) if axis != k)
        return reshape(with_last(apart, others, lambda group: standardise(group, len(others), self.epsilon)), shape)

    def _groups(self, shape: Shape) -> int:
        return shape[sample_axes(self.axis, shape)[0]] if self.groups == -1 else self.groups

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"groups": self._groups(shapes[0])} if shapes else {}
