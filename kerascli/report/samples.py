"""Single samples as a person can look at them: pictures, texts, the raw values of a table."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kerascli.encoders import Category, Date, Numeric, Raw, Text
from kerascli.ops.ir import Array
from kerascli.preprocessing import Preprocessing
from kerascli.report import charts

LARGEST = 96
"""Pixels of a picture's longer side; larger ones are made smaller."""
LONGEST = 400
"""Characters of a text."""
MOST = 40
"""Numbers of an array without names, and columns of a table."""


@dataclass(frozen=True)
class Shown:
    """One input of one sample: exactly one of the three is there."""

    name: str
    picture: str = ""
    """A data URI."""
    width: int = 0
    text: str = ""
    values: tuple[tuple[str, str], ...] = ()


def shown(inputs: Mapping[str, Array], preprocessing: Preprocessing) -> list[Shown]:
    """One sample, by the names of the inputs."""
    return [_input(name, array, preprocessing) for name, array in inputs.items()]


def is_picture(shape: tuple[int, ...], dtype: str) -> bool:
    """(height, width, channels), or (height, width) of bytes."""
    if len(shape) == 3:
        return shape[2] in (1, 3, 4) and min(shape[:2]) > 3
    return len(shape) == 2 and dtype == "uint8" and min(shape) > 3


def _input(name: str, array: Array, preprocessing: Preprocessing) -> Shown:
    layout = preprocessing.inputs.get(name)
    if layout is not None and layout.features:
        return Shown(name, values=tuple(_raw(array, layout.features, preprocessing)[:MOST]))
    if array.dtype.kind in "UTO":
        return Shown(name, text=_cut(" ".join(str(text) for text in array.reshape(-1))))
    if is_picture(array.shape, array.dtype.name):
        return picture(name, array)
    flat = array.reshape(-1)
    words = [number(float(value)) for value in flat[:MOST]] + ["…"] * (flat.size > MOST)
    return Shown(name, text=" ".join(words))


def _raw(row: Array, features: tuple[str, ...], preprocessing: Preprocessing) -> list[tuple[str, str]]:
    """The values that the table had, from their encoded form: a filled gap is what it was filled with."""
    by_name = {feature.name: feature for feature in preprocessing.features}
    found, place = [], 0
    for name in features:
        feature = by_name[name]
        match feature:
            case Numeric():
                text, width = number(float(row[place]) * feature.factor + feature.offset), 1
            case Category():
                one_hot = feature.encoding == "one_hot"
                width = len(feature.categories) + 1 if one_hot else 1
                slot = int(np.argmax(row[place : place + width])) if one_hot else int(row[place])
                text = feature.categories[slot] if slot < len(feature.categories) else "missing, or new"
            case Date():
                width = len(feature.parts)
                parts = zip(feature.parts, feature.numbers, row[place : place + width], strict=True)
                text = ", ".join(f"{part} {number(float(v) * n.factor + n.offset)}" for part, n, v in parts)
            case Text():
                width = feature.encoder.width
                text = _cut(feature.encoder.decode(row[place : place + width]))
            case Raw():
                text, width = _cut(str(row[place])), 1
        found.append((name, text))
        place += width
    return found


def picture(name: str, array: Array) -> Shown:
    """As PNG. Bytes are shown as they are, unless they use the lowest few; other numbers from the least to the most."""
    pixels = np.nan_to_num(array.reshape(*array.shape[:2], -1).astype(np.float64))
    low, high = float(pixels.min()), float(pixels.max())
    if array.dtype == np.uint8 and high > 64:
        low, high = 0.0, 255.0
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = ((_smaller(pixels) - low) / ((high - low) or 1.0) * 255).round().clip(0, 255).astype(np.uint8)
    data = base64.b64encode(charts.png(scaled)).decode()
    return Shown(name, f"data:image/png;base64,{data}", scaled.shape[1])


def _smaller(pixels: Array) -> Array:
    """Means of squares, so that the longer side has at most LARGEST pixels."""
    height, width, channels = pixels.shape
    side = -(-max(height, width) // LARGEST)
    if side == 1:
        return pixels
    kept = pixels[: height // side * side or 1, : width // side * side or 1]
    squares = kept.reshape(max(1, height // side), -1, max(1, width // side), min(side, width), channels)
    found: Array = squares.mean(axis=(1, 3))
    return found


def number(value: float) -> str:
    return f"{value:.4g}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
