"""Layers that choose among other layers of augmentation, anew for every batch."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from kerascli.component import Example
from kerascli.layer import Context
from kerascli.layers.image_arguments import Interpolation, Unit, ValueRange, _Augmenting, _Image
from kerascli.layers.image_colour import RandomColorDegeneration
from kerascli.layers.image_filters import RandomSharpness
from kerascli.layers.image_geometry import RandomRotation, RandomShear, RandomTranslation
from kerascli.layers.image_light import (
    AutoContrast,
    Equalization,
    RandomBrightness,
    RandomContrast,
    RandomPosterization,
    Solarization,
)
from kerascli.ops.elementwise import add, clip, multiply, subtract
from kerascli.ops.image_choice import Way, choose, way
from kerascli.ops.image_random import mixing_weights, whole_numbers_of_batch
from kerascli.ops.ir import Value
from kerascli.ops.shape import cut, reshape

GEOMETRIC = (RandomShear, RandomTranslation, RandomRotation)
LEVELS = (RandomPosterization, Solarization, AutoContrast, Equalization)
COLOURS = (RandomBrightness, RandomColorDegeneration, RandomContrast, RandomSharpness)


class _Policy(_Augmenting):
    """A choice among other layers, all as strong as one factor says."""

    colours = (1, 3)
    differentiable = False

    value_range: ValueRange = (0, 255)
    """The lowest and the highest value of images."""
    interpolation: Interpolation = "bilinear"
    """How places between pixels are read, where images are moved."""

    def _layer(self, kind: type[_Image], factor: tuple[float, float]) -> _Image:
        """The layer as Keras sets it up for the policy's factor."""
        names: tuple[str, ...] = ("factor",)
        given: dict[str, Any] = {"value_range": self.value_range}
        if kind in GEOMETRIC:
            given = {"interpolation": self.interpolation}
            if kind is not RandomRotation:
                names = ("x_factor", "y_factor") if kind is RandomShear else ("height_factor", "width_factor")
        elif kind is Solarization:
            names = ("addition_factor", "threshold_factor")
        elif kind in (AutoContrast, Equalization):
            return kind.model_validate(given)
        strength = max(1, int(8 * factor[1])) if kind is RandomPosterization else factor
        given |= {"seed": self.seed, **dict.fromkeys(names, strength)}
        return kind.model_validate(given)

    def _ways(self, x: Value, kinds: Sequence[type[_Image]], factor: tuple[float, float]) -> list[Way]:
        return [self._way(x, self._layer(kind, factor)) for kind in kinds]

    def _way(self, x: Value, layer: _Image) -> Way:
        def change(image: Value) -> Value:
            return layer._output(Context(image.trace, True, (None,), "", {}, []), {}, image)

        return way(type(layer).__name__, x.trace, x.shape, change)


class RandAugment(_Policy):
    """`num_ops` of 11 changes, one after the other, in training; which ones is drawn for each batch.

    How strong a change is, is drawn for each image, and once a step: a change that comes twice is the same twice, as
    in Keras. Source: Cubuk et al., 2019.
    """

    factors = {"factor": 0}
    examples = (
        Example({"factor": 0.3}, inputs=((5, 6, 3),), dtype="uint8", high=256),
        Example({"num_ops": 3, "value_range": [0, 10], "seed": 3}, inputs=((4, 5, 1),), dtype="int32"),
    )

    num_ops: int = Field(2, ge=0)
    """How many changes an image gets."""
    factor: Unit = 0.5
    """Strength of every change: from 0 up to this, or between two numbers."""

    def _augment(self, x: Value) -> Value:
        kinds = (*GEOMETRIC, *COLOURS, *LEVELS)
        ways = self._ways(x, kinds, self._ends("factor"))
        for _ in range(self.num_ops):
            x = choose(x, whole_numbers_of_batch(x.trace, 0, len(ways), (), self.seed), ways)
        return x


class AugMix(_Policy):
    """The image mixed in training with `num_chains` versions of it, each made by up to `chain_depth` changes.

    Weights and changes are drawn for each batch, as in Keras (which, once compiled, keeps the first choice of
    changes: here it is drawn anew). Source: Hendrycks et al., 2020.
    """

    factors = {"factor": 0}
    examples = (
        Example({"num_chains": 2, "chain_depth": 2}, inputs=((5, 6, 3),), dtype="uint8", high=256),
        Example({"num_chains": 1, "all_ops": False, "alpha": 2.0, "seed": 3}, inputs=((4, 5, 1),), dtype="int32"),
    )

    num_chains: int = Field(3, ge=1)
    """How many changed versions are mixed."""
    chain_depth: int = Field(3, ge=1)
    """How many changes one of them gets at most: a change may be none."""
    factor: Unit = 0.3
    """Strength of every change: from 0 up to this, or between two numbers."""
    alpha: float = Field(1.0, gt=0)
    """How even the weights are: of the chains (Dirichlet) and of the image itself (beta)."""
    all_ops: bool = True
    """Whether brightness, colour, contrast and sharpness are among the changes."""

    def _augment(self, x: Value) -> Value:
        kinds = (*GEOMETRIC, *LEVELS, *(COLOURS if self.all_ops else ()))
        weights = mixing_weights(x.trace, self.num_chains, self.alpha, self.seed)
        mixed: Value | None = None
        for k in range(self.num_chains):
            y = x
            for _ in range(self.chain_depth):
                ways = [*self._ways(x, kinds, self._ends("factor")), way("none", x.trace, x.shape, lambda z: z)]
                y = choose(y, whole_numbers_of_batch(x.trace, 0, len(ways), (), self.seed), ways)
            part = multiply(y, self._weight(weights, k))
            mixed = part if mixed is None else add(mixed, part)
        share = self._weight(weights, self.num_chains)
        assert mixed is not None
        return clip(add(multiply(x, share), multiply(mixed, subtract(1.0, share))), *self.value_range)

    def _weight(self, weights: Value, number: int) -> Value:
        return reshape(cut(weights, number, number + 1), (1, 1, 1))
