"""The folder of images and the HDF5 file in `configs/data` are what their script makes, and small."""

from __future__ import annotations

import h5py
import numpy as np

from kerascli.images import decoded
from tests.configs.make_files import IMAGES, SIGNALS, pictures, signals


def test_the_images_are_what_their_script_draws() -> None:
    made = dict(pictures())
    stored = {path.relative_to(IMAGES): path for path in IMAGES.rglob("*.*")}
    assert set(stored) == set(made) and sum(path.stat().st_size for path in stored.values()) < 200_000
    for name, path in stored.items():
        difference = np.abs(decoded(path, "rgb").astype(int) - made[name])
        assert difference.mean() < 12 if path.suffix == ".jpg" else difference.max() <= 8, name


def test_the_signals_are_what_their_script_makes() -> None:
    assert SIGNALS.stat().st_size < 200_000
    with h5py.File(SIGNALS) as file:
        made = signals()
        assert set(file) == set(made)
        for name, values in made.items():
            np.testing.assert_array_equal(file[name][()], values)
