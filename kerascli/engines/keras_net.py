"""A spec's model as real Keras has it: built of what the export `keras` writes, compiled, dealt out to devices."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
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
from kerascli.engines.backend import opened
from kerascli.engines.cluster import Cluster, require_even
from kerascli.engines.keras_figures import Figures, keras_metric
from kerascli.errors import Failure, Problem
from kerascli.graph import Graph
from kerascli.keras_layout import optimizer_slots, optimizer_state, places
from kerascli.layers.structure import Input
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.run import versions
from kerascli.runner import Runner
from kerascli.schedules import Schedule


def keras_graph(model: Model) -> Graph:
    """What Keras computes: what NumPy makes of texts and whole numbers before is an input of it."""
    graph = model.graph.computed
    nodes = [replace(n, layer=Input(), inputs=()) if n.name in graph.inputs else n for n in graph.nodes]
    return replace(graph, nodes=tuple(nodes))


def require_layers(model: Model) -> None:
    """Raise a Problem, with its line, for each layer that Keras cannot train here."""
    graph = keras_graph(model)
    problems = keras_config.problems(graph)
    for node, shapes in graph.calls():
        if node.layer.carry(*shapes) and keras.backend.backend() == "jax":
            message = f"{node.title} is stateful, and Keras forgets on JAX what a batch hands on to the next"
            help = "use `--engine numpy`, or another of Keras's backends"
            problems.append(Problem("E518", message, node.where, help=help))
    if problems:
        raise Failure(problems, exit_code=2)


class Net:
    """The Keras model. Its weights, slots and sums come from our engine's places, and go back there."""

    def __init__(self, runner: Runner, cluster: Cluster) -> None:
        self.runner, self.model, self.cluster = runner, runner.model, cluster
        spec = self.spec = runner.spec
        self.graph = keras_graph(runner.model)
        keras.utils.set_random_seed(spec.seed % 2**32)
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")
        self.backend = opened(cluster)
        require_even(self.model.loaded, self.backend.parts)
        with self.backend.scope():
            self.layers = self._built()
            self.weights = self._weights()
            self.keras = self.backend.dealing(self.layers)
            """That which is trained: the layers, and what deals out batches to devices."""
            self._compile()
            if self.keras.optimizer is not None:
                self.keras.optimizer.build(self.layers.trainable_variables)
        self.figures = Figures(self.model, self.keras, self.backend)
        self.seeds = [v for v in self.layers.non_trainable_variables if v.name == "seed_generator_state"]
        self.states = self._states()
        self.slots = optimizer_slots(self.graph, spec.name, spec.optimizer)

    @property
    def facts(self) -> dict[str, Any]:
        """What `run.json` says of the engine."""
        found = {name: str(import_module(name).__version__) for name in ("keras", self.backend.name)}
        about = {"engine": "keras", "backend": self.backend.name, "devices": self.backend.parts}
        return {**about, "versions": {**versions(), **found}}

    # ---- the model

    def _built(self) -> Any:
        config = self.backend.described(keras_config.model(self.graph, self.spec.name, {}))
        try:
            return keras.models.model_from_json(json.dumps(config))
        except Exception as error:
            raise self._refused(error) from error

    def _compile(self) -> None:
        """Losses and metrics go by the order of the outputs, for Keras has other names for some."""
        goals, optimizer = self.model.objective.goals, self.runner.session.optimizer
        losses = [keras.losses.deserialize(keras_config.part(goal.loss)) for goal in goals]
        figures = [[keras_metric(f.metric, f.column) for f in goal.figures if not f.weighted] for goal in goals]
        weighted = [[keras_metric(f.metric, f.column) for f in goal.figures if f.weighted] for goal in goals]
        self.keras.compile(
            optimizer=None if optimizer is None else keras.optimizers.deserialize(keras_config.part(optimizer)),
            loss=losses if len(losses) > 1 else losses[0],
            loss_weights=[goal.weight for goal in goals] if self.spec.loss_weights else None,
            metrics=figures if any(figures) else None,
            weighted_metrics=weighted if any(weighted) else None,
            jit_compile=self.backend.jit,
        )

    def _refused(self, error: Exception) -> Failure:
        """What Keras says against the model, at the first layer that it says it of alone."""
        said = " ".join(str(error).split("\n\n")[0].split())
        message = f"Keras cannot build this model on {self.backend.name}: {said[:300]}"
        for node, shapes in self.graph.calls():
            config = keras_config.layer(node.layer, "layer", shapes, node.trainable, self.graph.batch)
            try:
                keras.layers.deserialize(config)
            except Exception:
                return Failure(Problem("E518", message, node.where, help="use `--engine numpy`"))
        return Failure(Problem("E518", message, help="use `--engine numpy`"))

    def _weights(self) -> dict[str, Any]:
        """Keras's variable of each weight: found by numbers that Keras reads from a file of ours."""
        numbers = {place.path: k for k, place in enumerate(places(self.graph))}
        shapes = {place.path: place.spec.shape for place in places(self.graph)}
        marked = {path: np.full(shapes[path], number, np.float32) for path, number in numbers.items()}
        with tempfile.TemporaryDirectory(prefix="kerascli-") as folder:
            path = Path(folder, "marked.weights.h5")
            keras_files.save_weights(path, self.graph, marked, self.spec.name)
            self.layers.load_weights(path)
        names = list(numbers)
        found = {}
        for variable in self.layers.weights:
            number = int(keras.ops.convert_to_numpy(variable).reshape(-1)[0])
            found[names[number]] = variable
        assert found.keys() == numbers.keys(), "each weight must have its variable"
        return found

    def _states(self) -> dict[str, Any]:
        """Keras's variable of each state that stateful layers hand on from batch to batch."""
        found: dict[str, Any] = {}
        for node, shapes in self.graph.calls():
            if keys := list(node.layer.carry(*shapes)):
                layer = reduce(lambda model, name: model.get_layer(name), node.name.split("/"), self.layers)
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
        parts = self.backend.parts
        if parts == 1:
            return end - first
        whole = rows(first) % parts != 0
        self.backend.turn(self.keras, whole)
        return len(list(takewhile(lambda k: (rows(k) % parts != 0) == whole, range(first, end))))

    def pull(self) -> None:
        """Take the weights and slots over as Keras has them now."""
        self.backend.sync(self.keras)
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
