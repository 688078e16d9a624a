"""What training makes small and what it shows: each output with its target, loss and metrics, and whether they fit.

Errors: E310 a loss, weight or metric for no output, E311 an output without a target, E312 a loss that does not fit its
output and target, E313 a metric that does not, E314 a callback that cannot work, E315 a figure of `expect` that no run
has. What Keras would do, but to no avail, is a warning: E320 raw scores where the loss wants probabilities, or the
reverse; E321 softmax over one unit; E322 a callback that another overrules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerascli.callbacks.base import Callback, Direction
from kerascli.component import nearest, snake_case
from kerascli.errors import Problem, Span, SpecFailure
from kerascli.graph import Graph, Node, shown
from kerascli.layers.structure import _Exit
from kerascli.losses.base import Fault, Loss
from kerascli.metrics.base import Metric, columns
from kerascli.ops.ir import Input, Scope, Shape, ShapeError, Trace, Type
from kerascli.schedules import Schedule
from kerascli.sources.base import Signature, TargetInfo
from kerascli.spec import Loaded
from kerascli.yamltext import Place


@dataclass(frozen=True)
class Figure:
    """A metric of an output under its log name."""

    column: str
    metric: Metric
    weighted: bool


@dataclass(frozen=True)
class Goal:
    """What is asked of one output."""

    output: str
    loss: Loss
    weight: float
    """Of this loss in the sum."""
    encoding: str
    """How the dataset serves the target: `integer`, `one_hot` or `none`."""
    target: Shape
    """Shape of one sample of the target, so served."""
    classes: int | None
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Objective:
    """All goals, in the order of the outputs, and what is doubtful about them."""

    goals: tuple[Goal, ...]
    warnings: tuple[Problem, ...]

    @property
    def columns(self) -> list[str]:
        """Names of the logged figures: the loss, each output's own where there are several, the metrics."""
        several = [f"{goal.output}_loss" for goal in self.goals] if len(self.goals) > 1 else []
        return ["loss", *several, *(figure.column for goal in self.goals for figure in goal.figures)]

    @property
    def directions(self) -> dict[str, Direction | None]:
        """Which way each of them is better, where that is known."""
        measured = {figure.column: figure.metric.direction for goal in self.goals for figure in goal.figures}
        losses: dict[str, Direction | None] = dict.fromkeys(self.columns, "down")
        return losses | measured


def objective(loaded: Loaded, graph: Graph, signature: Signature) -> Objective:
    """Match outputs, targets, losses and metrics; what does not fit is one SpecFailure."""
    return _Matcher(loaded, graph, signature).match()


