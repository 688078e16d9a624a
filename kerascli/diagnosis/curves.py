"""What the figures of the epochs show: a loss that stands still, overfitting, one class for everything, leaks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from kerascli.callbacks.early_stopping import EarlyStopping
from kerascli.diagnosis.finding import Finding, place
from kerascli.metrics.base import Metric
from kerascli.model import Measure, Model
from kerascli.objective import Goal
from kerascli.ops.ir import Array
from kerascli.program.build import trace_forward
from kerascli.sources.base import Dataset, Split

Rows = Sequence[Mapping[str, float | None]]

SETTLED = 3
"""Epochs after which a loss should have moved."""
STILL = 0.002
"""Part of a loss that an epoch changes at least, if it moves at all."""
CONSTANT = 0.98
"""Part of a constant prediction's loss that says that no more has been learnt."""
PATIENCE = 5
"""Epochs that validation may be worse than before."""
WORSE = 1.5
"""How many times as large the validation loss then is, and the other as small."""
FEW = 50
"""Samples below which figures say too little."""
SIGMAS = 5.0
"""Standard deviations that are no chance."""


class Curves:
    """The figures of a training, read once as the epochs come, and what they are compared with."""

    def __init__(self, model: Model, data: Dataset) -> None:
        self.model, self.data = model, data
        self.epochs = 0
        self._columns: dict[str, list[float]] = {}
        self._shares: dict[str, Array | None] = {}
        split = data.validation or data.train
        self.accuracies = [
            (measure, f"val_{measure.column}" if data.validation else measure.column, split)
            for measure in model.measures
            if _is_accuracy(measure.metric) and not measure.weighted
        ]
        """Each accuracy with its column: that of validation, where there is one."""

    def examine(self, rows: Rows) -> Iterator[Finding]:
        """All findings that the epochs so far allow. The last row is the epoch just done.

        Long trainings are looked at every so many epochs: each finding waits a third of them at most.
        """
        count = len(rows)
        if count % max(count // 3, 1) and count < self.model.spec.training.epochs:
            return
        for row in rows[self.epochs :]:
            for name, value in row.items():
                if value is not None:
                    self._columns.setdefault(name, []).append(value)
        self.epochs = count
        looks = (_broken, _standing, _overfitting, _one_class, _leaking, _learning_by_heart)
        for look in looks if count >= SETTLED else (_broken,):
            yield from look(self)

    def column(self, name: str) -> list[float]:
        """The figures of the epochs that have it."""
        return self._columns.get(name, [])

    @cached_property
    def constant(self) -> float | None:
        return constant_loss(self.model, self.data.train)

    @cached_property
    def is_harder_in_training(self) -> bool:
        """Whether dropout, noise, augmentation or statistics of batches make training another net than validation."""
        forward = trace_forward(self.model.graph, training=True)
        return bool(forward.updates) or any("stream" in value.op.fields for value in forward.trace.values)

    def shares(self, output: str, split: Split) -> Array | None:
        """`class_shares` of the split that accuracies are measured on."""
        if output not in self._shares:
            self._shares[output] = class_shares(split.targets[output])
        return self._shares[output]


def _broken(seen: Curves) -> Iterator[Finding]:
    """Validation gives no number, though the weights are finite."""
    held = seen.column("val_loss")
    if held and not math.isfinite(held[-1]):
        message = f"`val_loss` is {held[-1]} in epoch {seen.epochs}, though the loss and the weights are finite"
        help = "look for values that training does not have: `kerascli data`"
        yield Finding("validation_not_finite", message, help, place(seen.model.loaded, ("dataset",)))


def _standing(seen: Curves) -> Iterator[Finding]:
    """The loss is that of a constant prediction, or has not moved at all."""
    losses = seen.column("loss")
    last = losses[-1] if losses else math.nan
    if len(losses) < SETTLED or not math.isfinite(last) or last <= 0:
        return
    moved = max(abs(a - b) for a in losses[-SETTLED:] for b in losses[-SETTLED:]) / last
    if moved > STILL * SETTLED:
        return
    constant = seen.constant
    if constant is not None and min(losses) >= CONSTANT * constant:
        known = f"that of a constant prediction is {constant:.4g}"
    elif len(losses) >= PATIENCE and max(abs(loss - losses[0]) for loss in losses) < STILL * last / 2:
        known = f"it was {losses[0]:.4g} in the first epoch"
    else:
        return
    message = f"the loss does not move: it is {last:.4g} after {len(losses)} epochs, and {known}"
    help = (
        "try another learning rate, ten times larger or smaller; see that inputs are scaled and targets belong to them"
    )
    paths = ("optimizer", "learning_rate"), ("optimizer",), ("loss",)
    yield Finding("constant_loss", message, help, place(seen.model.loaded, *paths))


def _overfitting(seen: Curves) -> Iterator[Finding]:
    """Validation has become worse for several epochs while the loss still falls."""
    losses, held = seen.column("loss"), seen.column("val_loss")
    if len(held) != len(losses) or len(held) <= PATIENCE:
        return
    best = held.index(min(held))
    recent = held[-SETTLED:]
    if len(held) - 1 - best < PATIENCE or min(recent) < WORSE * held[best] or losses[-1] > losses[best] / WORSE:
        return
    model, data = seen.model, seen.data
    stops = any(isinstance(callback, EarlyStopping) for callback in model.spec.callbacks)
    if stops or not data.validation or len(data.validation) < FEW:
        return
    accuracies = [seen.column(column) for _, column, _ in seen.accuracies]
    if any(max(found[-SETTLED:]) >= max(found) for found in accuracies):
        return  # surer than it should be, and as often right
    message = (
        f"overfitting: since epoch {best + 1} `val_loss` rose from {held[best]:.4g} to {held[-1]:.4g} "
        f"while `loss` fell from {losses[best]:.4g} to {losses[-1]:.4g}"
    )
    help = (
        "`callbacks: [{type: EarlyStopping, patience: 3, restore_best_weights: true}]` would stop there; "
        "`--weights best` uses the weights of that epoch"
    )
    where = place(model.loaded, ("callbacks",), ("training", "epochs"), ("training",), ("loss",))
    yield Finding("overfitting", message, help, where)


def _one_class(seen: Curves) -> Iterator[Finding]:
    """The accuracy is that of answering every sample with the most frequent class."""
    model, data = seen.model, seen.data
    for measure, column, split in seen.accuracies:
        found = seen.column(column)[-SETTLED:]
        if len(found) < SETTLED or len(set(found)) > 1:
            continue
        shares = seen.shares(measure.output, split)
        if shares is None or len(split) < FEW:
            continue
        most = int(np.argmax(shares))
        if abs(shares[most] - found[-1]) * len(split) > 0.5 or shares[most] < 1.2 / len(shares):
            continue
        message = (
            f"`{column}` is {found[-1]:.4g}, as much as always answering class {_class(data, measure, most)} gives"
        )
        weighed = model.spec.training.class_weight is not None
        help = "try another learning rate" if weighed else "try `training: {class_weight: balanced}`"
        where = place(model.loaded, ("training", "class_weight"), ("training",), ("loss",))
        yield Finding("one_class", message, help, where)


def _leaking(seen: Curves) -> Iterator[Finding]:
    """Validation is much better than training, and nothing makes training harder."""
    model, data, training = seen.model, seen.data, seen.model.spec.training
    if training.class_weight is not None or data.train.sample_weight is not None or model.spec.optimizer.use_ema:
        return
    for _, column, split in seen.accuracies:
        name = column.removeprefix("val_")
        pairs = list(zip(seen.column(column)[-SETTLED - 1 : -1], seen.column(name)[-SETTLED:], strict=False))
        if split is data.train or len(pairs) < SETTLED or len(split) < FEW or training.validation_freq > 1:
            continue
        # An epoch's accuracy is a mean over its steps, so validation is compared with the epoch that follows it.
        if all(1 - held < (1 - own) / 2 and held - own > SIGMAS * _deviation(own, split) for held, own in pairs):
            if seen.is_harder_in_training:
                return
            held, own = pairs[-1]
            message = f"`{column}` {held:.4g} is far above `{name}` {own:.4g}, and nothing makes training harder"
            help = "see that validation samples are no training samples, and as hard: `kerascli data` looks"
            where = place(model.loaded, ("dataset", "validation_split"), ("dataset",))
            yield Finding("validation_leak", message, help, where)


def _learning_by_heart(seen: Curves) -> Iterator[Finding]:
    """Training samples are learnt, and validation has never been better than one answer for all."""
    for measure, column, split in seen.accuracies:
        held, own = seen.column(column), seen.column(column.removeprefix("val_"))
        if split is seen.data.train or len(held) < PATIENCE or len(split) < 2 * FEW or own[-1] < 0.5:
            continue
        shares = seen.shares(measure.output, split)
        if shares is None:
            continue
        most = float(max(shares))
        if max(held) <= most + 2 * _deviation(most, split) and own[-1] >= most + 0.3:
            name = column.removeprefix("val_")
            message = (
                f"`{name}` is {own[-1]:.4g}, and `{column}` was never above {max(held):.4g}, "
                f"where one answer for all gives {most:.4g}"
            )
            help = "see that the labels belong to their inputs, and that both splits are of one kind"
            yield Finding("labels_do_not_fit", message, help, place(seen.model.loaded, ("dataset",)))


# ---- what they are compared with


def constant_loss(model: Model, train: Split) -> float | None:
    """The smallest loss of a prediction that is the same for all samples; None where it is not known."""
    goals = model.objective.goals
    if model.spec.training.class_weight is not None or train.sample_weight is not None or len(goals) != 1:
        return None
    goal, labels = goals[0], train.targets[goals[0].output]
    if not isinstance(labels, np.ndarray) or goal.loss.reduction == "sum":
        return None
    return _constant(goal, labels)


def _constant(goal: Goal, labels: Array) -> float | None:
    kind = type(goal.loss).__name__
    if kind in ("MeanSquaredError", "MeanAbsoluteError"):
        values = labels.reshape(len(labels), -1)[:4096].astype(np.float64)
        if kind == "MeanSquaredError":
            return float(values.var(axis=0).mean())
        return float(np.abs(values - np.median(values, axis=0)).mean())
    if kind not in ("SparseCategoricalCrossentropy", "CategoricalCrossentropy", "BinaryCrossentropy"):
        return None
    if kind == "BinaryCrossentropy":
        share = labels.reshape(len(labels), -1).astype(np.float64).mean(axis=0)
        shares = np.stack([share, 1 - share])
        return float(-(shares * np.log(np.maximum(shares, 1e-30))).sum(axis=0).mean())
    found = class_shares(labels)
    return None if found is None else float(-(found * np.log(np.maximum(found, 1e-30))).sum())


def class_shares(labels: object) -> Array | None:
    """The share of each class among integer or one-hot labels of whole samples; None for others."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iuf" or not len(labels):
        return None
    if labels.ndim == 2 and labels.shape[1] > 1:
        counts = labels.sum(axis=0, dtype=np.float64)
        return (
            counts / len(labels) if (labels.sum(axis=1) == 1).all() and ((labels == 0) | (labels == 1)).all() else None
        )
    flat = labels.reshape(-1)
    whole = flat.astype(np.int64)
    if len(flat) != len(labels) or (whole != flat).any() or whole.min() < 0 or whole.max() > 10_000:
        return None
    return np.bincount(whole, minlength=2) / len(whole)


def _is_accuracy(metric: Metric) -> bool:
    names = ("BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy")
    return type(metric).__name__ in names


def _deviation(accuracy: float, split: Split) -> float:
    """Of an accuracy measured on so many samples."""
    return math.sqrt(max(accuracy * (1 - accuracy), 1e-12) / len(split))


def _class(data: Dataset, measure: Measure, number: int) -> str:
    layout = data.preprocessing.targets.get(measure.output)
    names = layout.class_names if layout else ()
    return f"`{names[number]}`" if number < len(names) else str(number)
