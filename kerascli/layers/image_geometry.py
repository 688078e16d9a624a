"""Layers that move the pixels of images at random in training: flips, shifts, turns, zooms and other distortions."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.layers.image_arguments import (
    FillMode,
    Growth,
    Interpolation,
    Share,
    Shift,
    Signed,
    Unit,
    ValueRange,
    _Augmenting,
    ends,
)
from kerascli.ops.elementwise import add, clip, greater, maximum, multiply, where
from kerascli.ops.image import resample
from kerascli.ops.image_blur import bell_curve, blur
from kerascli.ops.image_matrix import CosSin, PerspectiveMatrix, affine_matrix, warp
from kerascli.ops.image_move import flip
from kerascli.ops.image_random import chance, normal, uniform, uniform_of_batch
from kerascli.ops.ir import Value, constant
from kerascli.ops.shape import concatenate, reshape


class RandomFlip(_Augmenting):
    """Half of the images mirrored in training. As in Keras 3.15, `horizontal_and_vertical` turns them by 180°.

    One draw decides for an image, so that it is mirrored along both axes or along none.
    """

    examples = (
        Example(inputs=((4, 5, 2),)),
        Example({"mode": "horizontal", "seed": 3}, inputs=((3, 4, 1),)),
        Example({"mode": "vertical"}, inputs=((3, 4, 3),), dtype="uint8", high=256),
        Example({"mode": "vertical", "data_format": "channels_first"}, inputs=((2, 3, 4),)),
    )
    takes_integers = True

    mode: Literal["horizontal", "vertical", "horizontal_and_vertical"] = "horizontal_and_vertical"
    """`horizontal`: left and right change places; `vertical`: top and bottom; or both at once."""

    def infer_dtype(self, dtype: str) -> str:
        return dtype

    def _augment(self, x: Value) -> Value:
        axes = {"horizontal": (1,), "vertical": (0,), "horizontal_and_vertical": (0, 1)}[self.mode]
        return flip(x, greater(0.5, uniform(x.trace, 0, 1, (1, 1, 1), self.seed)), axes)


class _Warping(_Augmenting):
    """Images read through a matrix that is drawn for each: pixels (x, y) of the output come from elsewhere."""

    straight: ClassVar[bool] = False
    """Rows stay rows and columns stay columns."""

    interpolation: Interpolation = "bilinear"
    """How places between pixels are read."""
    fill_mode: FillMode = "reflect"
    """How an image goes on beyond its edges: mirrored (`reflect`), from the other side (`wrap`), as its edge
    (`nearest`), or as one value (`constant`)."""
    fill_value: float = 0.0
    """The value beyond the edges with `fill_mode: constant`."""

    def _augment(self, x: Value) -> Value:
        return warp(x, self._matrix(x), self.interpolation, self.fill_mode, self.fill_value, self.straight)

    def _matrix(self, x: Value) -> Value:
        """Of each image, the a₀…a₂ that give the column and the b₀…b₂ that give the row a pixel is read from."""
        raise NotImplementedError


class RandomTranslation(_Warping):
    """Images shifted in training, each by its own share of height and width."""

    straight = True
    examples = (
        Example({"height_factor": 0.3, "width_factor": 0.2}, inputs=((5, 6, 2),)),
        Example(
            {"height_factor": [-0.9, 0.5], "width_factor": [0.1, 1.0], "fill_mode": "wrap", "seed": 1},
            inputs=((4, 5, 1),),
        ),
        Example({"height_factor": 0.5, "width_factor": 0.0, "fill_mode": "constant", "fill_value": 0.5}, ((4, 4, 3),)),
        Example({"height_factor": 0.5, "width_factor": 0.5, "interpolation": "nearest"}, inputs=((4, 5, 1),)),
    )

    height_factor: Shift
    """Largest shift up and down as a share of the height, or the shares between which it lies; positive is down."""
    width_factor: Shift
    """Largest shift to the sides as a share of the width, or the shares between which it lies; positive is right."""

    def _matrix(self, x: Value) -> Value:
        trace, (height, width, _) = x.trace, x.shape
        shares = [uniform(trace, *ends(f), (1,), self.seed) for f in (self.height_factor, self.width_factor)]
        linear = np.zeros((2, 6))
        linear[0, 5], linear[1, 2] = -height, -width
        return affine_matrix(concatenate(shares), linear, np.array([1.0, 0, 0, 0, 1, 0]))


class RandomZoom(_Warping):
    """Images zoomed in training about their middle; with one factor alone, both sides by the same."""

    straight = True
    examples = (
        Example({"height_factor": 0.3}, inputs=((5, 6, 2),)),
        Example({"height_factor": [-0.5, 0.2], "width_factor": 0.4, "fill_mode": "nearest"}, inputs=((5, 4, 1),)),
        Example({"height_factor": 1.0, "fill_mode": "constant", "interpolation": "nearest"}, inputs=((4, 4, 3),)),
    )

    height_factor: Growth
    """Largest change of the height as a share of it, or where it lies; positive zooms out, negative in."""
    width_factor: Growth | None = None
    """The same for the width; by default it changes as the height does."""

    def _matrix(self, x: Value) -> Value:
        trace, (height, width, _) = x.trace, x.shape
        low, high = ends(self.height_factor)
        down = uniform(trace, 1 + low, 1 + high, (1,), self.seed)
        across = down
        if self.width_factor is not None:
            low, high = ends(self.width_factor)
            across = uniform(trace, 1 + low, 1 + high, (1,), self.seed)
        middle = (width - 1) / 2, (height - 1) / 2
        linear = np.zeros((2, 6))
        linear[0, [0, 2]], linear[1, [4, 5]] = (1, -middle[0]), (1, -middle[1])
        return affine_matrix(concatenate([across, down]), linear, np.array([0, 0, middle[0], 0, 0, middle[1]]))


class RandomRotation(_Warping):
    """Images turned in training about their middle, each by its own angle."""

    factors = {"factor": -1.0}
    examples = (
        Example({"factor": 0.1}, inputs=((5, 6, 2),)),
        Example({"factor": [-0.2, 0.5], "fill_mode": "constant", "fill_value": -1.0}, inputs=((6, 4, 1),)),
        Example({"factor": 1.0, "fill_mode": "wrap", "seed": 4}, inputs=((4, 4, 3),)),
        Example({"factor": 0.3, "fill_mode": "nearest", "interpolation": "nearest"}, inputs=((5, 5, 1),)),
    )

    factor: Signed
    """Largest turn as a share of a whole one, to both sides, or the shares between which it lies; positive is
    anticlockwise."""

    def _matrix(self, x: Value) -> Value:
        trace, (height, width, _) = x.trace, x.shape
        low, high = self._ends("factor")
        turn = trace.add(CosSin(), uniform(trace, low * 360, high * 360, (), self.seed))
        cx, cy = (width - 1) / 2, (height - 1) / 2
        linear = np.array([[1, 0, -cx, 0, 1, -cy], [0, -1, cy, 1, 0, -cx]], float)
        return affine_matrix(turn, linear, np.array([0, 0, cx, 0, 0, cy]))


class RandomShear(_Warping):
    """Images slanted in training along both axes, each by its own shares, and half of them the other way."""

    examples = (
        Example({"x_factor": [0.0, 0.3], "y_factor": [0.1, 0.2]}, inputs=((5, 6, 2),)),
        Example({"x_factor": [0.5, 1.0], "y_factor": [0.0, 0.0], "fill_mode": "constant"}, inputs=((4, 5, 1),)),
    )

    x_factor: Share = 0.0
    """Largest shift of a row for each row below the first, or the numbers between which it lies."""
    y_factor: Share = 0.0
    """Largest shift of a column for each column after the first, or the numbers between which it lies."""

    def _matrix(self, x: Value) -> Value:
        trace = x.trace
        sign = where(greater(uniform(trace, 0, 1, (1,), self.seed), 0.5), -1.0, 1.0)
        down = uniform(trace, *ends(self.y_factor), (1,), self.seed)
        across = uniform(trace, *ends(self.x_factor), (1,), self.seed)
        linear = np.zeros((2, 6))
        linear[0, 1] = linear[1, 3] = 1
        return affine_matrix(multiply(concatenate([across, down]), sign), linear, np.array([1.0, 0, 0, 0, 1, 0]))


class RandomPerspective(_Augmenting):
    """Images seen in training from aside: three of their corners moved, each by its own shares of the sides.

    The corner at the top left stays, as in Keras.
    """

    factors = {"factor": 0}
    examples = (
        Example({"scale": 0.5}, inputs=((5, 6, 2),)),
        Example({"factor": [0.5, 1.0], "fill_value": 0.5, "interpolation": "nearest"}, inputs=((4, 5, 1),)),
    )

    factor: Unit = 1.0
    """Probability that an image is changed, itself drawn between 0 and this, or between two numbers."""
    scale: float = Field(1.0, ge=0, le=1)
    """How far corners move: up to half of this share of the side."""
    interpolation: Interpolation = "bilinear"
    """How places between pixels are read."""
    fill_value: float = 0.0
    """The value beyond the edges."""

    def _augment(self, x: Value) -> Value:
        trace, (height, width, _) = x.trace, x.shape
        chosen = chance(trace, self._ends("factor"), self.seed)
        moved = uniform(trace, -0.5 * self.scale, 0.5 * self.scale, (4, 2), self.seed)
        matrix = trace.add(PerspectiveMatrix(height, width), moved)
        return where(chosen, warp(x, matrix, self.interpolation, "constant", self.fill_value), x)


class RandomElasticTransform(_Augmenting):
    """Images distorted in training as if drawn on rubber: every pixel read a little aside, neighbours alike.

    As in Keras, pixels move along the diagonal (the shifts of rows and of columns are one draw), and how strongly is
    drawn once for the batch.
    """

    factors = {"factor": 0, "scale": 0}
    examples = (
        Example({"value_range": [-3, 3]}, inputs=((9, 8, 2),)),
        Example(
            {"scale": [0.5, 1.0], "fill_mode": "mirror", "interpolation": "nearest", "value_range": [-3, 3]},
            inputs=((7, 8, 1),),
        ),
    )

    factor: Unit = 1.0
    """Probability that an image is changed, itself drawn between 0 and this, or between two numbers."""
    scale: Unit = 1.0
    """Strength of the distortion, drawn between 0 and this, or between two numbers."""
    interpolation: Interpolation = "bilinear"
    """How places between pixels are read."""
    fill_mode: Literal["reflect", "wrap", "constant", "nearest", "mirror"] = "reflect"
    """How an image goes on beyond its edges; `mirror` does not repeat the edge itself, `reflect` does."""
    fill_value: float = 0.0
    """The value beyond the edges with `fill_mode: constant`."""
    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images: results are held between them."""

    def _augment(self, x: Value) -> Value:
        trace, (height, width, _) = x.trace, x.shape
        low, high = self._ends("scale")
        probability = self._ends("factor")
        if high == 0 or probability[1] == 0:
            return x
        chosen = chance(trace, probability, self.seed)
        strength = uniform_of_batch(trace, low, high, (), self.seed)
        widest = 0.05 * min(height, width)
        sigma = maximum(multiply(strength, widest), 1e-6)
        curve = bell_curve(sigma, int(6 * widest * high) | 1, reach=6)
        noise = multiply(normal(trace, (height, width, 1), self.seed), sigma)
        aside = multiply(blur(noise, curve, curve), multiply(strength, 0.1 * max(height, width)))
        aside = reshape(aside, (height, width))
        y = add(aside, constant(trace, np.arange(height, dtype=float)[:, None]))
        across = add(aside, constant(trace, np.arange(width, dtype=float)))
        moved = resample(x, y, across, self.interpolation, self.fill_mode, self.fill_value)
        return clip(where(chosen, moved, x), *self.value_range)
