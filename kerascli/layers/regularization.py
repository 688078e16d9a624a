"""Layers that disturb their input in training and pass it on unchanged otherwise, and ActivityRegularization.

Which numbers drop out follows from the spec's seed (or the layer's), the step and the sample: see ops/random.py.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from kerascli.activations import SELU_ALPHA, SELU_SCALE
from kerascli.component import Example, as_tuple
from kerascli.layer import Context, Layer
from kerascli.layers.arguments import Rate, _Channels, penalise, rank
from kerascli.ops.broadcast import broadcast_to
from kerascli.ops.elementwise import add, multiply, subtract
from kerascli.ops.ir import Shape, ShapeError, Value, constant
from kerascli.ops.random import dropout, gaussian_noise, keep_mask
from kerascli.regularizers import L1L2


class _Dropping(Layer):
    """A part of the numbers dropped in training."""

    rate: Rate
    """Share of the numbers that drop out."""
    noise_shape: Annotated[tuple[int | None, ...] | None, BeforeValidator(as_tuple)] = None
    """Shape of the mask with the batch axis first: 1 where numbers drop out together, null for the input's length."""
    seed: int | None = None
    """Seed of the layer's random numbers; by default it follows from the spec's."""

    def infer_shape(self, shape: Shape) -> Shape:
        self._mask_shape(shape)
        return shape

    def _keep_mask(self, x: Value) -> Value:
        """What x is multiplied by: 0, or 1 / (1 - rate)."""
        shared = self.noise_shape is not None and self.noise_shape[0] == 1
        return keep_mask(x.trace, self._mask_shape(x.shape), self.rate, self.seed, shared)

    def _mask_shape(self, shape: Shape) -> Shape:
        if self.noise_shape is None:
            return shape
        batch, *noise = self.noise_shape
        if len(noise) != len(shape) or any(n not in (None, 1, s) for n, s in zip(noise, shape, strict=True)):
            raise ShapeError(f"`noise_shape` {list(self.noise_shape)} does not broadcast to samples {shape}")
        if batch not in (None, 1):
            raise ShapeError(
                f"`noise_shape` begins with {batch}, but the batch has no fixed size",
                "begin it with null (a mask for each sample) or 1 (one for all)",
            )
        return tuple(s if n is None else n for n, s in zip(noise, shape, strict=True))


class Dropout(_Dropping):
    """A share `rate` of the numbers set to zero in training, the others scaled by 1 / (1 - rate)."""

    examples = (
        Example({"rate": 0.5}, inputs=((8,),)),
        Example({"rate": 0.2, "noise_shape": [None, 1, 4], "seed": 3}, inputs=((5, 4),)),
        Example({"rate": 0.3, "noise_shape": [1, 5, 4]}, inputs=((5, 4),)),
        Example({"rate": 0.0}, inputs=((3,),)),
    )

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not context.training or self.rate == 0:
            return x
        return multiply(x, self._keep_mask(x))


class AlphaDropout(_Dropping):
    """A share `rate` of the numbers set to SELU's lower limit in training, then all scaled and shifted back.

    Mean and variance of inputs with mean 0 and variance 1 stay. Source: Klambauer et al., 2017.
    """

    examples = (
        Example({"rate": 0.5}, inputs=((8,),)),
        Example({"rate": 0.2, "seed": 3}, inputs=((5, 4),)),
    )

    rate: float = Field(ge=0, lt=1)
    """Share of the numbers that drop out."""

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not context.training or self.rate == 0:
            return x
        kept, limit = 1 - self.rate, -SELU_ALPHA * SELU_SCALE
        scale = (kept * (1 + self.rate * limit**2)) ** -0.5
        above = multiply(subtract(x, limit), scale * kept)
        return add(multiply(above, self._keep_mask(x)), scale * limit * kept)


