"""Layers that change how bright pixels are: at random in training, or always and by the image's own levels."""

from collections.abc import Callable, Mapping

import numpy as np
from pydantic import Field

from kerascli.component import Example, Pair
from kerascli.layer import Context
from kerascli.layers.image_arguments import (
    Bits,
    Share,
    Signed,
    Unit,
    ValueRange,
    _Augmenting,
    _Image,
    rescaled,
)
from kerascli.ops.elementwise import add, clip, divide, equal, greater, multiply, negative, subtract, where
from kerascli.ops.image_levels import equalise, equalise_tiles, keep_bits
from kerascli.ops.image_move import pick
from kerascli.ops.image_random import chance, uniform, whole_numbers
from kerascli.ops.ir import Value, constant
from kerascli.ops.reduction import max as largest
from kerascli.ops.reduction import mean
from kerascli.ops.reduction import min as smallest
from kerascli.ops.shape import cut, reshape

BYTE = (0.0, 255.0)


def over_pixels(reduce: Callable[[Value, int], Value], x: Value) -> Value:
    """The mean, least or largest of every channel, (1, 1, C): along whole rows first, which is several times faster."""
    height, width, channels = x.shape
    row = reshape(reduce(reshape(x, (height, width * channels)), 0), (width, channels))
    return reshape(reduce(row, 0), (1, 1, channels))


class RandomBrightness(_Augmenting):
    """Images made brighter or darker in training, each by its own share of the value range."""

    factors = {"factor": -1.0}
    examples = (
        Example({"factor": 0.2, "value_range": [-3, 3]}, inputs=((3, 4, 2),)),
        Example({"factor": [0.1, 0.5], "value_range": [-3, 3], "seed": 1}, inputs=((2, 3, 1),)),
    )

    factor: Signed
    """Largest change as a share of the value range, to both sides, or the shares between which it lies."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images: results are held between them."""

    def _augment(self, x: Value) -> Value:
        low, high = self.value_range
        share = uniform(x.trace, *self._ends("factor"), (1, 1, 1), self.seed)
        return clip(add(x, multiply(share, high - low)), low, high)


class RandomContrast(_Augmenting):
    """Images with more contrast in training: y = (x - mean) · c + mean, with the mean of every channel.

    As in Keras, c is drawn between 1 - a and 1 + b for `factor: [a, b]`, and between 1 and 1 + f for `factor: f`.
    """

    factors = {"factor": 0}
    examples = (
        Example({"factor": 0.5, "value_range": [-3, 3]}, inputs=((3, 4, 2),)),
        Example({"factor": [0.2, 0.9], "value_range": [-3, 3]}, inputs=((2, 3, 3),)),
    )

    factor: Unit
    """How much the contrast may grow; or how much it may fall and grow."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images: results are held between them."""

    def _augment(self, x: Value) -> Value:
        less, more = self._ends("factor")
        middle = over_pixels(mean, x)
        factor = uniform(x.trace, 1 - less, 1 + more, (1, 1, 1), self.seed)
        return clip(add(multiply(subtract(x, middle), factor), middle), *self.value_range)


class RandomInvert(_Augmenting):
    """Some images turned into their negatives in training: y = highest value - x."""

    factors = {"factor": 0}
    examples = (
        Example({"value_range": [0, 1]}, inputs=((3, 4, 2),)),
        Example({"factor": [0.3, 0.6], "seed": 2}, inputs=((2, 3, 1),)),
    )

    factor: Unit = 1.0
    """Probability that an image is inverted, itself drawn between 0 and this, or between two numbers."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images."""

    def _augment(self, x: Value) -> Value:
        return where(chance(x.trace, self._ends("factor"), self.seed), subtract(self.value_range[1], x), x)


class Solarization(_Augmenting):
    """Images in training made brighter by a random number, and inverted where they then reach a random threshold."""

    factors = {"addition_factor": 0, "threshold_factor": 0}
    examples = (
        Example({"addition_factor": 0.2, "threshold_factor": 0.7, "value_range": [-3, 3]}, inputs=((3, 4, 2),)),
        Example({"threshold_factor": [0.2, 0.9], "value_range": [-3, 3], "seed": 1}, inputs=((2, 3, 1),)),
    )

    addition_factor: Share = 0.0
    """Largest number added as a share of the value range, or the shares between which it lies."""
    threshold_factor: Share = 0.0
    """Largest threshold as a share of the value range, or the shares between which it lies."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images: results are held between them."""

    def _augment(self, x: Value) -> Value:
        (low, high), (first, last) = self._ends("addition_factor"), self._ends("threshold_factor")
        added = uniform(x.trace, low, high * 255, (1, 1, 1), self.seed)  # Keras does not multiply the lower ends
        threshold = uniform(x.trace, first, last * 255, (1, 1, 1), self.seed)
        y = clip(add(rescaled(x, self.value_range, BYTE), added), *BYTE)
        return rescaled(where(greater(threshold, y), y, subtract(255.0, y)), BYTE, self.value_range)


