"""A Keras model's JSON and weights as a spec of ours with its graph: everything that is known before a file is written.

Problems: E604 something that a spec cannot say (all of them at once), E605 an axis of any length, E506 no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kerascli import graph as graphs
from kerascli import yamltext
from kerascli.errors import Failure, Problem
from kerascli.graph import Graph
from kerascli.importer import layout, masks, plan, signature
from kerascli.importer.compiled import Compiled, compiled
from kerascli.importer.layout import Place, Written, key_of
from kerascli.importer.network import Config, Net, read
from kerascli.importer.simplify import simplified
from kerascli.importer.text import spec_text
from kerascli.importer.values import Refusal
from kerascli.losses.base import Loss
from kerascli.metrics.base import Metric
from kerascli.objective import objective
from kerascli.optimizers.base import Optimizer
from kerascli.outline import outline
from kerascli.preprocessing import Preprocessing
from kerascli.sources.base import InputInfo, Signature, TargetInfo
from kerascli.spec import Loaded, checked_name
from kerascli.spec import read as read_spec

DATA = {"type": "npz", "path": "data.npz"}
OWN_NAMES = ("sequential", "functional", "model")
MOST_LAYERS = 5000
UNLIKE_KERAS = (AttributeError, TypeError, LookupError, ValueError, ArithmeticError, RecursionError, AssertionError)
"""What values of the wrong kind lead to, wherever they are first used: a config has thousands of places for them."""


@dataclass(frozen=True)
class Assembled:
    """A spec that says the model, and what is known of it."""

    net: Net
    spec: Config
    notes: list[str]
    loaded: Loaded
    graph: Graph
    signature: Signature
    preprocessing: Preprocessing
    steps: dict[Place, tuple[str, ...]]
    """Which layer of the file each place of the spec is."""


def assemble(
    model: Any, training: Mapping[str, Any] | None, path: Path, shapes: Mapping[str, Sequence[int]]
) -> Assembled:
    """`model` is the JSON of a model, `training` its compile settings; whatever is in them, it ends in words."""
    try:
        return _assembled(model, training, path, shapes)
    except UNLIKE_KERAS as error:
        message = f"the config in `{path.name}` is not what Keras writes: {type(error).__name__}: {error}"
        raise Failure(Problem("E506", message[:500], path)) from error


def _assembled(
    model: Any, training: Mapping[str, Any] | None, path: Path, shapes: Mapping[str, Sequence[int]]
) -> Assembled:
    net = read(model, path)
    if sum(len(each.entries) for each in layout.nets(net)) > MOST_LAYERS:
        raise Failure(Problem("E604", f"the model has more than {MOST_LAYERS:,} layers", path))
    problems: list[Problem] = []
    found = plan.plan(net, problems)
    if problems:
        raise Failure([replace(p, where=path) for p in problems])
    try:
        written = layout.written(found)
    except (ValueError, KeyError, StopIteration, RecursionError) as error:
        raise Failure(Problem("E506", f"the layers of `{path.name}` do not make a model: {error}", path)) from error
    infos = signature.inputs(found, written.names, shapes)
    if isinstance(infos, Problem):
        raise Failure(replace(infos, where=path), exit_code=2)
    spec: Config = {"version": 1, "name": _name(net, path), "dataset": _dataset(infos), "layers": written.layers}
    if written.outputs:
        spec["outputs"] = written.outputs
    spec["loss"] = "mse"
    batch = _batch(found)
    return _finished(net, found, spec, written, infos, training, path, batch)


def _finished(
    net: Net,
    found: plan.Plan,
    spec: Config,
    written: Written,
    infos: dict[str, InputInfo],
    training: Mapping[str, Any] | None,
    path: Path,
    batch: int | None,
) -> Assembled:
    more = {"batch_size": batch} if batch else {}
    first = Signature(infos, {})
    _, graph = _graph(spec | ({"training": more} if more else {}), path, first)
    notes: list[str] = []
    if masks.ended(spec["layers"], graph, written.steps, found, notes):
        _, graph = _graph(spec | ({"training": more} if more else {}), path, first)
    problems = masks.faults(found, graph, written.steps)
    if problems:
        raise Failure([replace(p, where=path) for p in problems])
    spec["layers"] = _simplified(spec["layers"], ("layers",), {node.path: node for node in graph.nodes}, graph)
    outputs = list(graph.outputs)
    by_name = {ref.name: outputs[k] for k, ref in enumerate(found.outputs) if k < len(outputs)}
    said = compiled(training, by_name, outputs)
    said.notes += notes
    losses = _losses(said, graph)
    targets = _targets(losses, graph, said)
    spec["loss"] = next(iter(losses.values())) if len(outputs) == 1 else losses
    spec |= {key: item for key, item in said.keys.items() if key != "loss"}
    spec["training"] = {"initial_weights": "model.weights.h5", **more}
    whole = Signature(infos, targets)
    loaded, graph, encodings = _checked(spec, path, whole, said)
    return Assembled(
        net, spec, said.notes, loaded, graph, whole, signature.preprocessing(whole, encodings), written.steps
    )


def _loaded(spec: Config, path: Path) -> Loaded:
    where = path.with_name("spec.yaml")
    document = yamltext.parse(spec_text(spec, ()), str(where))
    return Loaded(read_spec(document, where), document, where)


def _graph(spec: Config, path: Path, found: Signature) -> tuple[Loaded, Graph]:
    try:
        loaded = _loaded(spec, path)
        return loaded, graphs.infer(loaded, outline(loaded), found)
    except Failure as failure:
        raise Failure([replace(p, where=path, label="") for p in failure.problems]) from failure
    except ValidationError as error:
        raise Failure(Problem("E604", f"the spec that would say it is wrong: {error}", path)) from error


def _simplified(layers: list[Any], place: Place, nodes: Mapping[Place, graphs.Node], graph: Graph) -> list[Any]:
    shapes = {node.name: node.shape for node in graph.nodes}
    found = []
    for number, layer in enumerate(layers):
        here = (*place, number)
        node = nodes.get(here)
        if "layers" in layer:
            found.append({**layer, "layers": _simplified(layer["layers"], (*here, "layers"), nodes, graph)})
        elif node is None or layer["type"] in ("Input", "Reuse"):
            found.append(layer)
        else:
            found.append(simplified(layer, [shapes[name] for name in node.inputs]))
    return found


def _losses(said: Compiled, graph: Graph) -> Config:
    """A loss for each output; a guess where the file has none."""
    given, outputs = said.keys.get("loss"), graph.outputs
    by_output = given if isinstance(given, dict) and "type" not in given else dict.fromkeys(outputs, given)
    found: Config = {}
    for name in outputs:
        loss = by_output.get(name)
        if loss is None:
            loss = signature.guessed_loss(graph, name)
            of = f" of `{name}`" if len(outputs) > 1 else ""
            said.notes.append(f"the file says no loss{of} that is known here: `{loss}` is a guess, change it at will")
        found[name] = loss
    return found


def _targets(losses: Config, graph: Graph, said: Compiled) -> dict[str, TargetInfo]:
    found = {}
    for name in graph.outputs:
        shape = graph.node(name).shape
        info = signature.target(Loss.parse(losses[name]), shape)
        if info is None:
            said.notes.append(f"the loss `{losses[name]}` does not fit the output `{name}`: `mse` is in its place")
            losses[name], info = "mse", TargetInfo(shape, "float32")
        found[name] = info
    return found


def _checked(spec: Config, path: Path, found: Signature, said: Compiled) -> tuple[Loaded, Graph, dict[str, str]]:
    """The spec as it is written, checked; metrics or an optimizer that do not fit are left out with a note."""
    _without_unfit(spec, said)
    for _ in range(3):
        loaded, graph = _graph(spec, path, found)
        try:
            goals = objective(loaded, graph, found).goals
        except Failure as failure:
            for problem in failure.problems:
                said.notes.append(f"metrics are left out: {problem.message}")
            for key in ("metrics", "weighted_metrics", "loss_weights"):
                spec.pop(key, None)
            continue
        return loaded, graph, {goal.output: goal.encoding for goal in goals}
    raise Failure(Problem("E604", "its loss fits no target", path))


def _without_unfit(spec: Config, said: Compiled) -> None:
    """Compile settings that are no valid components are notes."""
    families: dict[str, Any] = {"optimizer": Optimizer, "metrics": Metric, "weighted_metrics": Metric}
    for key, family in families.items():
        given = spec.get(key)
        try:
            for item in _flat(given):
                family.parse(item)
        except (ValidationError, ValueError, Refusal) as error:
            said.notes.append(f"`{key}` is left out: {str(error).splitlines()[0]}")
            spec.pop(key, None)


def _flat(given: Any) -> list[Any]:
    if given is None:
        return []
    if isinstance(given, list):
        return given
    if isinstance(given, dict) and "type" not in given:
        return [item for items in given.values() for item in _flat(items)]
    return [given]


def _dataset(infos: Mapping[str, InputInfo]) -> Config:
    """A place for the user's own data."""
    return DATA | ({"inputs": {name: name for name in infos}} if len(infos) > 1 else {})


def _batch(found: plan.Plan) -> int | None:
    """Samples of every batch, where a stateful layer needs them fixed."""
    stateful = any(step.spec.get("stateful") for step in found.steps)
    shapes = [
        step.entry.config.get("batch_shape") or step.entry.config.get("batch_input_shape") for step in found.steps
    ]
    sizes = [
        shape[0] for shape in shapes if isinstance(shape, list) and shape and type(shape[0]) is int and shape[0] > 0
    ]
    return sizes[0] if stateful and sizes else None


def _name(net: Net, path: Path) -> str:
    """The model's own name, or the file's where Keras made it up."""
    base, _, number = net.name.rpartition("_")
    own = net.name if not number.isdigit() else base
    for name in (net.name if own not in OWN_NAMES else "", path.name.split(".")[0], "model"):
        try:
            return checked_name(name)
        except Exception:
            continue
    return "model"


__all__ = ["Assembled", "assemble", "key_of"]