class _Matcher:
    def __init__(self, loaded: Loaded, graph: Graph, signature: Signature) -> None:
        self.loaded, self.graph, self.signature = loaded, graph, signature
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.unfit: set[str] = set()

    def match(self) -> Objective:
        spec, outputs = self.loaded.spec, self.graph.outputs
        losses = self.by_output(spec.loss, "loss", spec.loss)
        weights = self.by_output(spec.loss_weights or {}, "loss_weights", 1.0)
        for name in outputs:
            if name not in losses and not self.problems:
                where = self.loaded.document.key_span(("loss",))
                self.note("E310", f"`loss` has none for the output `{name}`", where, help=f"add `{name}: …`")
        found = [self.goal(name, losses[name], weights.get(name, 1.0)) for name in outputs if name in losses]
        goals = self.figures([goal for goal in found if goal])
        if not self.problems:
            self.callbacks(goals)
            self.expectations(goals)
        if self.problems:
            raise SpecFailure(self.problems)
        return Objective(tuple(goals), tuple(self.warnings))

    def by_output(self, given: Any, key: str, default: Any) -> dict[str, Any]:
        """A value for each output; keys that are no output's name are problems."""
        if not isinstance(given, Mapping):
            return dict.fromkeys(self.graph.outputs, given)
        for name in given:
            if name not in self.graph.outputs:
                near = nearest(name, self.graph.outputs)
                where = self.loaded.document.key_span((key, name))
                listed = f"the outputs are {', '.join(f'`{n}`' for n in self.graph.outputs)}"
                label = f"did you mean `{near}`?" if near else ""
                self.note("E310", f"`{key}` names `{name}`, and no output is called so", where, label, listed)
        return {name: given[name] for name in self.graph.outputs if name in given}

    def goal(self, output: str, loss: Loss, weight: float) -> Goal | None:
        node = self.graph.node(output)
        info = self.signature.targets.get(output) or next(iter(self.signature.targets.values()), None)
        if info is None:
            self.note("E311", f"the dataset has no target for the output `{output}`", self.span(("dataset",)))
            return None
        asked = self.loaded.spec.dataset.target_encoding
        encoding = asked if asked != "auto" else wanted_encoding(loss, node.shape, info)
        target = info.shape_as(encoding)
        loss = loss.resolve(node.shape, target)
        where = self.span(self.loss_place(output))
        try:
            fault = loss.problem(target, info.classes, node.shape)
            if not fault:
                _trace(loss, Type(target, "int32" if encoding == "integer" else "float"), Type(node.shape))
        except ShapeError as error:
            fault = str(error), error.help
        if fault:
            label = f"the targets are {shown(target)}, the output `{output}` is {shown(node.shape)}"
            self.note("E312", fault[0], where, label, fault[1] + _classes(info, node.shape))
            self.unfit.add(output)
        else:
            self.doubts(node, loss, where)
        return Goal(output, loss, weight, encoding, target, info.classes, ())

    def doubts(self, node: Node, loss: Loss, where: Span) -> None:
        """What Keras would do without a word, and nobody wants."""
        last = activation(self.graph, node)
        if last == "softmax" and node.shape[-1:] == (1,):
            help = "use sigmoid with binary_crossentropy, or a unit for each class"
            message = f"softmax over the one number of `{node.name}` is always 1"
            self.warn("E321", message, node.where, help)
        elif doubt := loss.doubt(last):
            self.warn("E320", f"{doubt[0]} (`{node.name}`)", where, doubt[1])

    def figures(self, goals: list[Goal]) -> list[Goal]:
        """The goals with their metrics, chosen by shape and named as Keras logs them."""
        spec = self.loaded.spec
        found: list[tuple[Goal, Metric, bool]] = []
        for key, given, weighted in (
            ("metrics", spec.metrics, False),
            ("weighted_metrics", spec.weighted_metrics, True),
        ):
            named = self.metrics_by_output(key, given)
            for goal in goals:
                for index, metric in enumerate(named.get(goal.output, ())):
                    chosen = self.metric(goal, metric, (key, goal.output, index))
                    found.append((goal, chosen, weighted))
        several = len(self.graph.outputs) > 1
        names = columns((goal.output if several else None, metric, weighted) for goal, metric, weighted in found)
        made = [(goal, Figure(name, m, w)) for name, (goal, m, w) in zip(names, found, strict=True)]
        return [
            Goal(g.output, g.loss, g.weight, g.encoding, g.target, g.classes, tuple(f for o, f in made if o is g))
            for g in goals
        ]

    def metrics_by_output(self, key: str, given: list[Metric] | dict[str, list[Metric]]) -> dict[str, Sequence[Metric]]:
        outputs = self.graph.outputs
        if isinstance(given, Mapping):
            return self.by_output(given, key, ())
        if len(outputs) == 1 or not given:
            return dict.fromkeys(outputs, given)
        if len(given) == len(outputs):
            return {name: [metric] for name, metric in zip(outputs, given, strict=True)}
        where = self.loaded.document.key_span((key,))
        help = f"write `{key}: {{{outputs[0]}: [...], {outputs[1]}: [...]}}`"
        self.note("E310", f"`{key}` must say which output each is of, for there are {len(outputs)}", where, help=help)
        return {}

    def metric(self, goal: Goal, metric: Metric, place: Place) -> Metric:
        shape = self.graph.node(goal.output).shape
        chosen = metric.resolve(shape, goal.target)
        fault = chosen.problem(goal.target, shape)
        if fault and goal.output not in self.unfit:  # what is wrong with the loss is said once
            trail = self.loaded.document.trail((place[0], place[2])) or self.loaded.document.trail(place)
            where = self.span(tuple(step for step, _ in trail))
            self.note("E313", fault[0], where, help=fault[1])
        return chosen

    def expectations(self, goals: list[Goal]) -> None:
        """Every figure of `expect` must be one that a finished run has."""
        own = Objective(tuple(goals), ()).columns
        known = ["seconds", *own, *(f"{split}_{name}" for split in ("train", "val", "test") for name in own)]
        for figure in self.loaded.spec.expect:
            if figure not in known:
                where = self.loaded.document.key_span(("expect", figure))
                near = nearest(figure, known)
                label = f"did you mean `{near}`?" if near else ""
                help = f"there are seconds, {', '.join(own)}, and each with train_, val_ or test_ before it"
                self.note("E315", f"`expect` names `{figure}`, and no run of this spec has it", where, label, help)

    def callbacks(self, goals: list[Goal]) -> None:
        """Every callback must be able to work with what this spec logs."""
        directions = Objective(tuple(goals), ()).directions
        scheduled = isinstance(self.loaded.spec.optimizer.learning_rate, Schedule)
        listed = self.loaded.spec.callbacks
        for index, callback in enumerate(listed):
            name, where = type(callback).__name__, self.span(("callbacks", index))
            conflicts = (found for earlier in listed[:index] if (found := callback.conflict(earlier)))
            if fault := callback.problem(directions, scheduled) or self.average(callback) or next(conflicts, None):
                self.note("E314", f"{name}: {fault[0]}", where, help=fault[1])
            for earlier in listed[:index]:
                if doubt := callback.overruled(earlier) or earlier.overruled(callback):
                    self.warn("E322", f"{name}: {doubt[0]}", where, doubt[1])

    def average(self, callback: Callback) -> Fault | None:
        """What a callback that works with the average of the weights lacks."""
        optimizer = self.loaded.spec.optimizer
        if not callback.needs_average or optimizer.use_ema:
            return None
        kind = type(optimizer).__name__
        return f"{kind} keeps no average of the weights", f"write `optimizer: {{type: {kind}, use_ema: true}}`"

    def loss_place(self, output: str) -> Place:
        return ("loss", output) if isinstance(self.loaded.spec.loss, Mapping) else ("loss",)

    def span(self, place: Place) -> Span:
        return self.loaded.document.type_span(place)

    def note(self, code: str, message: str, where: Span, label: str = "", help: str = "") -> bool:
        self.problems.append(Problem(code, message, where, label, help))
        return False

    def warn(self, code: str, message: str, where: Span | None, help: str) -> None:
        self.warnings.append(Problem(code, message, where, help=help, warning=True))


