"""Targets as the loss wants them: class ids, one-hot vectors, or the values as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array
from kerascli.ops.shape import without_one

Resolved = Literal["integer", "one_hot", "none"]


def resolve_encoding(encoding: str, classes: int | None) -> Resolved:
    """`auto` without a caller's wish: ids for labels, other values as they are."""
    if encoding == "auto":
        return "none" if classes is None else "integer"
    return cast(Resolved, encoding)


def encode_labels(
    values: Array, encoding: Resolved, classes: int | None, class_names: Sequence[str], what: str
) -> Array:
    """Shapes: labels (n, …) → (n, …) int32 or (n, …, classes) float32; `none` keeps the shape and makes floats.

    One-hot rows under `integer` become ids, and stay as they are under `one_hot`.
    """
    if values.dtype.kind in "US":
        values = _ids_of_texts(values, class_names, what)
    if encoding == "none" and class_names and not _are_numbers(class_names):
        require_two(class_names, what)
    if encoding == "none":
        return values if values.dtype == np.float32 else values.astype(np.float32)
    if values.ndim > 1 and values.dtype.kind == "f" and classes is None:
        return values.astype(np.float32) if encoding == "one_hot" else _ids_of_one_hot(values, what)
    ids = _whole(values, what)
    if classes is None:
        classes = int(ids.max(initial=0)) + 1
    wrong = (ids < 0) | (ids >= classes)
    if wrong.any():
        row = np.argwhere(wrong)[0]
        message = f"{what}: row {row[0] + 1} has label {ids[tuple(row)]}, the classes are 0 to {classes - 1}"
        raise Failure(Problem("E405", message, help="a target without class labels needs `target_encoding: none`"))
    return ids if encoding == "integer" else one_hot(ids, classes)


def require_two(class_names: Sequence[str], what: str) -> None:
    """Names of two classes may serve as 0 and 1; of more they are no numbers."""
    if len(class_names) != 2:
        raise Failure(
            Problem(
                "E405",
                f"{what}: {len(class_names)} class names cannot be taken for numbers",
                help="use a crossentropy, or `target_encoding: integer`",
            )
        )


def _are_numbers(names: Sequence[str]) -> bool:
    try:
        return all(float(name) == float(name) for name in names)
    except ValueError:
        return False


def one_hot(ids: Array, classes: int) -> Array:
    """Shapes: (n, …) → (n, …, classes) float32; (n, 1) → (n, classes), as Keras's to_categorical."""
    ids = ids.reshape(ids.shape[:1] + without_one(ids.shape[1:]))  # CIFAR's labels come as (n, 1)
    rows = np.zeros((ids.size, classes), np.float32)
    rows[np.arange(ids.size), ids.reshape(-1)] = 1
    return rows.reshape(*ids.shape, classes)


def _whole(values: Array, what: str) -> Array:
    wrong = np.zeros(values.shape, bool) if values.dtype.kind in "biu" else values != np.floor(values)
    if wrong.any():
        row = np.argwhere(wrong)[0]
        raise Failure(
            Problem(
                "E405",
                f"{what}: row {row[0] + 1} has {values[tuple(row)]}, which is no class label",
                help="a target of measured values needs a regression loss such as `mse`",
            )
        )
    return values.astype(np.int32)


def _ids_of_one_hot(values: Array, what: str) -> Array:
    if not (((values == 0) | (values == 1)).all() and (values.sum(axis=-1) == 1).all()):
        raise Failure(
            Problem(
                "E405",
                f"{what}: vectors that are not one-hot cannot become class ids",
                help="the loss wants integer labels; take its categorical form instead",
            )
        )
    ids: Array = values.argmax(axis=-1).astype(np.int32)
    return ids


def _ids_of_texts(values: Array, class_names: Sequence[str], what: str) -> Array:
    names = np.array(class_names)
    ids = np.minimum(np.searchsorted(names, values), len(names) - 1)
    wrong = names[ids] != values
    if wrong.any():
        row = np.argwhere(wrong)[0]
        raise Failure(
            Problem(
                "E405",
                f"{what}: row {row[0] + 1} has label `{values[tuple(row)]}`, which training never showed",
                help=f"the classes are {', '.join(class_names[:20])}",
            )
        )
    return ids.astype(np.int32)
