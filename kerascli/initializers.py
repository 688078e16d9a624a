"""Initial values of weights, drawn from Keras's distributions."""

import math
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from kerascli.component import Component, Example, Ints
from kerascli.ops.ir import Array, Shape, ShapeError

TRUNCATED_SD = 0.87962566103423978
"""Standard deviation of a standard normal variable that is cut off at two standard deviations."""


def _numbers(value: Any) -> Any:
    """A list as a tuple of floats, whole numbers among them."""
    if not isinstance(value, (list, tuple)):
        return value
    return tuple(float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in value)


class Initializer(Component):
    """A rule that makes the first values of a weight."""

    family = "initializer"
    snake_names = True

    def check(self, shape: Shape) -> None:
        """Raise ShapeError where this rule cannot fill that shape."""

    def draw(self, shape: Shape, rng: "np.random.Generator") -> Array:
        """An array of that shape; the caller casts it to the weight's dtype."""
        raise NotImplementedError


class Zeros(Initializer):
    """Every value is 0."""

    aliases = ("zero",)
    examples = (Example(),)

    def draw(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return np.zeros(shape, np.float32)


class Ones(Initializer):
    """Every value is 1."""

    aliases = ("one",)
    examples = (Example(),)

    def draw(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return np.ones(shape, np.float32)


class Constant(Initializer):
    """Every value is `value`."""

    examples = (Example({"value": 0.25}),)

    value: float = 0.0
    """The value."""

    def draw(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return np.full(shape, self.value, np.float64)


class Identity(Initializer):
    """A matrix with `gain` on its diagonal and 0 elsewhere."""

    aliases = ("IdentityInitializer",)
    examples = (Example({"gain": 2.0}),)

    gain: float = 1.0
    """The value on the diagonal."""

    def check(self, shape: Shape) -> None:
        if len(shape) != 2:
            raise ShapeError(f"Identity fills matrices only, but the weight is {list(shape)}")

    def draw(self, shape: Shape, rng: "np.random.Generator") -> Array:
        self.check(shape)
        rows, columns = shape
        return np.multiply(np.eye(rows, columns), self.gain)


WINDOWS: dict[str, tuple[float, ...]] = {
    "boxcar": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
    "nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "flattop": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
}
"""Sums of cosines: their weights, with signs in turn."""


Numbers = Annotated[tuple[float, ...], BeforeValidator(_numbers), Field(min_length=1)]
Window = Literal["boxcar", "hann", "hamming", "blackman", "nuttall", "blackmanharris", "flattop"] | Numbers | None
"""What the frames of a Fourier transform are multiplied by."""


class STFT(Initializer):
    """The kernel of a short-time Fourier transform, for Conv1D: (frame length, 1, frequencies).

    cos(2π t f / F) or -sin(2π t f / F), times the window over its norm, where F = 2 (frequencies - 1).
    Departure: of SciPy's windows, which Keras uses, those that are sums of cosines go by name.
    """

    aliases = ("STFTInitializer",)
    examples = (
        Example(),
        Example({"side": "imag", "window": "hamming", "scaling": "spectrum", "periodic": True}),
        Example({"window": None, "scaling": None}),
    )

    side: Literal["real", "imag"] = "real"
    """Which part of the transform: the real (cosines) or the imaginary (sines)."""
    window: Window = "hann"
    """Name of the window, its values, or null for none."""
    scaling: Literal["density", "spectrum"] | None = "density"
    """What the window is divided by: the root of its sum of squares, its sum, or nothing."""
    periodic: bool = False
    """Whether a window known by name is one period, so that its repetitions join; else it is symmetric."""

    def check(self, shape: Shape) -> None:
        if len(shape) != 3 or shape[1] != 1:
            raise ShapeError(f"STFT fills kernels (frame length, 1, frequencies), but the weight is {list(shape)}")
        if isinstance(self.window, tuple) and len(self.window) != shape[0]:
            raise ShapeError(f"STFT's window has {len(self.window)} values, but the frame length is {shape[0]}")

    def draw(self, shape: Shape, rng: "np.random.Generator") -> Array:
        self.check(shape)
        frame, _, frequencies = shape
        angle = np.pi * np.outer(np.arange(frame), np.arange(frequencies)) / max(frequencies - 1, 1)
        kernel = np.cos(angle) if self.side == "real" else -np.sin(angle)
        if self.window is not None:
            window = self.window_of(frame)
            norm = {"density": np.sqrt(np.sum(window**2)), "spectrum": np.sum(np.abs(window)), None: 1.0}[self.scaling]
            kernel *= (window / norm)[:, None]
        return kernel[:, None]

    def window_of(self, length: int) -> Array:
        """The window, as long as a frame."""
        if isinstance(self.window, tuple):
            return np.array(self.window)
        assert self.window is not None
        weights = WINDOWS[self.window]
        angle = 2 * np.pi * np.arange(length) / max(length if self.periodic else length - 1, 1)
        window: Array = sum(((-1) ** k * a * np.cos(k * angle) for k, a in enumerate(weights)), np.zeros(length))
        return window if length > 1 else np.ones(1)


class _Random(Initializer):
    """A rule that draws random numbers."""

    seed: int | None = Field(None, ge=0)
    """Seed of this weight alone; by default its numbers come from the seed of the spec."""

    def draw(self, shape: Shape, rng: "np.random.Generator") -> Array:
        self.check(shape)
        return self._fill(shape, rng if self.seed is None else np.random.default_rng(self.seed))

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        raise NotImplementedError


class RandomNormal(_Random):
    """Normally distributed values."""

    aliases = ("normal",)
    examples = (Example({"mean": 0.5, "stddev": 0.2}),)

    mean: float = 0.0
    """Mean of the values."""
    stddev: float = Field(0.05, ge=0)
    """Standard deviation of the values."""

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return _normal(shape, rng, self.mean, self.stddev)


class TruncatedNormal(_Random):
    """Normally distributed values; those more than two standard deviations from the mean are drawn again."""

    examples = (Example({"mean": 0.5, "stddev": 0.2}),)

    mean: float = 0.0
    """Mean of the values."""
    stddev: float = Field(0.05, ge=0)
    """Standard deviation before the cut; that of the values is 0.88 times as large."""

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return _truncated_normal(shape, rng, self.mean, self.stddev)


class RandomUniform(_Random):
    """Uniformly distributed values, from `minval` up to but not including `maxval`."""

    aliases = ("uniform",)
    examples = (Example({"minval": -0.5, "maxval": 1.0}),)

    minval: float = -0.05
    """The lower bound."""
    maxval: float = 0.05
    """The upper bound."""

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return _uniform(shape, rng, self.minval, self.maxval)


class Orthogonal(_Random):
    """A matrix with orthonormal columns (or rows, where it has fewer rows), times `gain`.

    Q of the QR decomposition of a normal matrix, signs such that the diagonal of R is positive, which makes Q uniform.
    A weight of higher rank is filled as the matrix (all leading axes, last axis). Source: Saxe et al., 2014.
    """

    aliases = ("OrthogonalInitializer",)
    examples = (Example({"gain": 1.5}),)

    gain: float = 1.0
    """Factor of the matrix."""

    def check(self, shape: Shape) -> None:
        if len(shape) < 2:
            raise ShapeError(f"Orthogonal fills weights of two or more axes, but the weight is {list(shape)}")

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        rows, columns = prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= self.gain * np.sign(np.diag(r))
        return (q.T if rows < columns else q).reshape(shape)


class _Scaled(_Random):
    """Values whose variance is set by the number of inputs and outputs of a unit (its fans).

    For a kernel (…, in, out) the fans are in and out times the size of the leading axes.
    """

    input_axes: Ints | None = None
    """Axes of the weight that are a unit's inputs; by default the last but one and those of the window."""
    output_axes: Ints | None = None
    """Axes of the weight that are the outputs; by default the last and those of the window. Set both or neither."""

    def check(self, shape: Shape) -> None:
        for axis in (*(self.input_axes or ()), *(self.output_axes or ())):
            if not -len(shape) <= axis < len(shape):
                raise ShapeError(f"{type(self).__name__} names axis {axis}, but the weight is {list(shape)}")

    def fans(self, shape: Shape) -> tuple[int, int]:
        """Inputs and outputs of a unit of a weight of that shape."""
        if self.input_axes is not None and self.output_axes is not None:
            return prod(shape[a] for a in self.input_axes), prod(shape[a] for a in self.output_axes)
        if len(shape) < 2:
            return prod(shape), prod(shape)
        window = prod(shape[:-2])
        return shape[-2] * window, shape[-1] * window

    def _scaled(self, shape: Shape, rng: "np.random.Generator", scale: float, mode: str, distribution: str) -> Array:
        fan_in, fan_out = self.fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        variance = scale / max(1.0, fan)
        if distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return _uniform(shape, rng, -limit, limit)
        if distribution == "untruncated_normal":
            return _normal(shape, rng, 0.0, math.sqrt(variance))
        return _truncated_normal(shape, rng, 0.0, math.sqrt(variance) / TRUNCATED_SD)


class VarianceScaling(_Scaled):
    """Values of mean 0 and variance scale / fan."""

    examples = (
        Example(),
        Example({"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"}),
        Example({"scale": 0.5, "mode": "fan_avg", "distribution": "uniform", "input_axes": [0], "output_axes": [1]}),
    )

    scale: float = Field(1.0, gt=0)
    """Variance times the fan."""
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"
    """Which fan: a unit's inputs, its outputs, or the mean of the two."""
    distribution: Literal["truncated_normal", "normal", "untruncated_normal", "uniform"] = "truncated_normal"
    """Shape of the distribution; `normal` means `truncated_normal`, as in Keras."""

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return self._scaled(shape, rng, self.scale, self.mode, self.distribution)


class GlorotUniform(_Scaled):
    """Uniform values of variance 1 / mean fan. Source: Glorot and Bengio, 2010."""

    examples = (Example(),)

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return self._scaled(shape, rng, 1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Truncated normal values of variance 1 / mean fan. Source: Glorot and Bengio, 2010."""

    examples = (Example(),)

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return self._scaled(shape, rng, 1.0, "fan_avg", "truncated_normal")


class HeNormal(_Scaled):
    """Truncated normal values of variance 2 / inputs. Source: He et al., 2015."""

    examples = (Example(),)

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return self._scaled(shape, rng, 2.0, "fan_in", "truncated_normal")


class HeUniform(_Scaled):
    """Uniform values of variance 2 / inputs. Source: He et al., 2015."""

    examples = (Example(),)

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return self._scaled(shape, rng, 2.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Truncated normal values of variance 1 / inputs. Source: Klambauer et al., 2017."""

    examples = (Example(),)

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return self._scaled(shape, rng, 1.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Uniform values of variance 1 / inputs. Source: LeCun et al., 1998."""

    examples = (Example(),)

    def _fill(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return self._scaled(shape, rng, 1.0, "fan_in", "uniform")


def _normal(shape: Shape, rng: "np.random.Generator", mean: float, stddev: float) -> Array:
    values = rng.standard_normal(shape, np.float32)
    values *= stddev
    values += mean
    return values


def _uniform(shape: Shape, rng: "np.random.Generator", low: float, high: float) -> Array:
    values = rng.random(shape, np.float32)
    values *= high - low
    values += low
    return values


def _truncated_normal(shape: Shape, rng: "np.random.Generator", mean: float, stddev: float) -> Array:
    values = rng.standard_normal(prod(shape), np.float32)
    outside = np.flatnonzero(np.abs(values) > 2)
    while outside.size:
        values[outside] = rng.standard_normal(outside.size, np.float32)
        outside = outside[np.abs(values[outside]) > 2]
    values *= stddev
    values += mean
    return values.reshape(shape)