def wanted_encoding(loss: Loss, output: Shape, info: TargetInfo) -> str:
    """What `target_encoding: auto` means; vectors in the output's shape are left as they are."""
    encoding = loss.encoding(output, info.classes)
    return "none" if encoding == "one_hot" and info.shape == output else encoding


def _trace(loss: Loss, target: Type, output: Type) -> None:
    """Write the loss as operations, which raises ShapeError where its arguments do not fit the output."""
    trace = Trace()
    y_true, y_pred = (trace.add(Input(name, kind), scope=Scope.BLOCK) for name, kind in (("y", target), ("x", output)))
    loss.values(y_true, y_pred)


def _classes(info: TargetInfo, output: Shape) -> str:
    """The names of the classes, where there are others than outputs: one may be a slip of the pen."""
    names = info.class_names
    if len(output) > 1 or output == (len(names),) or not 0 < len(names) <= 10 or all(map(str.isdecimal, names)):
        return ""
    return f"; the classes are {', '.join(f'`{name}`' for name in names)}"


def activation(graph: Graph, node: Node) -> str | None:
    """The function that a node's values come out of: `linear` where that is certain, None where it is not known."""
    layer = node.layer
    name = type(layer).__name__
    if (name in ("Reshape", "Flatten", "Permute") or isinstance(layer, _Exit)) and node.inputs:
        return activation(graph, graph.node(node.inputs[0]))
    if name == "Softmax":
        return "softmax"
    if not hasattr(layer, "activation"):
        return None
    own = layer.activation
    return "linear" if own is None else snake_case(type(own).__name__)
