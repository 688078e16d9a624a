"""Layers that turn sound into pictures of its frequencies over time.

Transforms are products with Fourier's cosines and sines, so that they run and are differentiated like a convolution.

Legend: T samples of sound, C channels, S frames, F frequencies, M bands.
"""

from collections.abc import Mapping
from math import ceil, log2
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example
from kerascli.initializers import STFT, Numbers, Window
from kerascli.layer import Context, WeightSpec
from kerascli.layers.arguments import Padding, _Channels, _Unmasked, rank
from kerascli.layers.windows import AXES, outputs
from kerascli.ops.convolution import conv
from kerascli.ops.elementwise import add, arctan2, log, maximum, multiply, power, sqrt, square, subtract
from kerascli.ops.ir import Array, Shape, ShapeError, Value, constant
from kerascli.ops.linear import matmul
from kerascli.ops.recurrent import reverse
from kerascli.ops.reduction import max as largest
from kerascli.ops.shape import concatenate, cut, permute, reshape, split

EPSILON = 1e-7
"""Keras's smallest power, and smallest magnitude, that has a logarithm."""


def transformed(x: Value, kernel: Value, step: int, padding: str) -> Value:
    """Every channel's frames times the kernel (frame, 1, F): (C, T) → (C, S, F)."""
    return conv(reshape(x, (*x.shape, 1)), reshape(kernel, (1, *kernel.shape)), (1, step), padding)


def _imaginary(real: STFT) -> STFT:
    return real.model_copy(update={"side": "imag"})


class STFTSpectrogram(_Channels, _Unmasked):
    """Short-time Fourier transform: how strong each frequency is in each frame of a sound, channel by channel.

    Shapes: (T, C) → (S, C · F), or (S, F, C) with `expand_dims`, where F is fft_length / 2 + 1, twice as many for
    `mode: stft`. As in Keras, its two kernels are weights: `trainable: false` keeps them as they are.
    """

    examples = (
        Example({"frame_length": 6}, inputs=((20, 2),)),
        Example({"mode": "magnitude", "frame_length": 5, "fft_length": 8, "padding": "same"}, inputs=((13, 1),)),
        Example({"mode": "psd", "frame_length": 4, "frame_step": 3, "expand_dims": True}, inputs=((12, 2),)),
        Example({"mode": "real", "frame_length": 4, "data_format": "channels_first"}, inputs=((2, 9),)),
        Example(
            {
                "mode": "stft",
                "frame_length": 4,
                "window": "hamming",
                "periodic": True,
                "scaling": "spectrum",
                "expand_dims": True,
                "data_format": "channels_first",
            },
            inputs=((2, 11),),
        ),
        Example({"mode": "imag", "frame_length": 4, "window": [0.5, 1.0, 1.0, 0.5], "scaling": None}, ((8, 1),)),
        Example({"mode": "angle", "frame_length": 4, "window": None, "frame_step": 1}, ((8, 1),)),
    )

    mode: Literal["log", "magnitude", "psd", "real", "imag", "angle", "stft"] = "log"
    """What is told of each frequency: its magnitude or the logarithm of it, its power (both halves of the spectrum
    together), the real or the imaginary part, the angle, or both parts one after the other (`stft`)."""
    frame_length: int = Field(256, ge=1)
    """Samples of a frame."""
    frame_step: int | None = Field(None, ge=1)
    """Samples between the beginnings of frames; by default half a frame."""
    fft_length: int | None = Field(None, ge=2)
    """Length of the transform; by default the first power of two that is not below the frame's."""
    window: Window = "hann"
    """What frames are multiplied by: the name of a window, its numbers, or null for none."""
    periodic: bool = False
    """Whether a window known by name is one period, so that its repetitions join; else it is symmetric."""
    scaling: Literal["density", "spectrum"] | None = "density"
    """What the window is divided by: the root of its sum of squares, its sum, or nothing."""
    padding: Padding = "valid"
    """`valid`: frames lie inside the sound; `same`: zeros around it give ceil(T / frame_step) frames."""
    expand_dims: bool = False
    """Whether frequencies get an axis of their own, as layers for images want it."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.frame_length == 1 and (self.frame_step is None or self.fft_length is None):
            raise PydanticCustomError("frame", "a frame of one sample needs `frame_step: 1` and an `fft_length`")
        if self._step() > self.frame_length:
            raise PydanticCustomError("frame", "`frame_step` must not be greater than `frame_length`")
        if self.fft_length is not None and self.fft_length < self.frame_length:
            raise PydanticCustomError("frame", "`fft_length` must not be less than `frame_length`")
        return self

    def _step(self) -> int:
        return self.frame_step or self.frame_length // 2

    def _frequencies(self) -> int:
        return (self.fft_length or 2 ** ceil(log2(self.frame_length))) // 2 + 1

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, 2, AXES[1], "put Reshape before it: `target_shape: [-1, 1]` for sounds of one channel")
        geometry = (self.frame_length,), (self._step(),), (1,), self.padding
        (frames,) = outputs(shape[:1], *geometry, "frame_length")
        frequencies = self._frequencies() * (2 if self.mode == "stft" else 1)
        return (frames, frequencies, shape[1]) if self.expand_dims else (frames, shape[1] * frequencies)

    def _weights(self, shape: Shape) -> tuple[WeightSpec, ...]:
        kernel = (self.frame_length, 1, self._frequencies())
        real = STFT(window=self.window, scaling=self.scaling, periodic=self.periodic)
        both = WeightSpec("real_kernel", kernel, real), WeightSpec("imag_kernel", kernel, _imaginary(real))
        return {"real": both[:1], "imag": both[1:]}.get(self.mode, both)

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        y = self._spectrum(transformed(permute(x, (1, 0)), concatenate([*w.values()]), self._step(), self.padding))
        if self.expand_dims:
            return permute(y, (1, 2, 0))
        channels, frames, frequencies = y.shape
        return reshape(permute(y, (1, 0, 2)), (frames, channels * frequencies))

    def _spectrum(self, y: Value) -> Value:
        """What `mode` asks for, of the transform's real and imaginary parts (C, S, 2 F), or the one it wants."""
        if self.mode in ("real", "imag", "stft"):
            return y
        real, imag = split(y, 2)
        if self.mode == "angle":
            return arctan2(imag, real)
        strength = add(square(real), square(imag))
        if self.mode == "psd":
            twice = np.r_[1.0, np.full(real.shape[-1] - 2, 2.0), 1.0]
            return multiply(strength, constant(y.trace, twice))
        magnitude = sqrt(maximum(strength, EPSILON))
        return magnitude if self.mode == "magnitude" else log(maximum(magnitude, EPSILON))


