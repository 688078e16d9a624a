"""Crossentropies as metrics: the same numbers as the losses without regularization penalties and loss weights."""

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.metrics.base import Sums, _Mean, add_mean, like, trailing
from kerascli.ops.ir import Array, Shape

EPSILON = 1e-7


class _Crossentropy(_Mean):
    direction = "down"

    from_logits: bool = False
    """Whether outputs are logits rather than probabilities."""


class BinaryCrossentropy(_Crossentropy):
    """The mean of -(y·log p + (1 - y)·log(1 - p)), with p kept 1e-7 away from 0 and 1."""

    aliases = ("bce", "BCE")

    label_smoothing: float = Field(default=0.0, ge=0, le=1)
    """How far targets are drawn towards 0.5."""

    examples = (
        Example(inputs=((1,), (1,))),
        Example({"from_logits": True, "label_smoothing": 0.2}, inputs=((4,), (4,))),
    )

    def values(self, y_true: Array, y_pred: Array) -> Array:
        y = like(y_true, y_pred) * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        if self.from_logits:
            values: Array = np.fmax(y_pred, 0) + np.log1p(np.exp(-np.abs(y_pred))) - y * y_pred
        else:
            p = _clip(y_pred)
            values = -(y * np.log(p) + (1 - y) * np.log(1 - p))
        return values


class CategoricalCrossentropy(_Crossentropy):
    """The mean of -Σ y·log p over classes, with p made to sum to 1, then kept 1e-7 away from 0 and 1."""

    label_smoothing: float = Field(default=0.0, ge=0, le=1)
    """How much of each target is spread evenly over the classes."""
    axis: int = -1
    """The axis of the classes, the batch axis counted as 0."""

    examples = (
        Example(inputs=((4,), (4,))),
        Example({"from_logits": True, "label_smoothing": 0.1}, inputs=((3, 4), (3, 4))),
        Example({"axis": 1}, inputs=((4, 3), (4, 3))),
    )

    def values(self, y_true: Array, y_pred: Array) -> Array:
        y = like(y_true, y_pred)
        if self.label_smoothing:
            y = y * (1 - self.label_smoothing) + self.label_smoothing / y.shape[-1]
        values: Array = -(y * _log_probabilities(y_pred, self.from_logits, self.axis)).sum(self.axis)
        return values


class SparseCategoricalCrossentropy(_Crossentropy):
    """The mean of -log p of the class that an integer target numbers.

    As in Keras, samples of `ignore_class` count as 0 unless there are weights, and then not at all. A target that
    numbers no class counts as 0.
    """

    ignore_class: int | None = None
    """Class number whose samples do not count."""
    axis: int = -1
    """The axis of the classes, the batch axis counted as 0."""

    examples = (
        Example(inputs=((4,), ())),
        Example({"from_logits": True}, inputs=((3, 4), (3,))),
        Example({"ignore_class": 0}, inputs=((4,), (1,))),
    )

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        if output_shape and target_shape != output_shape:
            return None
        return f"{self.column} wants integer targets and gets shape {target_shape}", "use categorical_crossentropy"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        labels = self._labels(y_true, y_pred)
        counted = (labels >= 0) & (labels < y_pred.shape[self.axis]) & (labels != self.ignore_class)
        at = np.expand_dims(np.where(counted, labels, 0), self.axis)
        logs = np.take_along_axis(_log_probabilities(y_pred, self.from_logits, self.axis), at, self.axis)
        return np.where(counted, -logs.squeeze(self.axis), y_pred.dtype.type(0))

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        values = self.values(y_true, y_pred)
        if self.ignore_class is not None and weight is not None:
            counted = self._labels(y_true, y_pred) != self.ignore_class
            weight = trailing(weight, counted.ndim) * counted
        add_mean(sums, values, weight)

    def _labels(self, y_true: Array, y_pred: Array) -> Array:
        whole = list(y_pred.shape)
        del whole[self.axis]
        return y_true.reshape(whole).astype(np.int64, copy=False)


class KLDivergence(_Mean):
    """The mean of Σ y_true · log(y_true / y_pred), both distributions, kept between 1e-7 and 1."""

    direction = "down"
    examples = (Example(inputs=((4,), (4,))), Example(inputs=((3, 4), (3, 4))))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        true, pred = (np.clip(y, y.dtype.type(EPSILON), y.dtype.type(1)) for y in (like(y_true, y_pred), y_pred))
        values: Array = (true * np.log(true / pred)).sum(-1)
        return values


class Poisson(_Mean):
    """The mean of y_pred - y_true · log(y_pred + 1e-7): outputs are the rates of counts."""

    direction = "down"
    examples = (Example(inputs=((1,), (1,))), Example(inputs=((3,), (3,))))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(y_pred + y_pred.dtype.type(EPSILON))
        return np.asarray(y_pred - like(y_true, y_pred) * logs)


def _clip(p: Array) -> Array:
    return np.clip(p, p.dtype.type(EPSILON), p.dtype.type(1 - EPSILON))


def _log_probabilities(y_pred: Array, from_logits: bool, axis: int) -> Array:
    if from_logits:
        z = y_pred - y_pred.max(axis, keepdims=True)
        return np.asarray(z - np.log(np.exp(z).sum(axis, keepdims=True)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(_clip(y_pred / y_pred.sum(axis, keepdims=True))))
