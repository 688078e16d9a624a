"""What the figures of the epochs show: a loss that stands still, overfitting, one class for everything, leaks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

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


def examine(model: Model, data: Dataset, rows: Rows) -> Iterator[Finding]:
    """All findings that the epochs so far allow. The last row is the epoch just done."""
    yield from _broken(model, rows)
    yield from _standing(model, data, rows)
    yield from _overfitting(model, data, rows)
    yield from _one_class(model, data, rows)
    yield from _leaking(model, data, rows)
    yield from _learning_by_heart(model, data, rows)


def _broken(model: Model, rows: Rows) -> Iterator[Finding]:
    """Validation gives no number, though the weights are finite."""
    value = rows[-1].get("val_loss") if rows else None
    if value is not None and not math.isfinite(value):
        message = f"`val_loss` is {value} in epoch {len(rows)}, though the loss and the weights are finite"
        help = "look for values that training does not have: `kerascli data`"
        yield Finding("validation_not_finite", message, help, place(model.loaded, ("dataset",)))


def _standing(model: Model, data: Dataset, rows: Rows) -> Iterator[Finding]:
    """The loss is that of a constant prediction, or has not moved at all."""
    losses = _column(rows, "loss")
    last = losses[-1] if losses else math.nan
    if len(losses) < SETTLED or not math.isfinite(last) or last <= 0:
        return
    moved = max(abs(a - b) for a in losses[-SETTLED:] for b in losses[-SETTLED:]) / last
    if moved > STILL * SETTLED:
        return
    constant = constant_loss(model, data.train)
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
    yield Finding("constant_loss", message, help, place(model.loaded, *paths))


def _overfitting(model: Model, data: Dataset, rows: Rows) -> Iterator[Finding]:
    """Validation has become worse for several epochs while the loss still falls."""
    losses, held = _column(rows, "loss"), _column(rows, "val_loss")
    stops = any(isinstance(callback, EarlyStopping) for callback in model.spec.callbacks)
    if stops or not data.validation or len(data.validation) < FEW or len(held) != len(losses) or not held:
        return
    best = int(np.argmin(held))
    recent = held[-SETTLED:]
    if len(held) - 1 - best < PATIENCE or min(recent) < WORSE * held[best] or losses[-1] > losses[best] / WORSE:
        return
    accuracies = [_column(rows, column) for _, column, split in _accuracies(model, data)]
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


def _one_class(model: Model, data: Dataset, rows: Rows) -> Iterator[Finding]:
    """The accuracy is that of answering every sample with the most frequent class."""
    for measure, column, split in _accuracies(model, data):
        found = _column(rows, column)[-SETTLED:]
        if len(found) < SETTLED or len(set(found)) > 1:
            continue
        shares = class_shares(split.targets[measure.output])
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


def _leaking(model: Model, data: Dataset, rows: Rows) -> Iterator[Finding]:
    """Validation is much better than training, and nothing makes training harder."""
    training = model.spec.training
    if training.class_weight is not None or data.train.sample_weight is not None or model.spec.optimizer.use_ema:
        return
    for _, column, split in _accuracies(model, data):
        name = column.removeprefix("val_")
        pairs = list(zip(_column(rows, column)[:-1], _column(rows, name)[1:], strict=False))[-SETTLED:]
        if split is data.train or len(pairs) < SETTLED or len(split) < FEW or training.validation_freq > 1:
            continue
        # An epoch's accuracy is a mean over its steps, so validation is compared with the epoch that follows it.
        if all(1 - held < (1 - own) / 2 and held - own > SIGMAS * _deviation(own, split) for held, own in pairs):
            if _is_harder_in_training(model):
                return
            held, own = pairs[-1]
            message = f"`{column}` {held:.4g} is far above `{name}` {own:.4g}, and nothing makes training harder"
            help = "see that validation samples are no training samples, and as hard: `kerascli data` looks"
            where = place(model.loaded, ("dataset", "validation_split"), ("dataset",))
            yield Finding("validation_leak", message, help, where)


def _learning_by_heart(model: Model, data: Dataset, rows: Rows) -> Iterator[Finding]:
    """Training samples are learnt, and validation has never been better than one answer for all."""
    for measure, column, split in _accuracies(model, data):
        held, own = _column(rows, column), _column(rows, column.removeprefix("val_"))
        if split is data.train or len(held) < PATIENCE or len(split) < 2 * FEW or own[-1] < 0.5:
            continue
        shares = class_shares(split.targets[measure.output])
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
            yield Finding("labels_do_not_fit", message, help, place(model.loaded, ("dataset",)))


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


def _accuracies(model: Model, data: Dataset) -> Iterator[tuple[Measure, str, Split]]:
    """Each accuracy with its column: that of validation, where there is one."""
    for measure in model.measures:
        if _is_accuracy(measure.metric) and not measure.weighted:
            split = data.validation or data.train
            yield measure, f"val_{measure.column}" if data.validation else measure.column, split


def _is_accuracy(metric: Metric) -> bool:
    names = ("BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy")
    return type(metric).__name__ in names


def _is_harder_in_training(model: Model) -> bool:
    """Whether dropout, noise, augmentation or statistics of batches make training another net than validation."""
    forward = trace_forward(model.graph, training=True)
    return bool(forward.updates) or any("stream" in value.op.fields for value in forward.trace.values)


def _deviation(accuracy: float, split: Split) -> float:
    """Of an accuracy measured on so many samples."""
    return math.sqrt(max(accuracy * (1 - accuracy), 1e-12) / len(split))


def _column(rows: Rows, name: str) -> list[float]:
    return [value for row in rows if (value := row.get(name)) is not None]


def _class(data: Dataset, measure: Measure, number: int) -> str:
    layout = data.preprocessing.targets.get(measure.output)
    names = layout.class_names if layout else ()
    return f"`{names[number]}`" if number < len(names) else str(number)
