"""Make the files of `configs/data` that are no .npz: a folder of images, and arrays in HDF5.

python -m tests.configs.make_files
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.configs.make_data import FOLDER

Pixels = npt.NDArray[np.uint8]
SHAPES = ("circle", "cross", "square", "triangle")
SUFFIXES = ("png", "png", "png", "gif", "png", "jpg", "png", "bmp")
IMAGES, SIGNALS = FOLDER / "shapes", FOLDER / "signals.h5"


def picture(kind: str, rng: np.random.Generator) -> Pixels:
    """A shape in one colour on a ground of another, of any size and place."""
    height, width = rng.integers(20, 34, 2)
    size = rng.uniform(0.22, 0.36) * min(height, width)
    y, x = np.mgrid[:height, :width]
    y = y - rng.uniform(size, height - size)
    x = x - rng.uniform(size, width - size)
    inside = {
        "circle": x**2 + y**2 < size**2,
        "square": np.maximum(abs(x), abs(y)) < 0.85 * size,
        "triangle": (y < 0.7 * size) & (y > 1.9 * abs(x) - size),
        "cross": (np.minimum(abs(x), abs(y)) < 0.28 * size) & (np.maximum(abs(x), abs(y)) < size),
    }[kind]
    ground, colour = rng.integers(0, 90, 3), rng.integers(150, 256, 3)
    if rng.random() < 0.5:
        ground, colour = colour, ground
    return np.where(inside[..., None], colour, ground).astype(np.uint8)


def pictures() -> Iterator[tuple[Path, Pixels]]:
    """Every file below the folder, and what it shows."""
    rng = np.random.default_rng(11)
    for split, count in (("train", 60), ("test", 20)):
        for kind in SHAPES:
            for number in range(count):
                suffix = SUFFIXES[number % len(SUFFIXES)]
                yield Path(split) / kind / f"{number:02d}.{suffix}", picture(kind, rng)


def signals() -> dict[str, npt.NDArray[np.generic]]:
    """Two channels of a noisy oscillation: a sine, a square wave or a sawtooth, by turns leading and late."""
    rng = np.random.default_rng(12)
    found: dict[str, npt.NDArray[np.generic]] = {}
    for split, count in (("train", 600), ("val", 120), ("test", 240)):
        y = rng.integers(3, size=count).astype(np.uint8)
        phase = rng.uniform(0, 1, (count, 1, 1)) + np.array([0.0, 0.25])
        turns = rng.uniform(2, 5, (count, 1, 1)) * np.linspace(0, 1, 64)[:, None] + phase
        waves = np.stack([np.sin(2 * np.pi * turns), np.sign(np.sin(2 * np.pi * turns)), 2 * (turns % 1) - 1])
        x = waves[y, np.arange(count)] * rng.uniform(30, 70, (count, 1, 2)) + rng.normal(0, 12, (count, 64, 2))
        found |= {f"x_{split}": np.clip(np.round(x / 4), -32, 31).astype(np.int8), f"y_{split}": y}
    return found


def main() -> None:
    shutil.rmtree(IMAGES, ignore_errors=True)
    for path, pixels in pictures():
        (IMAGES / path).parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels)
        (image.quantize(2) if path.suffix in (".png", ".gif", ".bmp") else image).save(IMAGES / path)
    with h5py.File(SIGNALS, "w") as file:
        for name, values in signals().items():
            file.create_dataset(name, data=values, compression=9, shuffle=True, track_times=False)


if __name__ == "__main__":
    main()