class MelSpectrogram(_Unmasked):
    """How loud each band of the mel scale is over time, in decibels: (T,) → (M, S).

    Frames lie around every `sequence_stride`-th sample, the sound being mirrored at its ends. Bands are triangles that
    are equally wide on the mel scale, 1127 ln(1 + hertz / 700). Departure from Keras: `top_db` counts from the loudest
    place of each sound; Keras takes the loudest of the batch, so that a sound's numbers depend on its neighbours.
    """

    examples = (
        Example(
            {"fft_length": 16, "sequence_stride": 5, "num_mel_bins": 3, "sampling_rate": 100, "ref_power": 0.001},
            inputs=((17,),),
        ),
        Example(
            {
                "fft_length": 9,
                "sequence_length": 6,
                "sequence_stride": 4,
                "num_mel_bins": 4,
                "sampling_rate": 90,
                "min_freq": 5.0,
                "max_freq": 40.0,
                "window": "hamming",
                "power_to_db": False,
                "mag_exp": 1.0,
            },
            inputs=((21,),),
        ),
        Example(
            {
                "fft_length": 8,
                "sequence_length": 4,
                "window": [0.5, 1.0, 1.0, 0.5],
                "sequence_stride": 2,
                "num_mel_bins": 2,
                "sampling_rate": 80,
                "ref_power": 2.0,
                "mag_exp": 1.5,
            },
            inputs=((3,),),
        ),
    )

    fft_length: int = Field(2048, ge=2)
    """Length of the Fourier transform."""
    sequence_stride: int = Field(512, ge=1)
    """Samples between the middles of frames."""
    sequence_length: int | None = Field(None, ge=1)
    """Samples of a frame; by default as many as `fft_length`."""
    window: Literal["hann", "hamming"] | Numbers | None = "hann"
    """What frames are multiplied by: the name of a window, its numbers, or null for none."""
    sampling_rate: int = Field(16000, ge=1)
    """Samples a second."""
    num_mel_bins: int = Field(128, ge=1)
    """Bands of the result."""
    min_freq: float = Field(20.0, ge=0)
    """Where the lowest band begins, in hertz."""
    max_freq: float | None = Field(None, gt=0)
    """Where the highest band ends, in hertz; by default half the sampling rate."""
    power_to_db: bool = True
    """Whether the result is in decibels."""
    top_db: float = 80.0
    """How many decibels below the loudest place all quieter ones are."""
    mag_exp: float = Field(2.0, gt=0)
    """Power of the magnitude that bands add up: 1 for magnitudes, 2 for powers."""
    min_power: float = Field(1e-10, gt=0)
    """Least power that decibels are made of."""
    ref_power: float = 1.0
    """The power of 0 decibels."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self._frame() > self.fft_length:
            raise PydanticCustomError("frame", "`fft_length` must not be less than `sequence_length`")
        if isinstance(self.window, tuple) and len(self.window) != self._frame():
            message = "`window` has {count} numbers, but frames have {length} samples"
            raise PydanticCustomError("frame", message, {"count": len(self.window), "length": self._frame()})
        if self.min_freq >= self._highest():
            raise PydanticCustomError("frame", "`min_freq` must be less than `max_freq`")
        return self

    def _frame(self) -> int:
        return self.sequence_length or self.fft_length

    def _highest(self) -> float:
        return self.max_freq or self.sampling_rate // 2

    def infer_shape(self, shape: Shape) -> Shape:
        rank(shape, 1, "samples of sound", "put `{type: Reshape, target_shape: [-1]}` before it")
        if shape[0] < 2:
            raise ShapeError("a sound of one sample cannot be mirrored at its ends")
        rest = shape[0] + self.fft_length // 2 * 2 - self.fft_length
        return self.num_mel_bins, rest // self.sequence_stride + 1

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        band = self.num_mel_bins, self.sampling_rate, self.min_freq, self._highest()
        bands = mel_bands(self.fft_length // 2 + 1, *band)
        heard = np.flatnonzero(bands.any(1))
        y = transformed(self._mirrored(x), constant(x.trace, self._kernel(heard)), self.sequence_stride, "valid")
        real, imag = split(reshape(y, y.shape[1:]), 2)  # (S, F)
        strength = add(square(real), square(imag))
        if self.mag_exp != 2:
            strength = power(strength, self.mag_exp / 2)
        y = matmul(strength, constant(x.trace, bands[heard]))
        return permute(self._decibels(y) if self.power_to_db else y, (1, 0))

    def _kernel(self, heard: Array) -> Array:
        """Cosines and sines of the frequencies that any band hears, times the window: (frame, 1, 2 F)."""
        frame = self.fft_length if self.window is None else self._frame()
        angle = 2 * np.pi * np.outer(np.arange(frame), heard) / self.fft_length
        kernel = np.concatenate([np.cos(angle), np.sin(angle)], 1)
        if self.window is not None:
            kernel *= STFT(window=self.window, periodic=True).window_of(frame)[:, None]
        return kernel[:, None]

    def _mirrored(self, x: Value) -> Value:
        """The sound with half a transform more on both sides, less what a shorter frame does not see: (1, T')."""
        wanted, (size,) = self.fft_length // 2, x.shape
        while wanted > 0:
            size = x.shape[0]
            step = min(wanted, size - 1)
            ends = reverse(cut(x, 1, step + 1, 0)), reverse(cut(x, size - 1 - step, size - 1, 0))
            x, wanted = concatenate([ends[0], x, ends[1]], 0), wanted - step
        unseen = 0 if self.window is None else self.fft_length - self._frame()
        x = cut(x, unseen // 2, x.shape[0] - (unseen - unseen // 2), 0)
        return reshape(x, (1, *x.shape))

    def _decibels(self, y: Value) -> Value:
        scale = 10 / np.log(10)
        reference = 10 * np.log10(max(abs(self.ref_power), self.min_power))
        y = subtract(multiply(log(maximum(y, self.min_power)), scale), reference)
        return maximum(y, subtract(largest(y, (0, 1), True), self.top_db))

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        """Keras writes what the defaults come to."""
        return {"sequence_length": self._frame(), "max_freq": self._highest()}


def mel_bands(frequencies: int, bands: int, rate: int, low: float, high: float) -> Array:
    """(F, M): how much of each frequency every band hears, at most 1; the frequency 0 is heard by none."""
    hertz = np.linspace(0, rate / 2, frequencies)[1:, None]
    edges = np.linspace(1127 * np.log1p(low / 700), 1127 * np.log1p(high / 700), bands + 2)
    mel = 1127 * np.log1p(hertz / 700)
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    return np.pad(np.maximum(0, np.minimum(rising, falling)), ((1, 0), (0, 0)))
