"""A spec's model as real Keras has it: built of what the export `keras` writes, compiled, dealt out to devices."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from importlib import import_module
from itertools import takewhile
from math import prod
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerascli import keras_config, keras_files
from kerascli.engines.cluster import Cluster, require_even
from kerascli.errors import Failure, Problem
from kerascli.graph import Graph, Node
from kerascli.keras_layout import optimizer_slots, optimizer_state, places
from kerascli.layers.structure import PSEUDO, Input
from kerascli.metrics.base import Metric, Sums
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.outline import span_of
from kerascli.run import versions
from kerascli.runner import Averages, Logs, Runner
from kerascli.schedules import Schedule


def keras_graph(model: Model) -> Graph:
    """What Keras computes: what NumPy makes of texts and whole numbers before is an input of it."""
    graph = model.graph.computed
    nodes = [replace(n, layer=Input(), inputs=()) if n.name in graph.inputs else n for n in graph.nodes]
    return replace(graph, nodes=tuple(nodes))


def require_layers(model: Model) -> None:
    """Raise a Problem, with its line, for each layer that Keras cannot train here."""
    problems = []
    for node, shapes in _layers(keras_graph(model)):
        if node.layer.carry(*shapes) and keras.backend.backend() == "jax":
            message = f"{node.title} is stateful, and Keras forgets on JAX what a batch hands on to the next"
            help = "use `--engine numpy`, or on another of Keras's backends"
            problems.append(Problem("E518", message, span_of(model.loaded, node.path), help=help))
        try:
            keras_config.layer(node.layer, node.name, shapes)
        except Failure as failure:
            where = span_of(model.loaded, node.path)
            problems += [replace(p, message=f"{node.title}: {p.message}", where=where) for p in failure.problems]
    if problems:
        raise Failure(problems, exit_code=2)


def _layers(graph: Graph) -> Iterator[tuple[Node, list[tuple[int, ...]]]]:
    """Each layer and the shapes of what it reads."""
    shapes = {node.name: node.shape for node in graph.nodes}
    for node in graph.nodes:
        if node.inputs and not isinstance(node.layer, PSEUDO):
            yield node, [shapes[name] for name in node.inputs]


class Net:
    """The Keras model. Its weights, slots and sums come from our engine's places, and go back there."""

    def __init__(self, runner: Runner, cluster: Cluster) -> None:
        self.runner, self.model, self.cluster = runner, runner.model, cluster
        spec = self.spec = runner.spec
        self.graph = keras_graph(runner.model)
        self.backend: str = keras.backend.backend()
        keras.utils.set_random_seed(spec.seed % 2**32)
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")
        self.parts = 1
        """Devices that a batch is dealt out to."""
        self.dealt = None if cluster.single else _distribution(cluster)
        if self.dealt is not None:
            self.parts = self.dealt.device_mesh.devices.size
            require_even(self.model.loaded, self.parts)
        self.keras = self._built()
        self.weights = self._weights()
        self._compile()
        if self.keras.optimizer is not None:
            self.keras.optimizer.build(self.keras.trainable_variables)
        self.names: list[str] = []
        """Keras's names of the figures in its order, once a batch has been seen."""
        self.seeds = [v for v in self.keras.non_trainable_variables if v.name == "seed_generator_state"]
        self.states = self._states()
        self.slots = optimizer_slots(self.graph, spec.name, spec.optimizer)

    @property
    def facts(self) -> dict[str, Any]:
        """What `run.json` says of the engine."""
        found = {name: str(import_module(name).__version__) for name in ("keras", self.backend)}
        about = {"engine": "keras", "backend": self.backend, "devices": self.parts}
        return {**about, "versions": {**versions(), **found}}

    # ---- the model

    def _built(self) -> Any:
        config = keras_config.model(self.graph, self.spec.name, {})
        try:
            return keras.models.model_from_json(json.dumps(config))
        except Exception as error:
            raise self._refused(error) from error

    def _compile(self) -> None:
        """Losses and metrics go by the order of the outputs, for Keras has other names for some."""
        goals, optimizer = self.model.objective.goals, self.runner.session.optimizer
        losses = [keras.losses.deserialize(keras_config.part(goal.loss)) for goal in goals]
        figures = [[_metric(f.metric, f.column) for f in goal.figures if not f.weighted] for goal in goals]
        weighted = [[_metric(f.metric, f.column) for f in goal.figures if f.weighted] for goal in goals]
        self.keras.compile(
            optimizer=None if optimizer is None else keras.optimizers.deserialize(keras_config.part(optimizer)),
            loss=losses if len(losses) > 1 else losses[0],
            loss_weights=[goal.weight for goal in goals] if self.spec.loss_weights else None,
            metrics=figures if any(figures) else None,
            weighted_metrics=weighted if any(weighted) else None,
        )

    def _refused(self, error: Exception) -> Failure:
        """What Keras says against the model, at the first layer that it says it of alone."""
        said = " ".join(str(error).split("\n\n")[0].split())
        message = f"Keras cannot build this model on {self.backend}: {said[:300]}"
        for node, shapes in _layers(self.graph):
            config = keras_config.layer(node.layer, "layer", shapes, node.trainable, self.graph.batch)
            try:
                keras.layers.deserialize(config)
            except Exception:
                where = span_of(self.model.loaded, node.path)
                return Failure(Problem("E518", message, where, help="use `--engine numpy`"))
        return Failure(Problem("E518", message, help="use `--engine numpy`"))

    def _weights(self) -> dict[str, Any]:
        """Keras's variable of each weight: found by numbers that Keras reads from a file of ours."""
        numbers = {place.path: k for k, place in enumerate(places(self.graph))}
        shapes = {place.path: place.spec.shape for place in places(self.graph)}
        marked = {path: np.full(shapes[path], number, np.float32) for path, number in numbers.items()}
        with tempfile.TemporaryDirectory(prefix="kerascli-") as folder:
            path = Path(folder, "marked.weights.h5")
            keras_files.save_weights(path, self.graph, marked, self.spec.name)
            self.keras.load_weights(path)
        names = list(numbers)
        found = {}
        for variable in self.keras.weights:
            number = int(keras.ops.convert_to_numpy(variable).reshape(-1)[0])
            found[names[number]] = variable
        assert found.keys() == numbers.keys(), "each weight must have its variable"
        return found

    def _states(self) -> dict[str, Any]:
        """Keras's variable of each state that stateful layers hand on from batch to batch."""
        found: dict[str, Any] = {}
        for node, shapes in _layers(self.graph):
            if keys := list(node.layer.carry(*shapes)):
                layer = reduce(lambda model, name: model.get_layer(name), node.name.split("/"), self.keras)
                found |= {f"{node.name}/{key}": v for key, v in zip(keys, layer.states, strict=True)}
        return found

    # ---- to Keras and back

    def push(self, iteration: int, rate: float) -> None:
        """Give Keras the weights, the slots and the rate."""
        self.push_weights()
        parameters = self.runner.parameters
        slots = {slot: parameters.views(flat) for slot, flat in parameters.slots.items()}
        state = optimizer_state(self.graph, self.spec.name, self.spec.optimizer, iteration, rate, slots)
        for variable, array in zip(self.keras.optimizer.variables, state.variables.values(), strict=True):
            variable.assign(array.copy())

    def push_weights(self) -> None:
        """Give Keras what it needs to evaluate and predict: the weights, and what batches hand on."""
        for path, variable in self.weights.items():
            variable.assign(self.runner.parameters.weights[path].copy())  # JAX may work where it is given an array
        for name, variable in self.states.items():
            variable.assign(self.runner.session.carried[name].copy())

    def alike(self, first: int, end: int, rows: Callable[[int], int]) -> int:
        """How many batches from `first` on are dealt out to the devices in the same way; all, where there is one."""
        if self.dealt is None:
            return end - first
        whole = rows(first) % self.parts != 0
        self.dealt.whole = whole
        return len(list(takewhile(lambda k: (rows(k) % self.parts != 0) == whole, range(first, end))))

    def sync(self) -> None:
        """With JAX, what training changes is not in Keras's variables until it is asked for."""
        if sync := getattr(self.keras, "jax_state_sync", None):
            sync()

    def pull(self) -> None:
        """Take the weights and slots over as Keras has them now."""
        self.sync()
        parameters = self.runner.parameters
        for path, variable in self.weights.items():
            np.copyto(parameters.weights[path], keras.ops.convert_to_numpy(variable), casting="unsafe")
        views = {slot: parameters.views(flat) for slot, flat in parameters.slots.items()}
        first = 1 if isinstance(self.spec.optimizer.learning_rate, Schedule) else 2
        for own, variable in zip(self.slots, self.keras.optimizer.variables[first:], strict=False):
            array = views[own.slot][own.path].reshape(-1)[: prod(own.shape)]
            np.copyto(array, keras.ops.convert_to_numpy(variable).reshape(-1))
        for name, variable in self.states.items():
            np.copyto(self.runner.session.carried[name], keras.ops.convert_to_numpy(variable))

    def random(self) -> list[Array]:
        """Where Keras's random numbers stand; those of dropout on PyTorch are its own, and begin anew."""
        return [keras.ops.convert_to_numpy(seed) for seed in self.seeds]

    def set_random(self, states: Sequence[Array]) -> None:
        for seed, state in zip(self.seeds, states, strict=True):
            seed.assign(state)

    # ---- figures

    def metrics(self) -> list[Any]:
        """The loss, the metrics, those of `weighted_metrics`, and each output's loss: in Keras's order."""
        return [each for metric in self.keras.metrics for each in getattr(metric, "metrics", [metric])]

    def columns(self) -> list[str]:
        """Their names in our logs."""
        measures = self.model.measures
        own = [m.column for weighted in (False, True) for m in measures if m.weighted is weighted]
        return ["loss", *own, *self.model.loss_columns.values()]

    def see(self) -> None:
        """Learn how Keras calls its figures: JAX sorts them where it hands them over.

        JAX has them before a step, and does not show them after it; TensorFlow has none before the first.
        """
        self.names = self.names or list(self.keras.get_metrics_result())

    def build(self, batch: tuple[Any, ...]) -> None:
        """Make the metrics, which TensorFlow puts off until the first step."""
        if self.backend == "tensorflow" and not self.names:
            self.keras.test_on_batch(*batch)
            self.see()

    def values(self, logs: Mapping[str, Any]) -> list[Any]:
        """The figures in Keras's order; where outputs have one name, its logs hold but one of them."""
        if len(self.names) == len(self.columns()):
            return [logs[name] for name in self.names]
        self.sync()
        return [metric.result() for metric in self.metrics()]

    def logs(self, values: Sequence[Any]) -> Logs:
        """Our logs of Keras's figures."""
        given = dict(zip(self.columns(), values, strict=True))
        found: Logs = {}
        for name in self.model.objective.columns:
            array = np.asarray(keras.ops.convert_to_numpy(given[name]))
            several = {f"{name}_{k}": float(v) for k, v in enumerate(array.reshape(-1))}
            found |= several if array.ndim else {name: float(array)}
        return found

    def sums(self, averages: Averages) -> None:
        """Take over the sums that Keras's metrics have."""
        loss, *own = self.metrics()
        averages.total, count = _mean(loss)
        averages.samples = round(count)
        places = self._places()
        for k, metric in zip(places, own, strict=False):
            for array, variable in _pairs(averages.sums[k], metric):
                np.copyto(array, keras.ops.convert_to_numpy(variable).reshape(array.shape))
        for output, metric in zip(self.model.loss_columns, own[len(places) :], strict=True):
            total, count = _mean(metric)  # TensorFlow counts batches here, not samples
            averages.parts[output] = total / max(count, 1) * averages.samples

    def set_sums(self, averages: Averages) -> None:
        """Let Keras's metrics go on with such sums."""
        loss, *own = self.metrics()
        _set_mean(loss, averages.total, averages.samples)
        places = self._places()
        for k, metric in zip(places, own, strict=False):
            for array, variable in _pairs(averages.sums[k], metric):
                variable.assign(array.reshape(variable.shape))
        for output, metric in zip(self.model.loss_columns, own[len(places) :], strict=True):
            _set_mean(metric, averages.parts.get(output, 0.0), averages.samples)

    def _places(self) -> list[int]:
        """Which of our measures each of Keras's metrics is."""
        measures = self.model.measures
        return [k for weighted in (False, True) for k, m in enumerate(measures) if m.weighted is weighted]


