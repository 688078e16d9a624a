"""The compiled model: the graph with a loss and metrics for each output, and the targets they want.

Problems: E311 the loss and the outputs do not fit each other's names; E312 a loss that does not fit its target and
output; E313 a metric that does not; E315 a figure of `expect` that no run has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from kerascli import graph as graphs
from kerascli.component import nearest
from kerascli.errors import Problem, SpecFailure
from kerascli.graph import Graph
from kerascli.losses.base import Loss
from kerascli.metrics.base import Metric, columns
from kerascli.ops.ir import Array
from kerascli.program.build import Target
from kerascli.sources.base import Signature
from kerascli.spec import Loaded
from kerascli.yamltext import Place


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
    losses: dict[str, Loss]
    encodings: dict[str, str]
    """For each target: `integer`, `one_hot` or `none`, as its loss wants it."""
    targets: dict[str, Target]
    measures: tuple[Measure, ...]

    @property
    def loss_columns(self) -> dict[str, str]:
        """Log names of the outputs' own losses; a single output's loss is `loss` itself."""
        return {name: f"{name}_loss" for name in self.losses} if len(self.losses) > 1 else {}


def compile_model(loaded: Loaded, signature: Signature | None = None) -> Model:
    """Graph, losses and metrics of a spec. All problems of a stage are in one SpecFailure."""
    spec, problems = loaded.spec, list[Problem]()
    outline = graphs.outline(loaded)
    signature = signature or graphs.peek(loaded, outline)
    graph = graphs.infer(loaded, outline, signature)
    losses = _losses(loaded, graph, problems)
    if problems:
        raise SpecFailure(problems)
    encodings, targets = {}, {}
    for name, loss in losses.items():
        info, output = signature.targets[name], graph.node(name)
        encoding = spec.dataset.target_encoding
        if encoding == "auto":
            encoding = loss.encoding(info.classes, output.shape)
        shape = info.shape_as(encoding)
        encodings[name] = encoding
        dtype = "int32" if encoding == "integer" else "float"
        weight = (spec.loss_weights or {}).get(name, 1.0)
        targets[name] = Target(loss, shape, dtype, weight)
        activation = getattr(output.layer, "activation", None)
        found = loss.problem(shape, dtype, info.classes, output.shape, activation)
        if found:
            place: Place = ("loss", name) if isinstance(spec.loss, dict) else ("loss",)
            where = loaded.document.span(place)
            problems.append(Problem("E312", f"the loss does not fit {output.title}: {found[0]}", where, help=found[1]))
    measures = _measures(loaded, graph, targets, problems)
    model = Model(loaded, signature, graph, losses, encodings, targets, measures)
    problems += _expectations(model)
    if problems:
        raise SpecFailure(problems)
    return model


def _losses(loaded: Loaded, graph: Graph, problems: list[Problem]) -> dict[str, Loss]:
    """The loss of each output."""
    spec = loaded.spec
    known = list(graph.outputs)
    for key in ("loss", "loss_weights", "metrics", "weighted_metrics"):
        given = getattr(spec, key)
        for name in given if isinstance(given, dict) else ():
            if name not in known:
                near = nearest(name, known)
                problems.append(
                    Problem(
                        "E311",
                        f"`{key}` names `{name}`, which is no output",
                        loaded.document.key_span((key, name)),
                        f"did you mean `{near}`?" if near else "",
                        f"the outputs are {', '.join(f'`{n}`' for n in known)}",
                    )
                )
    if isinstance(spec.loss, Loss):
        return dict.fromkeys(known, spec.loss)
    missing = [name for name in known if name not in spec.loss]
    for name in missing:
        problems.append(
            Problem(
                "E311",
                f"output `{name}` has no loss",
                loaded.document.key_span(("loss",)),
                help=f"add `{name}: …` to `loss`, or take it out of `outputs`",
            )
        )
    return {name: spec.loss[name] for name in known if name in spec.loss}


def _measures(
    loaded: Loaded, graph: Graph, targets: Mapping[str, Target], problems: list[Problem]
) -> tuple[Measure, ...]:
    found: list[tuple[str, Metric, bool]] = []
    several = len(graph.outputs) > 1
    for key in ("metrics", "weighted_metrics"):
        given = getattr(loaded.spec, key)
        for output in graph.outputs:
            metrics = given.get(output, []) if isinstance(given, dict) else given
            for index, metric in enumerate(metrics):
                shape, wanted = graph.node(output).shape, targets[output].shape
                own = metric.resolve(shape, wanted)
                fault = own.problem(wanted, shape)
                if fault:
                    place: Place = (key, output, index) if isinstance(given, dict) else (key, index)
                    title = f"metric `{own.column}` does not fit {graph.node(output).title}: {fault[0]}"
                    problems.append(Problem("E313", title, loaded.document.span(place), help=fault[1]))
                found.append((output, own, key == "weighted_metrics"))
    names = columns([(output if several else None, metric, weighted) for output, metric, weighted in found])
    return tuple(
        Measure(name, output, metric, weighted)
        for name, (output, metric, weighted) in zip(names, found, strict=True)
    )


def _expectations(model: Model) -> Iterator[Problem]:
    """A figure of `expect` that no run of this spec has."""
    loaded = model.loaded
    logged = ["loss", *model.loss_columns.values(), *(measure.column for measure in model.measures)]
    known = ["seconds", *logged, *(f"{split}_{name}" for split in ("train", "val", "test") for name in logged)]
    for figure in loaded.spec.expect:
        if figure not in known:
            near = nearest(figure, known)
            yield Problem(
                "E315",
                f"`expect` names `{figure}`, and no run of this spec has it",
                loaded.document.key_span(("expect", figure)),
                f"did you mean `{near}`?" if near else "",
                f"there are seconds, {', '.join(logged)}, and these with train_, val_ or test_ before them",
            )


def class_weights(y: Array, weights: Mapping[int, float] | str, classes: int | None) -> Array:
    """A weight for each sample from the weight of its class; `balanced` is n / (classes × count).

    y holds class numbers (n,) or (n, 1), or one-hot rows (n, classes). Classes without an entry weigh 1, as in Keras.
    """
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
    return table[ids]


