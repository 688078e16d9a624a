"""Weights in fewer bits: rounded to half precision, or to 8-bit whole numbers times a scale for each output channel.

int8: q = round(w / s), s = max|w| / 127 over all axes but the last, which numbers the output channels. Vectors (biases,
averages) are few, and are kept as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kerascli.ops.ir import Array

WAYS = ("float16", "int8")
SCALE = ":scale"
"""Ends the name of the scales that belong to an array of whole numbers."""


def packed(weights: Mapping[str, Array], way: str | None) -> dict[str, Array]:
    """The arrays that are stored, by name."""
    found: dict[str, Array] = {}
    for path, array in weights.items():
        if way is None or array.dtype.kind != "f":
            found[path] = array
        elif way == "float16":
            limit = np.finfo(np.float16).max
            found[path] = np.clip(array, -limit, limit).astype(np.float16)
        elif array.ndim < 2:
            found[path] = array
        else:
            largest = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
            scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
            found[path], found[path + SCALE] = np.rint(array / scale).astype(np.int8), scale
    return found


def unpacked(stored: Mapping[str, Array]) -> dict[str, Array]:
    """The weights that stored arrays stand for."""
    found: dict[str, Array] = {}
    for path, array in stored.items():
        if path + SCALE in stored:
            found[path] = array * stored[path + SCALE]
        elif not path.endswith(SCALE):
            found[path] = array.astype(np.float32) if array.dtype == np.float16 else array
    return found