class SpatialDropout1D(Layer):
    """Whole channels of a sequence (T, C) set to zero in training, the others scaled by 1 / (1 - rate)."""

    examples = (Example({"rate": 0.5}, inputs=((6, 4),)), Example({"rate": 0.2, "seed": 1}, inputs=((3, 5),)))

    rate: Rate
    """Share of the channels that drop out."""
    seed: int | None = None
    """Seed of the layer's random numbers; by default it follows from the spec's."""

    def infer_shape(self, shape: Shape) -> Shape:
        rank(shape, 2, "steps, channels")
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not context.training or self.rate == 0:
            return x
        return dropout(x, self.rate, (1, x.shape[-1]), self.seed)


class SpatialDropout2D(_Channels):
    """Whole channels of an image (H, W, C) set to zero in training, the others scaled by 1 / (1 - rate)."""

    examples = (
        Example({"rate": 0.5}, inputs=((3, 4, 5),)),
        Example({"rate": 0.2, "seed": 1}, inputs=((2, 2, 6),)),
        Example({"rate": 0.5, "data_format": "channels_first"}, inputs=((5, 3, 4),)),
    )

    rate: Rate
    """Share of the channels that drop out."""
    seed: int | None = None
    """Seed of the layer's random numbers; by default it follows from the spec's."""

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, 3, "height, width, channels")
        return shape

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not context.training or self.rate == 0:
            return x
        return dropout(x, self.rate, (1, 1, x.shape[-1]), self.seed)


class SpatialDropout3D(_Channels):
    """Whole channels of a volume (D, H, W, C) set to zero in training, the others scaled by 1 / (1 - rate)."""

    examples = (
        Example({"rate": 0.5}, inputs=((2, 3, 2, 5),)),
        Example({"rate": 0.2, "seed": 1}, ((1, 2, 2, 6),)),
        Example({"rate": 0.5, "data_format": "channels_first"}, inputs=((5, 2, 3, 2),)),
    )

    rate: Rate
    """Share of the channels that drop out."""
    seed: int | None = None
    """Seed of the layer's random numbers; by default it follows from the spec's."""

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, 4, "depth, height, width, channels")
        return shape

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not context.training or self.rate == 0:
            return x
        return dropout(x, self.rate, (1, 1, 1, x.shape[-1]), self.seed)


class GaussianNoise(Layer):
    """Normal noise of mean 0 added in training."""

    examples = (Example({"stddev": 0.1}, inputs=((8,),)), Example({"stddev": 0.5, "seed": 2}, inputs=((3, 4),)))

    stddev: float = Field(ge=0, le=1)
    """Standard deviation of the noise."""
    seed: int | None = None
    """Seed of the layer's random numbers; by default it follows from the spec's."""

    def infer_shape(self, shape: Shape) -> Shape:
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not context.training or self.stddev == 0:
            return x
        return gaussian_noise(x, self.stddev, self.seed)


class GaussianDropout(Layer):
    """Every number multiplied in training by a normal one of mean 1 and variance rate / (1 - rate)."""

    examples = (Example({"rate": 0.1}, inputs=((8,),)), Example({"rate": 0.5, "seed": 2}, inputs=((3, 4),)))

    rate: float = Field(ge=0, lt=1)
    """Sets the noise: its standard deviation is √(rate / (1 - rate)), that of Dropout with this rate."""
    seed: int | None = None
    """Seed of the layer's random numbers; by default it follows from the spec's."""

    def infer_shape(self, shape: Shape) -> Shape:
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not context.training or self.rate == 0:
            return x
        ones = broadcast_to(constant(x.trace, 1.0), x.shape)
        return multiply(x, gaussian_noise(ones, (self.rate / (1 - self.rate)) ** 0.5, self.seed))


class ActivityRegularization(Layer):
    """Passes its input on, and adds l1 · Σ|x| + l2 · Σx² per sample of the batch to the loss."""

    examples = (
        Example({"l1": 0.1, "l2": 0.02}, inputs=((8,),)),
        Example({"l2": 0.3}, inputs=((3, 4),)),
        Example(inputs=((2,),)),
    )

    l1: float = Field(0.0, ge=0)
    """Factor of the sum of absolute values."""
    l2: float = Field(0.0, ge=0)
    """Factor of the sum of squares."""

    def infer_shape(self, shape: Shape) -> Shape:
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return penalise(context, L1L2(l1=self.l1, l2=self.l2) if self.l1 or self.l2 else None, x)
