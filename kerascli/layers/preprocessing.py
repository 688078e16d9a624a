"""Layers that bring raw numbers into a range that nets learn well from."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, as_tuple
from kerascli.initializers import Ones, Zeros
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import sample_axes
from kerascli.ops.elementwise import add, divide, maximum, multiply, sqrt, subtract
from kerascli.ops.ir import Array, Shape, ShapeError, Value, constant
from kerascli.ops.shape import reshape

EPSILON = 1e-7
"""Keras's smallest standard deviation that is divided by."""

Numbers = float | list[float | list[float | list[float]]]


class Rescaling(Layer):
    """y = x · scale + offset"""

    examples = (
        Example({"scale": 0.00392156862745098}, inputs=((2, 3, 1),), dtype="uint8", high=256),
        Example({"scale": 2.0, "offset": -1.0}, inputs=((4,),)),
        Example({"scale": [1.0, 2.0, 3.0], "offset": [0.1, 0.2, 0.3]}, inputs=((2, 3),)),
    )

    scale: float | list[float]
    """Factor, or one for each channel."""
    offset: float | list[float] = 0.0
    """What is added, or one for each channel."""

    def infer_shape(self, shape: Shape) -> Shape:
        for key, value in (("scale", self.scale), ("offset", self.offset)):
            if isinstance(value, list) and len(value) not in (1, *shape[-1:]):
                raise ShapeError(f"`{key}` has {len(value)} numbers, the last axis of {shape} another number")
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        y = x if self.scale == 1 else multiply(x, constant(x.trace, np.asarray(self.scale, np.float64)))
        return y if self.offset == 0 else add(y, constant(x.trace, np.asarray(self.offset, np.float64)))


class Normalization(Layer):
    """y = (x - mean) / √variance, with the training split's mean and variance for each channel, or given ones."""

    examples = (
        Example(inputs=((4,),)),
        Example({"axis": None}, inputs=((3, 4),)),
        Example({"axis": [1, 2]}, inputs=((3, 4),)),
        Example({"mean": 0.5, "variance": 4.0}, inputs=((2, 3),)),
        Example({"mean": [0.5, 1.0, 2.0], "variance": [4.0, 1.0, 0.25], "invert": True}, inputs=((2, 3),)),
    )

    axis: Annotated[int | tuple[int, ...] | None, BeforeValidator(as_tuple)] = -1
    """Axis, or axes, whose every place has a mean and variance of its own; none (null): one for everything."""
    mean: Numbers | None = None
    """Mean to use in place of the training split's."""
    variance: Numbers | None = None
    """Variance to use in place of the training split's."""
    invert: bool = False
    """Whether to undo the normalisation: y = x · √variance + mean."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.mean is None) != (self.variance is None):
            raise PydanticCustomError("mean_variance", "needs both `mean` and `variance`, or neither")
        if self.mean is not None and np.asarray(self.mean).shape != np.asarray(self.variance).shape:
            raise PydanticCustomError("mean_variance_shape", "`mean` and `variance` must have the same shape")
        return self

    def infer_shape(self, shape: Shape) -> Shape:
        if self.mean is not None:
            self._given(self.mean, shape)
        self._kept(shape)
        return shape

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        if self.mean is not None:
            return ()
        kept = tuple(shape[k] for k in self._kept(shape))
        return (
            WeightSpec("mean", kept, Zeros(), False),
            WeightSpec("variance", kept, Ones(), False),
            WeightSpec("count", (), Zeros(), False, dtype="int32"),
        )

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if self.mean is not None and self.variance is not None:
            mean, variance = (constant(x.trace, self._given(v, x.shape)) for v in (self.mean, self.variance))
        else:
            wide = tuple(n if k in self._kept(x.shape) else 1 for k, n in enumerate(x.shape))
            mean, variance = reshape(w["mean"], wide), reshape(w["variance"], wide)
        deviation = maximum(sqrt(variance), EPSILON)
        if self.invert:
            return add(multiply(x, deviation), mean)
        return multiply(subtract(x, mean), divide(1.0, deviation))

    def adapt(self, samples: Iterable[Array]) -> dict[str, Array]:
        """The weights' values for a data set that comes in batches, the batch axis first; one pass, in float64."""
        count, mean, squares = 0, np.zeros(()), np.zeros(())
        for batch in samples:
            x = np.asarray(batch, np.float64)
            over = (0, *(k + 1 for k in range(x.ndim - 1) if k not in self._kept(x.shape[1:])))
            rows = x.size // max(1, int(np.prod([n for k, n in enumerate(x.shape) if k not in over])))
            if rows == 0:
                continue
            here = x.mean(over)
            step = here - mean
            squares = squares + x.var(over) * rows + np.square(step) * (count * rows / (count + rows))
            mean = mean + step * (rows / (count + rows))
            count += rows
        variance = squares / max(count, 1)
        return {
            "mean": mean.astype(np.float32),
            "variance": variance.astype(np.float32),
            "count": np.zeros((), np.int32),  # Keras declares it and leaves it at 0
        }

    def _kept(self, shape: Shape) -> tuple[int, ...]:
        return () if self.axis is None else sample_axes(self.axis, shape)

    def _given(self, values: Numbers, shape: Shape) -> Array:
        """Given numbers, laid along the kept axes from the last one on."""
        array, kept = np.asarray(values, np.float64), self._kept(shape)
        if array.ndim > len(kept):
            raise ShapeError(f"`mean` has {array.ndim} axes, but `axis` names {len(kept)}")
        wide = [1] * len(shape)
        for k, n in zip(reversed(kept), reversed(array.shape), strict=False):
            if n not in (1, shape[k]):
                raise ShapeError(f"`mean` has {n} numbers, axis {k + 1} of the input has {shape[k]}")
            wide[k] = n
        return array.reshape(wide)

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        axes = () if self.axis is None else (self.axis,) if isinstance(self.axis, int) else self.axis
        return {"axis": list(axes)}
