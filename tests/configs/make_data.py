"""The arrays in `configs/data` that are made from other data: `python -m tests.configs.make_data` writes them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kerascli.ops.ir import Array
from kerascli.sources.bundled import data_file

FOLDER = Path(__file__).parents[2] / "configs" / "data"
Arrays = dict[str, Array]


def digits() -> tuple[Array, Array]:
    """The bundled 8×8 digits, in their order: values 0 to 16, and labels."""
    with np.load(data_file("digits.npz"), allow_pickle=False) as archive:
        names = sorted(archive.files)
        return archive[names[0]].reshape(-1, 8, 8, 1), archive[names[1]].reshape(-1)


def digit_pairs() -> Arrays:
    """Two pictures each, and whether they show the same digit; no picture of the test is in the training."""
    images, labels = digits()
    rng = np.random.default_rng(3)
    found: Arrays = {}
    order = rng.permutation(len(labels))
    for split, rows, count in (("train", order[:1400], 2400), ("test", order[1400:], 400)):
        left = rng.choice(rows, count)
        same = rng.random(count) < 0.5
        alike = {digit: [row for row in rows if labels[row] == digit] for digit in range(10)}
        other = {digit: [row for row in rows if labels[row] != digit] for digit in range(10)}
        right = [rng.choice((alike if s else other)[int(labels[row])]) for row, s in zip(left, same, strict=True)]
        found |= {f"left_{split}": images[left], f"right_{split}": images[right]}
        found[f"same_{split}"] = same.astype(np.uint8)
    return found


def digits_unit() -> Arrays:
    """Digits from 0 to 1, in sixteenths: targets of an autoencoder must have the range of its output."""
    values = (digits()[0] / 16).astype(np.float16)
    return {"image_train": values[:1500], "image_test": values[1500:]}


def mnist_8x8() -> Arrays:
    """Pictures of MNIST as coarse as the 8×8 digits: means of 3×3 pixels, in sixteenths of white."""
    found: Arrays = {}
    for split, name in (("train", "train"), ("test", "t10k")):
        images = np.frombuffer(
            gzip.decompress((FOLDER / f"mnist6k-{name}-images-idx3-ubyte.gz").read_bytes()), np.uint8
        )
        labels = np.frombuffer(
            gzip.decompress((FOLDER / f"mnist6k-{name}-labels-idx1-ubyte.gz").read_bytes()), np.uint8
        )
        means = images[16:].reshape(-1, 28, 28)[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean((2, 4))
        found |= {f"x_{split}": np.round(means / 255 * 16).astype(np.uint8)[..., None], f"y_{split}": labels[8:]}
    return found


def few_digits() -> Arrays:
    """Three of each digit to train on, and all others to test."""
    images, labels = digits()
    few = np.concatenate([np.flatnonzero(labels == digit)[:3] for digit in range(10)])
    parts = {"train": few, "test": np.setdiff1d(np.arange(len(labels)), few)}
    return {
        f"{k}_{s}": v[rows].astype(np.uint8) for s, rows in parts.items() for k, v in (("x", images), ("y", labels))
    }


def penguins() -> Arrays:
    """Bills apart from the rest of the bird, and two targets: species and body mass in kilograms."""
    with data_file("penguins.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if "" not in row.values() and "NA" not in row.values()]
    species, islands = sorted({r["species"] for r in rows}), sorted({r["island"] for r in rows})
    arrays = {
        "bill": np.array([[r["bill_length_mm"], r["bill_depth_mm"]] for r in rows], np.float32),
        "bird": np.array(
            [[*(r["island"] == i for i in islands), r["sex"] == "male", float(r["flipper_length_mm"])] for r in rows],
            np.float32,
        ),
        "species": np.array([species.index(r["species"]) for r in rows], np.int32),
        "mass": np.array([[float(r["body_mass_g"]) / 1000] for r in rows], np.float32),
    }
    order = np.random.default_rng(1).permutation(len(rows))
    cut = len(rows) * 4 // 5
    parts = {"train": order[:cut], "test": order[cut:]}
    return {f"{name}_{split}": array[part] for name, array in arrays.items() for split, part in parts.items()}


def shapes() -> Arrays:
    """Noisy 24×24 pictures of discs and crosses, and what each pixel shows: 0 nothing, 1 a disc, 2 a cross."""
    rng = np.random.default_rng(5)
    found: Arrays = {}
    y, x = np.mgrid[:24, :24]
    for split, count in (("train", 300), ("test", 60)):
        masks = np.zeros((count, 24, 24, 1), np.uint8)
        for mask in masks:
            for kind in rng.permutation([1, 2]):
                row, column = rng.integers(4, 20, 2)
                radius = rng.integers(4, 7)
                high, wide = abs(y - row), abs(x - column)
                disc = np.hypot(high, wide) < radius
                cross = (np.minimum(high, wide) < 2) & (np.maximum(high, wide) < radius)
                mask[disc if kind == 1 else cross, 0] = kind
        light = rng.uniform(5, 8, (count, 1, 1, 1)) * (masks > 0) + rng.normal(4, 1, masks.shape)
        found |= {f"image_{split}": np.clip(light, 0, 15).astype(np.uint8), f"mask_{split}": masks}
    return found


MADE: dict[str, Callable[[], Arrays]] = {
    "digit_pairs": digit_pairs,
    "digits_unit": digits_unit,
    "few_digits": few_digits,
    "mnist_8x8": mnist_8x8,
    "penguins": penguins,
    "shapes": shapes,
}


if __name__ == "__main__":
    for name, make in MADE.items():
        np.savez_compressed(FOLDER / f"{name}.npz", **make())  # type: ignore[arg-type]