class RandomPosterization(_Augmenting):
    """Images of fewer levels in training: of the 8 bits of every number, a random number of the highest is kept."""

    factors = {"factor": 1}
    examples = (
        Example({"factor": 5}, inputs=((3, 4, 2),), dtype="uint8", high=256),
        Example({"factor": [2, 7], "value_range": [0, 300], "seed": 1}, inputs=((2, 3, 1),), dtype="int32", high=300),
    )
    differentiable = False

    factor: Bits
    """Bits to keep: from 1 up to and without this number, or between two numbers, the second excluded."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images."""

    def _augment(self, x: Value) -> Value:
        low, high = (int(end) for end in self._ends("factor"))
        shape = (1, 1, 1)
        if low == high:
            bits = add(uniform(x.trace, 0, 0, shape, self.seed), float(low))
        else:
            bits = whole_numbers(x.trace, low, high, shape, self.seed)
        return rescaled(keep_bits(rescaled(x, self.value_range, BYTE), bits), BYTE, self.value_range)


class Equalization(_Image):
    """Levels spread in training so that each is about as frequent as the others, in every image and channel.

    Unchanged in inference, as in Keras. Keras 3.15.1 itself cannot put this layer into a model.
    """

    examples = (
        Example(inputs=((5, 6, 2),), dtype="uint8", high=256),
        Example({"value_range": [0, 10], "bins": 16}, inputs=((4, 5, 1),), dtype="uint8"),
    )
    differentiable = False

    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images."""
    bins: int = Field(256, ge=2)
    """Levels that are told apart."""

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not context.training:
            return x
        return rescaled(equalise(rescaled(x, self.value_range, BYTE), self.bins), BYTE, self.value_range)


class AutoContrast(_Image):
    """Images stretched to the whole value range, channel by channel, in training and in inference.

    y = (x - lowest) / (highest - lowest), in units of the value range; a channel of one value stays as it is.
    Departure: with `channels_first`, Keras takes the extremes over wrong axes.
    """

    examples = (
        Example({"value_range": [-3, 3]}, inputs=((4, 5, 2),)),
        Example(inputs=((3, 3, 1),), dtype="uint8", high=100),
    )

    value_range: ValueRange = (0, 255)
    """The lowest and the highest value that images may have."""

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        y = rescaled(x, self.value_range, BYTE)
        low, high = over_pixels(smallest, y), over_pixels(largest, y)
        flat = equal(low, high)
        scale = divide(constant(x.trace, 255.0), where(flat, 1.0, subtract(high, low)))
        y = clip(add(multiply(y, scale), negative(multiply(low, scale))), *BYTE)
        return where(flat, x, rescaled(y, BYTE, self.value_range))


class ContrastLimitedAdaptiveHistogramEqualization(_Image):
    """Levels spread evenly within each tile of an image, in training and in inference (CLAHE).

    Source: Zuiderveld, 1994.
    """

    examples = (
        Example({"tile_grid_size": [2, 3]}, inputs=((8, 9, 2),), dtype="uint8", high=256),
        Example({"clip_limit": 0.0, "tile_grid_size": 2}, inputs=((5, 7, 1),), dtype="uint8", high=256),
    )
    differentiable = False

    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images."""
    clip_limit: float = 4.0
    """How many times its even share a level may count in a tile; 0: no limit."""
    tile_grid_size: Pair = (8, 8)
    """Tiles down and across, or one number for both."""

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        (height, width, _), (down, across) = x.shape, self.tile_grid_size
        y = rescaled(x, self.value_range, BYTE)
        for axis, extra in enumerate((-height % down, -width % across)):  # mirrored, until all tiles have one size
            if extra:
                places = np.pad(np.arange(x.shape[axis]), (0, extra), mode="symmetric")
                y = pick(y, tuple(int(k) for k in places), axis)
        y = equalise_tiles(y, (down, across), self.clip_limit)
        return rescaled(cut(cut(y, 0, height, 0), 0, width, 1), BYTE, self.value_range)
