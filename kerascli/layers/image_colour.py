"""Layers that change the colours of images at random in training."""

from typing import Any

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.layers.image_arguments import Signed, Unit, ValueRange, _Augmenting, rescaled
from kerascli.layers.image_light import RandomBrightness, RandomContrast
from kerascli.ops.elementwise import add, clip, divide, greater, multiply, subtract, where
from kerascli.ops.image_hsv import hsv_to_rgb, rgb_to_hsv
from kerascli.ops.image_random import uniform
from kerascli.ops.ir import Shape, Value, constant
from kerascli.ops.linear import matmul
from kerascli.ops.shape import concatenate, cut

EPSILON = 1e-7
LUMINANCE = np.array([[0.2989], [0.5870], [0.1140]])
"""How bright red, green and blue appear."""


def grey(x: Value) -> Value:
    """The brightness of colours: (H, W, 3) → (H, W, 1)."""
    return x if x.shape[-1] == 1 else matmul(x, constant(x.trace, LUMINANCE))


class RandomGrayscale(_Augmenting):
    """Some images without their colours in training, in as many channels."""

    colours = (1, 3)
    examples = (
        Example({"factor": 0.6, "seed": 1}, inputs=((3, 4, 3),)),
        Example(inputs=((3, 4, 1),)),
    )

    factor: float = Field(0.5, ge=0, le=1)
    """Probability that an image loses its colours."""

    def _augment(self, x: Value) -> Value:
        chosen = greater(self.factor, uniform(x.trace, 0, 1, (1, 1, 1), self.seed))
        return where(chosen, grey(x), x)


class RandomColorDegeneration(_Augmenting):
    """Images mixed in training with their grey ones, each by its own share; a negative share makes colours stronger."""

    colours = (1, 3)
    factors = {"factor": -1.0}
    examples = (
        Example({"factor": 0.5, "value_range": [-3, 3]}, inputs=((3, 4, 3),)),
        Example({"factor": [0.2, 0.9], "value_range": [-3, 3]}, inputs=((2, 3, 3),)),
    )

    factor: Signed
    """Largest share of grey, to both sides, or the shares between which it lies."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images: results are held between them."""

    def _augment(self, x: Value) -> Value:
        share = uniform(x.trace, *self._ends("factor"), (1, 1, 1), self.seed)
        return clip(add(x, multiply(subtract(grey(x), x), share)), *self.value_range)


class RandomHue(_Augmenting):
    """Colours turned on the colour circle in training, those of each image by its own angle."""

    colours = (3,)
    factors = {"factor": 0}
    examples = (
        Example({"factor": 0.5}, inputs=((3, 4, 3),), dtype="uint8", high=256),
        Example({"factor": [0.1, 0.9], "value_range": [0, 10], "seed": 2}, inputs=((2, 3, 3),), dtype="int32"),
    )
    differentiable = False

    factor: Unit
    """Largest turn as a share of half a circle, to both sides, or the shares between which it lies."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images."""

    def _augment(self, x: Value) -> Value:
        trace, shape = x.trace, (1, 1, 1)
        sign = where(greater(uniform(trace, 0, 1, shape, self.seed), 0.5), -0.5, 0.5)
        turn = multiply(uniform(trace, *self._ends("factor"), shape, self.seed), sign)
        planes = rgb_to_hsv(rescaled(x, self.value_range, (0, 1)))
        hue = add(cut(planes, 0, 1, 0), turn)
        hue = where(greater(hue, 1.0), subtract(hue, 1.0), hue)
        hue = where(greater(0.0, hue), add(hue, 1.0), hue)
        y = hsv_to_rgb(concatenate([hue, cut(planes, 1, 3, 0)], 0))
        return rescaled(clip(y, 0, 1), (0, 1), self.value_range)


class RandomSaturation(_Augmenting):
    """Colours made stronger or paler in training: saturation times f / (1 - f), where f is drawn for each image.

    As in Keras, `factor: f` draws between -f and f, and negative numbers leave no colour: use `[0, 1]` for the whole
    range, `[0.4, 0.6]` for small changes.
    """

    colours = (3,)
    factors = {"factor": -1.0}
    examples = (
        Example({"factor": [0.4, 0.6]}, inputs=((3, 4, 3),), dtype="uint8", high=256),
        Example({"factor": 0.5, "value_range": [0, 10], "seed": 2}, inputs=((2, 3, 3),), dtype="int32"),
    )
    differentiable = False

    factor: Signed
    """Largest f, to both sides, or the numbers between which it lies; 0.5 leaves colours as they are."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images, between which Keras also holds the saturation."""

    def _augment(self, x: Value) -> Value:
        share = uniform(x.trace, *self._ends("factor"), (1, 1, 1), self.seed)
        factor = divide(share, subtract(1.0 + EPSILON, share))
        hue, saturation, value = (cut(rgb_to_hsv(x), k, k + 1, 0) for k in range(3))
        saturation = clip(multiply(saturation, factor), *self.value_range)
        return hsv_to_rgb(concatenate([hue, saturation, value], 0))


class RandomColorJitter(_Augmenting):
    """Brightness, contrast, saturation and hue changed in training, one after the other, each where it has a factor."""

    colours = (1, 3)
    examples = (
        Example(
            {"brightness_factor": 0.2, "contrast_factor": 0.3, "saturation_factor": [0.4, 0.6], "hue_factor": 0.1},
            inputs=((3, 4, 3),),
            dtype="uint8",
            high=256,
        ),
        Example({"brightness_factor": 0.2, "value_range": [0, 10]}, inputs=((3, 4, 1),), dtype="int32"),
    )
    differentiable = False

    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images."""
    brightness_factor: Signed | None = None
    """As RandomBrightness's `factor`; none: brightness stays."""
    contrast_factor: Unit | None = None
    """As RandomContrast's `factor`; none: contrast stays."""
    saturation_factor: Signed | None = None
    """As RandomSaturation's `factor`; none: saturation stays."""
    hue_factor: Unit | None = None
    """As RandomHue's `factor`; none: hues stay."""

    def _size(self, shape: Shape) -> Shape:
        for part in self._parts():
            part.infer_shape(shape)
        return shape

    def _augment(self, x: Value) -> Value:
        for part in self._parts():
            x = part._augment(x)
        return x

    def _parts(self) -> list[_Augmenting]:
        kinds: tuple[tuple[type[_Augmenting], Any], ...] = (
            (RandomBrightness, self.brightness_factor),
            (RandomContrast, self.contrast_factor),
            (RandomSaturation, self.saturation_factor),
            (RandomHue, self.hue_factor),
        )
        common = {"value_range": self.value_range, "seed": self.seed}
        return [kind.model_validate({"factor": factor, **common}) for kind, factor in kinds if factor is not None]
