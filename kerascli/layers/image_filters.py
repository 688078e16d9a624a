"""Layers that smooth or sharpen images at random in training, or erase a part of them."""

from typing import Annotated

import numpy as np
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, Pair
from kerascli.layers.image_arguments import Unit, ValueRange, _Augmenting
from kerascli.ops.depthwise import depthwise_conv
from kerascli.ops.elementwise import add, clip, greater, logical_and, logical_not, multiply, sqrt, subtract, where
from kerascli.ops.image_blur import bell_curve, blur
from kerascli.ops.image_random import chance, normal, uniform, uniform_of_batch
from kerascli.ops.ir import Array, Shape, ShapeError, Value, constant
from kerascli.ops.shape import cut, reshape


def _odd(sizes: tuple[int, int]) -> tuple[int, int]:
    if min(sizes) < 1 or not all(size % 2 for size in sizes):
        raise PydanticCustomError("odd", "must be odd, so that the window has a middle")
    return sizes


class RandomGaussianBlur(_Augmenting):
    """Some images smoothed in training by a bell curve, whose widths are drawn once for the batch."""

    factors = {"factor": 0, "sigma": 0}
    examples = (
        Example({"value_range": [-3, 3]}, inputs=((5, 6, 2),)),
        Example(
            {"factor": [0.5, 1.0], "kernel_size": [3, 5], "sigma": [0.3, 0.9], "value_range": [-3, 3]},
            inputs=((6, 5, 1),),
        ),
    )

    factor: Unit = 1.0
    """Probability that an image is smoothed, itself drawn between 0 and this, or between two numbers."""
    kernel_size: Annotated[Pair, AfterValidator(_odd)] = (3, 3)
    """Width and height of the window, odd, or one number for both."""
    sigma: Unit = 1.0
    """Standard deviation of the curve in pixels, drawn between 0 and this, or between two numbers."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images: results are held between them."""

    def _augment(self, x: Value) -> Value:
        width, height = self.kernel_size
        chosen = chance(x.trace, self._ends("factor"), self.seed)
        sigmas = add(uniform_of_batch(x.trace, *self._ends("sigma"), (2,), self.seed), 1e-6)
        across, down = (reshape(cut(sigmas, k, k + 1), ()) for k in range(2))
        smooth = blur(x, bell_curve(down, height), bell_curve(across, width))
        return clip(where(chosen, smooth, x), *self.value_range)


class RandomSharpness(_Augmenting):
    """Images smoothed or sharpened in training: y = x + (1 - 2f) · (smooth x - x), where f is drawn for each.

    f = 0 smooths, 0.5 changes nothing, 1 sharpens; `factor: f` draws between 0 and f.
    """

    factors = {"factor": 0}
    examples = (
        Example({"factor": 0.9, "value_range": [-3, 3]}, inputs=((5, 6, 2),)),
        Example({"factor": [0.4, 0.7], "value_range": [-3, 3]}, inputs=((4, 5, 1),)),
    )

    factor: Unit
    """Largest f, or the numbers between which it lies."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images: results are held between them."""

    def _augment(self, x: Value) -> Value:
        weights = np.full((3, 3, 1, 1), 1 / 13)
        weights[1, 1] = 5 / 13
        kernel = constant(x.trace, np.tile(weights, (1, 1, x.shape[-1], 1)))
        smooth = depthwise_conv(x, kernel, padding="same")
        share = uniform(x.trace, *self._ends("factor"), (1, 1, 1), self.seed)
        strength = subtract(1.0, multiply(share, 2.0))
        return clip(add(x, multiply(subtract(smooth, x), strength)), *self.value_range)


class RandomErasing(_Augmenting):
    """A rectangle of some images filled in training with noise, or with one value.

    Source: Zhong et al., 2017.
    """

    factors = {"factor": 0, "scale": 0}
    examples = (
        Example({"value_range": [-3, 3]}, inputs=((6, 5, 2),)),
        Example({"factor": [0.5, 1.0], "scale": [0.2, 0.5], "fill_value": 0.5, "value_range": [0, 1]}, ((5, 6, 1),)),
        Example({"fill_value": [0.1, 0.2, 2.0], "value_range": [0, 1], "seed": 1}, inputs=((5, 4, 3),)),
    )

    factor: Unit = 1.0
    """Probability that an image loses a part, itself drawn between 0 and this, or between two numbers."""
    scale: Unit = (0.02, 0.33)
    """Square of the share of a side that is erased, drawn between 0 and this, or between two numbers."""
    fill_value: float | list[float] | None = None
    """What is put there: one value, one for each of 3 channels, or by default normal noise."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images: what is put there is held between them."""

    def _size(self, shape: Shape) -> Shape:
        if isinstance(self.fill_value, list) and not len(self.fill_value) == shape[-1] == 3:
            raise ShapeError(f"`fill_value` has {len(self.fill_value)} numbers for {shape[-1]} channels; Keras wants 3")
        return shape

    def _augment(self, x: Value) -> Value:
        trace, (height, width, _) = x.trace, x.shape
        shares = sqrt(uniform(trace, *self._ends("scale"), (2,), self.seed))
        across, down = (reshape(cut(shares, k, k + 1), (1, 1, 1)) for k in range(2))
        columns = self._inside(across, np.arange(width)[:, None])  # (W, 1)
        rows = self._inside(down, np.arange(height)[:, None, None])  # (H, 1, 1)
        chosen = chance(trace, self._ends("factor"), self.seed)
        low, high = self.value_range
        if self.fill_value is None:
            filling = clip(multiply(normal(trace, x.shape, self.seed), high), low, high)
        else:
            filling = constant(trace, np.clip(np.asarray(self.fill_value, float), low, high))
        return where(logical_and(logical_and(rows, columns), chosen), filling, x)

    def _inside(self, share: Value, places: Array) -> Value:
        """Whether places along a side lie in a window that takes that share of it and begins at random."""
        length = float(len(places))
        size = multiply(share, length)
        start = multiply(uniform(share.trace, 0, 1, (1, 1, 1), self.seed), subtract(length, size))
        at = constant(share.trace, places.astype(float))
        return logical_and(logical_not(greater(start, at)), greater(add(start, size), at))
