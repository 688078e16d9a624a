"""The checked spec as the trainer sees it: targets for the program, metrics by column, weights for classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kerascli.check import Checked
from kerascli.errors import Failure, Problem
from kerascli.graph import Graph, infer
from kerascli.metrics.base import Metric
from kerascli.objective import Objective, objective
from kerascli.ops.ir import Array
from kerascli.outline import outline
from kerascli.program.build import Target
from kerascli.sources.base import Signature
from kerascli.spec import Loaded, Spec


@dataclass(frozen=True)
class Measure:
    """A metric on one output, under its name in the logs."""

    column: str
    output: str
    metric: Metric
    weighted: bool


@dataclass(frozen=True)
class Model:
    """Everything that training needs to know, found without reading the data."""

    loaded: Loaded
    signature: Signature
    graph: Graph
    objective: Objective

    @classmethod
    def of(cls, checked: Checked) -> Model:
        return cls(checked.loaded, checked.signature, checked.graph, checked.objective)

    @classmethod
    def stored(cls, loaded: Loaded, signature: Signature) -> Model:
        """Of a spec that was checked before it was trained; its data need not be there any more."""
        graph = infer(loaded, outline(loaded), signature)
        return cls(loaded, signature, graph, objective(loaded, graph, signature))

    @property
    def spec(self) -> Spec:
        return self.loaded.spec

    @cached_property
    def targets(self) -> dict[str, Target]:
        """What the program must know of each output's target."""
        return {
            g.output: Target(g.loss, g.target, "int32" if g.encoding == "integer" else "float", g.weight)
            for g in self.objective.goals
        }

    @cached_property
    def encodings(self) -> dict[str, str]:
        return {goal.output: goal.encoding for goal in self.objective.goals}

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        return tuple(
            Measure(f.column, goal.output, f.metric, f.weighted) for goal in self.objective.goals for f in goal.figures
        )

    @cached_property
    def loss_columns(self) -> dict[str, str]:
        """Log names of the outputs' own losses; a single output's loss is `loss` itself."""
        goals = self.objective.goals
        return {goal.output: f"{goal.output}_loss" for goal in goals} if len(goals) > 1 else {}

    def classes(self, output: str) -> int | None:
        return next(goal.classes for goal in self.objective.goals if goal.output == output)


def class_weights(y: Array, weights: Mapping[int, float] | str, classes: int | None) -> Array:
    """A weight for each sample from the weight of its class; `balanced` is n / (classes × count).

    y holds class numbers (n,) or (n, 1), or one-hot rows (n, classes). Classes without an entry weigh 1, as in Keras.
    """
    _require_classes(y)
    ids = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y)).astype(np.int64)
    size = max(int(ids.max(initial=0)) + 1, classes or 0)
    table = np.ones(size, np.float32)
    if isinstance(weights, str):
        counts = np.bincount(ids, minlength=size)
        present = counts > 0
        table[present] = len(ids) / (present.sum() * counts[present])
    else:
        for number, weight in weights.items():
            if 0 <= number < size:
                table[number] = weight
    found: Array = table[ids]
    return found


def _require_classes(y: Array) -> None:
    """Every sample must have one class: a number, or one 1 in its row."""
    if y.ndim > 1 and y.shape[-1] > 1:
        wrong = y.ndim > 2 or not bool((((y == 0) | (y == 1)).all(-1) & (y.sum(-1) == 1)).all())
        found = "some have several, none, or values that are no labels"
    else:
        wrong = bool(((y != np.floor(y)) | (y < 0)).any())
        found = "the target has values that are no numbers of classes"
    if wrong:
        message = f"`class_weight` needs one class for each sample: {found}"
        raise Failure(Problem("E405", message, help="drop `training.class_weight`"))
