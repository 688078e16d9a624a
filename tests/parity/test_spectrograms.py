"""Spectrograms against live Keras where the examples of the layers cannot show it: first kernels and real sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kerascli.layer import Layer
from tests.layer_cases import run
from tests.parity.one_layer import keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def tone(length: int) -> Any:
    """Three sounds, each of two notes and some noise."""
    rng, t = np.random.default_rng(3), np.arange(length) / 8000
    pitches = np.array([[220.0, 1500.0], [440.0, 700.0], [900.0, 3000.0]])
    notes = np.sin(2 * np.pi * pitches[:, :, None] * t).sum(1)
    return (notes + 0.1 * rng.standard_normal(notes.shape)).astype("f4")


def test_the_first_kernels_make_the_spectrum_of_keras() -> None:
    config: dict[str, Any] = {"frame_length": 64, "frame_step": 24, "fft_length": 128, "mode": "magnitude"}
    layer = Layer.parse({"type": "STFTSpectrogram", **config})
    x = tone(600)[:, :, None]
    specs = layer.declare(x.shape[1:])
    drawn = {s.name: s.initializer.draw(s.shape, np.random.default_rng(0)).astype("f4") for s in specs}
    assert all(s.trainable for s in specs)
    np.testing.assert_allclose(
        run(layer, [x], drawn).y, keras.layers.STFTSpectrogram(**config)(x), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    "config",
    [
        {"fft_length": 300, "sequence_length": 200, "sequence_stride": 128, "min_freq": 300.0, "max_freq": 3000.0},
        {"fft_length": 128, "sequence_stride": 64, "window": None, "top_db": 15.0, "ref_power": 10.0},
    ],
)
def test_mel_bands_hear_what_those_of_keras_hear(config: dict[str, Any]) -> None:
    layer, x = Layer.parse({"type": "MelSpectrogram", "sampling_rate": 8000, "num_mel_bins": 16, **config}), tone(700)
    twin = keras.layers.MelSpectrogram(**{"sampling_rate": 8000, "num_mel_bins": 16, **config})
    theirs = np.stack([np.asarray(twin(each)) for each in x])  # one by one: Keras's `top_db` is of the whole batch
    np.testing.assert_allclose(run(layer, [x], {}).y, theirs, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "STFTSpectrogram", "frame_length": 4, "frame_step": 5}, "must not be greater"),
        ({"type": "STFTSpectrogram", "frame_length": 6, "fft_length": 4}, "must not be less"),
        ({"type": "STFTSpectrogram", "frame_length": 1}, "one sample"),
        ({"type": "MelSpectrogram", "fft_length": 4, "sequence_length": 6}, "must not be less"),
        ({"type": "MelSpectrogram", "fft_length": 4, "window": [1, 2]}, "2 numbers"),
        ({"type": "MelSpectrogram", "min_freq": 9000.0}, "less than `max_freq`"),
    ],
)
def test_what_cannot_be_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layer.parse(config)