def _metric(metric: Metric, column: str) -> Any:
    config = keras_config.part(metric)
    config["config"]["name"] = column.replace("/", "_")
    return keras.metrics.deserialize(config)


def _pairs(sums: Sums, metric: Any) -> Iterator[tuple[Array, Any]]:
    """Our sums and Keras's variables. They have the same names, but where there is one alone."""
    if len(sums) == 1:
        return zip(sums.values(), metric.variables, strict=True)
    return ((sums[variable.name], variable) for variable in metric.variables)


def _mean(metric: Any) -> tuple[float, float]:
    total, count = (float(keras.ops.convert_to_numpy(variable)) for variable in metric.variables)
    return total, count


def _set_mean(metric: Any, *sums: float) -> None:
    for variable, value in zip(metric.variables, sums, strict=True):
        variable.assign(value)


class _Dealt(keras.distribution.DataParallel):  # type: ignore[misc]
    """Data parallelism, but a batch that cannot be cut evenly, such as an epoch's last, is computed by every device."""

    whole = False

    def get_data_layout(self, data_shape: Sequence[int]) -> Any:
        if self.whole:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        return super().get_data_layout(data_shape)


def _distribution(cluster: Cluster) -> _Dealt:
    if cluster.hosts:
        first, count = cluster.hosts[0], len(cluster.hosts)
        try:
            keras.distribution.initialize(first, count, cluster.host)
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            message = f"the {count} hosts did not come together at {first}: {said}"
            help = "start the same command on each, with its own `--host`, and let the first one's port be free"
            raise Failure(Problem("E518", message, help=help)) from error
    found = keras.distribution.list_devices()
    if not cluster.hosts:
        wanted = cluster.devices or 1
        if len(found) < wanted:
            message = f"`--devices {wanted}`, and there are {len(found)}: {', '.join(found)}"
            raise Failure(Problem("E518", message, help=f"type `--devices {len(found)}` or less"), exit_code=2)
        found = found[:wanted]
    dealt = _Dealt(devices=found, auto_shard_dataset=False)
    keras.distribution.set_distribution(dealt)
    return dealt
