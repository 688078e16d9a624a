"""What surrounds the prediction in the file that `--format numpy` writes: weights, batches, tables, the command line.

The functions' sources go into that file, where INPUTS, OUTPUTS, CLASSES, FEATURES, WEIGHTS and `forward` stand
before them.
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
INPUTS: dict[str, tuple[tuple[int, ...], str]] = {}
OUTPUTS: tuple[str, ...] = ()
CLASSES: dict[str, Any] = {}
FEATURES: dict[str, Any] = {}
DECIMAL = "."
WEIGHTS = Path()
BATCH = 256


def forward(*inputs: Array) -> list[Array]:
    """Stands for the prediction."""
    raise NotImplementedError


# ---- the file
def load_weights(path: Path) -> dict[str, Array]:
    """Arrays by name. Half floats become floats; whole numbers with a `:scale` beside them are multiplied by it."""
    with np.load(path, allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
    found = {}
    for name, array in stored.items():
        if name + ":scale" in stored:
            found[name] = array * stored[name + ":scale"]
        elif not name.endswith(":scale"):
            found[name] = array.astype(np.float32) if array.dtype == np.float16 else array
    return found


def predict(*inputs: Any) -> Any:
    """An array for each input (samples first) → the output's array; a dict of them where there are several outputs."""
    if len(inputs) != len(INPUTS):
        raise ValueError(f"expected {len(INPUTS)} inputs ({', '.join(INPUTS)}), found {len(inputs)}")
    arrays = []
    for (name, (shape, dtype)), given in zip(INPUTS.items(), inputs, strict=True):
        array = np.asarray(given)
        if array.shape[1:] != shape:
            raise ValueError(f"input {name}: expected samples of shape {shape}, found an array {array.shape}")
        arrays.append(array.astype(dtype))
    if not len(arrays[0]) or len({len(array) for array in arrays}) > 1:
        raise ValueError(f"expected as many samples in every input, one at least; found {[len(a) for a in arrays]}")
    with np.errstate(all="ignore"):
        parts = [forward(*(a[k : k + BATCH] for a in arrays)) for k in range(0, len(arrays[0]), BATCH)]
    joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
    return joined[0] if len(joined) == 1 else dict(zip(OUTPUTS, joined, strict=True))


def labels(output: str, scores: Array) -> list[tuple[str, float]]:
    """The most probable class of each sample, and its probability."""
    names, kind, logits = CLASSES[output]
    p = scores.astype(np.float64)
    if kind == "binary":
        p = p.reshape(-1, 1)
        p = 1 / (1 + np.exp(-p)) if logits else p
        p = np.concatenate([1 - p, p], axis=1)
    elif logits:
        p = np.exp(p - p.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
    return [(names[row.argmax()], float(row.max())) for row in p]


def encode(rows: Sequence[Mapping[str, str]]) -> list[Array]:
    """Rows of a table, by column name → the inputs' arrays, scaled and encoded as in training."""
    return [np.array([[n for c in columns for n in numbers(c, row)] for row in rows]) for columns in FEATURES.values()]


def numbers(column: Mapping[str, Any], row: Mapping[str, str]) -> list[float]:
    """What one cell of a row becomes."""
    if column["name"] not in row:
        raise ValueError(f"there is no column {column['name']}")
    text, categories = (row[column["name"]] or "").strip(), column.get("categories", ())
    missing = text not in categories and text.lower() in ("", "na", "n/a", "#n/a", "nan", "null", "?")
    if missing and column["fill"] is None and column["needed"]:
        raise ValueError(f"column {column['name']}: the value is missing")
    if column["kind"] != "category":
        value = column["fill"] if missing else float(text.replace(DECIMAL, "."))
        return [(value - column["offset"]) / column["factor"]]
    text = column["fill"] if missing else text
    slot = categories.index(text) if text in categories else len(categories)
    return [float(slot == k) for k in range(len(categories) + 1)]


def read(paths: Sequence[str]) -> list[Array]:
    """The inputs' arrays from files."""
    if FEATURES and len(paths) == 1 and paths[0].endswith(".csv"):
        with open(paths[0], newline="", encoding="utf-8-sig") as file:
            return encode(list(csv.DictReader(file)))
    if len(paths) == 1 and paths[0].endswith(".npz"):
        with np.load(paths[0], allow_pickle=False) as arrays:
            return [arrays[name] for name in INPUTS]
    return [np.load(path, allow_pickle=False) for path in paths]


def main(words: Sequence[str]) -> None:
    """`python FILE input.npy [-o predictions.npy]`"""
    paths = list(words)
    target = paths.pop(paths.index("-o") + 1) if "-o" in paths[:-1] else ""
    paths = [path for path in paths if path != "-o"]
    if not paths or "--help" in paths:
        sys.exit(__doc__)
    try:
        found = predict(*read(paths))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {error}")
    outputs = found if isinstance(found, dict) else {OUTPUTS[0]: found}
    if target:
        np.savez(target, **outputs) if len(outputs) > 1 or target.endswith(".npz") else np.save(target, found)
        return
    for name, array in outputs.items():
        if len(outputs) > 1:
            print(f"{name}:")
        if name in CLASSES:
            for label, p in labels(name, array):
                print(f"{label}\t{p:.4f}")
        else:
            print(array)
