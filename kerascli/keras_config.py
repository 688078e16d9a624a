"""Graph → the JSON that Keras 3's `model.to_json()` writes: Sequential for a plain stack, else Functional.

A component's config is its fields, because they are named after Keras's arguments; only what Keras adds to them is
spelled out here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import BaseModel

from kerascli.activations import Activation
from kerascli.component import Component, snake_case
from kerascli.errors import Failure, Problem
from kerascli.graph import Graph, Node
from kerascli.keras_graph import ATTENTION, HEADED, MASKS, RANDOM, STATEFUL, Operation, Tensor, View, is_stack, view
from kerascli.layer import Layer
from kerascli.layers.structure import _Entry
from kerascli.ops.ir import Shape
from kerascli.optimizers.base import Optimizer
from kerascli.spec import Spec

KERAS_VERSION = "3.15.1"
"""The version whose files are written."""

Config = dict[str, Any]

MODULES = {
    "layer": "keras.layers",
    "initializer": "keras.initializers",
    "regularizer": "keras.regularizers",
    "constraint": "keras.constraints",
    "loss": "keras.losses",
    "metric": "keras.metrics",
    "optimizer": "keras.optimizers",
    "schedule": "keras.optimizers.schedules",
}

NOT_IN_CONFIG = {"name", "inputs", "trainable"}
"""Fields of every layer that Keras keeps elsewhere, or that are no arguments of the class."""

ACTIVATION_LAYERS = {"relu": "ReLU", "leaky_relu": "LeakyReLU", "elu": "ELU", "softmax": "Softmax"}
"""Keras writes a function by its name alone; where arguments differ from its defaults, these layers stand for it."""

WITHOUT_BUILD = {*RANDOM, "Activation", "ELU", "Identity", "LeakyReLU", "Masking", "ReLU", "Reshape", "Softmax"}
WITHOUT_BUILD |= {"ActivityRegularization", "UnitNormalization"}
"""Layers, with all of pooling but the adaptive, that Keras builds when they are made: no `build_config` is written."""


UNWRITTEN = {
    ("CategoryEncoding", "sparse"),
    ("SimpleRNN", "seed"),
    ("RandomGrayscale", "seed"),
    ("MultiHeadAttention", "flash_attention"),
    ("GroupQueryAttention", "flash_attention"),
}
"""Arguments that Keras forgets to write."""
IF_SET = {("Dense", "activity_regularizer"), ("Activation", "activity_regularizer")}
"""Arguments that Keras writes only where they are given."""
ADDED: dict[str, Config] = {
    "Dense": {"quantization_config": None},
    "EinsumDense": {"quantization_config": None},
    "Embedding": {"activity_regularizer": None, "quantization_config": None},
    "ReversibleEmbedding": {"activity_regularizer": None, "quantization_config": None},
    "LayerNormalization": {"rms_scaling": False},
}
"""What Keras writes beside the arguments we have."""


def model(graph: Graph, name: str, compiled: Config | None = None) -> Config:
    """The whole model; `compiled` is its `compile_config`."""
    seen = view(graph, _entry)
    if is_stack(graph):
        return sequential(seen, name, compiled or {})
    return functional(seen, name, True, compiled or {})


def problems(graph: Graph) -> list[Problem]:
    """What of a graph's layers these files have no words for."""
    found = []
    for node, shapes in graph.calls():
        try:
            layer(node.layer, node.name, shapes)
        except Failure as failure:
            found += [replace(p, message=f"{node.title}: {p.message}", where=node.where) for p in failure.problems]
    return found


def sequential(seen: View, name: str, compiled: Config) -> Config:
    batch_shape = [seen.inputs[0].batch, *seen.inputs[0].shape]
    config = {
        "name": name,
        "trainable": True,
        "dtype": policy(),
        "layers": [operation.config for operation in seen.operations],
        "build_input_shape": batch_shape,
    }
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": config,
        "registered_name": None,
        "build_config": {"input_shape": batch_shape},
        "compile_config": compiled,
    }


def functional(seen: View, name: str, trainable: bool, compiled: Config) -> Config:
    layers = [
        {**_written(operation), "name": operation.name, "inbound_nodes": [c.config for c in operation.calls if c.args]}
        for operation in seen.operations
    ]
    config = {
        "name": name,
        "trainable": trainable,
        "layers": layers,
        "input_layers": _ends(seen, seen.inputs),
        "output_layers": _ends(seen, seen.outputs),
    }
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": config,
        "registered_name": "Functional",
        "build_config": {"input_shape": None},
        "compile_config": compiled,
    }


def legacy(config: Config) -> Config:
    """The same model as Keras's whole-model HDF5 has it: no modules, no build information.

    Departure from what Keras writes: no operations that make masks, for Keras cannot read those back from this form,
    and finds the masks again by itself.
    """
    plain: Config = {key: config[key] for key in ("class_name", "config", "name") if key in config}
    if "inbound_nodes" in config:
        plain["inbound_nodes"] = [
            {"args": call["args"], "kwargs": {k: v for k, v in call["kwargs"].items() if k != "mask"}}
            for call in config["inbound_nodes"]
        ]
    if "layers" in plain["config"]:
        kept = [each for each in plain["config"]["layers"] if each["module"] not in MASKS.values()]
        plain["config"] = {**plain["config"], "layers": [legacy(each) for each in kept]}
    return plain


def legacy_training(compiled: Config) -> Config:
    """The legacy file's `training_config`: the same arguments, objects without their modules."""

    def strip(item: Any) -> Any:
        if isinstance(item, Mapping):
            return legacy(dict(item)) if "class_name" in item else {key: strip(each) for key, each in item.items()}
        return [strip(each) for each in item] if isinstance(item, list) else item

    plain = {key: strip(item) for key, item in compiled.items() if key != "optimizer"}
    return {**plain, "optimizer_config": strip(compiled["optimizer"])}


def layer(part: Layer, name: str, shapes: Sequence[Shape], trainable: bool = True, batch: int | None = None) -> Config:
    """One layer with its config and the input shape it was built with; `batch` where it is fixed."""
    kind = type(part).__name__
    left_out = {*NOT_IN_CONFIG, *part.references, *part.call_arguments}
    fields = {key: getattr(part, key) for key in type(part).model_fields if key not in left_out}
    config: Config = {"name": name, "trainable": trainable, "dtype": policy()}
    for key, item in {**ADDED.get(kind, {}), **fields, **part.keras_config(*shapes)}.items():
        if isinstance(item, Layer):
            title, inner = item.name or snake_case(type(item).__name__), part.wrapped_shapes(*shapes)
            config[key] = layer(item, title, inner, item.trainable, batch)
        elif isinstance(item, list) and any(isinstance(each, Layer) for each in item):
            inner = part.wrapped_shapes(*shapes)
            pairs = zip(item, inner, strict=True)
            config[key] = [layer(each, each.name, [s], each.trainable, batch) for each, s in pairs]
        elif (kind, key) not in UNWRITTEN and (item is not None or (kind, key) not in IF_SET):
            config[key] = value(key, item)
    _mend(kind, config)
    entry: Config = {"module": MODULES["layer"], "class_name": kind, "config": config, "registered_name": None}
    if kind not in WITHOUT_BUILD and ("Pooling" not in kind or kind.startswith("Adaptive")):
        entry["build_config"] = _built(part, [[batch, *shape] for shape in shapes])
    return entry


def _mend(kind: str, config: Config) -> None:
    """Where Keras writes an argument otherwise than it was given."""
    if "pool_size" in config and config["strides"] is None:
        config["strides"] = config["pool_size"]
    if kind == "LayerNormalization" and isinstance(config["axis"], int):
        config["axis"] = [config["axis"]]
    if kind.startswith("SpatialDropout"):
        del config["trainable"]  # its constructor does not take it
        config["dtype"] = "float32"
    if kind in ("Discretization", "HashedCrossing"):
        del config["trainable"]


def _built(part: Layer, shapes: list[Any]) -> Config:
    kind = type(part).__name__
    if kind in (*ATTENTION, *HEADED):
        shapes = list(part.arguments(shapes)[0])
        shapes = shapes * 2 if len(shapes) == 1 else shapes
    if kind in HEADED:
        return {"shapes_dict": dict(zip(("query_shape", "value_shape", "key_shape"), shapes, strict=False))}
    if kind in STATEFUL and len(shapes) > 1:
        single = isinstance(getattr(part, "initial_state", None), str)
        states = shapes[1] if single else part.nested(shapes[1:])
        return {"shapes_dict": {"sequences_shape": shapes[0], "initial_state_shape": states}}
    return {"input_shape": shapes if len(shapes) > 1 else shapes[0]}


def input_layer(node: Node, tensor: Tensor) -> Config:
    declared = node.layer.declared if isinstance(node.layer, _Entry) else node.layer
    dtype = getattr(declared, "dtype", None) or tensor.dtype
    config = {"batch_shape": [tensor.batch, *node.shape], "dtype": dtype, "sparse": False, "ragged": False}
    config |= {"name": tensor.operation, "optional": False}
    return {"module": MODULES["layer"], "class_name": "InputLayer", "config": config, "registered_name": None}


def value(key: str, item: Any) -> Any:
    """A field as Keras's JSON has it."""
    if isinstance(item, Activation) or (item is None and key in ("activation", "recurrent_activation")):
        return activation(item)
    if isinstance(item, Component):
        return part(item)
    if isinstance(item, BaseModel):
        return item.model_dump(exclude_none=True)
    if isinstance(item, Mapping):
        return {k: value("", v) for k, v in item.items()}
    return [value("", v) for v in item] if isinstance(item, (list, tuple)) else item


def part(component: Component) -> Config:
    """An initializer, loss, optimizer or the like: its class and its fields."""
    fields = {key: value(key, getattr(component, key)) for key in type(component).model_fields}
    if fields.get("name", "") is None:
        del fields["name"]  # Keras's own default is not always the class name
    if isinstance(component, Optimizer):
        fields["name"] = component.name or snake_case(type(component).__name__)
        if isinstance(component.learning_rate, (int, float)):
            fields["learning_rate"] = float(np.float32(component.learning_rate))  # a float32 variable in Keras
    return {
        "module": MODULES[component.family],
        "class_name": type(component).__name__,
        "config": fields,
        "registered_name": None,
    }


def activation(function: Activation | None) -> str | Config:
    if function is None:
        return "linear"
    kind = type(function)
    name = snake_case(kind.__name__)
    fields = {key: getattr(function, key) for key in kind.model_fields}
    if all(fields[key] == field.default for key, field in kind.model_fields.items()):
        return name
    if name not in ACTIVATION_LAYERS:
        message = f"Keras's files cannot hold the activation `{name}` with arguments"
        mend = "another activation" if any(f.is_required() for f in kind.model_fields.values()) else "its defaults"
        raise Failure(Problem("E601", message, help=f"they know a function by its name alone: use {mend}"))
    config = {"name": snake_case(ACTIVATION_LAYERS[name]), "trainable": True, "dtype": policy(), **fields}
    return {
        "module": MODULES["layer"],
        "class_name": ACTIVATION_LAYERS[name],
        "config": config,
        "registered_name": None,
    }


def compiled(spec: Spec) -> Config:
    """The arguments of `model.compile()`, so that Keras can train on. It wants all loss weights or none."""
    weights = spec.loss_weights
    if weights and isinstance(spec.loss, Mapping):
        weights = {output: weights.get(output, 1.0) for output in spec.loss}
    return {
        "optimizer": part(spec.optimizer),
        "loss": _by_output(spec, value("", spec.loss)),
        "loss_weights": _by_output(spec, weights),
        "metrics": _by_output(spec, _metrics(spec.metrics)),
        "weighted_metrics": _by_output(spec, _metrics(spec.weighted_metrics)),
        "run_eagerly": False,
        "steps_per_execution": 1,
        "jit_compile": "auto",
    }


def _by_output(spec: Spec, given: Any) -> Any:
    """Several outputs of one layer have one name in Keras: what is given for each goes by their order."""
    several = any(":" in name for name in spec.outputs or ())
    if not several or not isinstance(given, Mapping) or "class_name" in given:
        return given
    return [given.get(name) for name in spec.outputs or ()]


def _metrics(metrics: Any) -> Any:
    """A metric is named by its column; those that Keras chooses by shape stay the word that was typed."""
    if isinstance(metrics, Mapping):
        return {output: _metrics(each) for output, each in metrics.items()}
    if isinstance(metrics, (list, tuple)):
        return [_metrics(each) for each in metrics] or None
    if type(metrics).__name__ not in type(metrics).members:
        return metrics.column
    entry = part(metrics)
    entry["config"] |= {"name": metrics.column}
    return entry


def policy() -> Config:
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}


def _written(operation: Operation) -> Config:
    """A layer's entry; that of a nested model has its layers."""
    if operation.view is None or operation.node is None:
        return operation.config
    return functional(operation.view, operation.name, operation.node.trainable, {})


def _entry(node: Node, tensors: Sequence[Tensor]) -> Config:
    if not node.inputs or isinstance(node.layer, _Entry):
        return input_layer(node, tensors[0])
    name = node.name.rpartition("/")[2]
    return layer(node.layer, name, [tensor.shape for tensor in tensors], node.trainable, tensors[0].batch)


def _ends(seen: View, ends: Sequence[Tensor]) -> list[Any]:
    """Where the model begins or ends: layer, call, output. One alone is not put in a list.

    Keras counts the calls of nested models from 1 here, and only here.
    """
    nested = {operation.name for operation in seen.operations if operation.view}
    found = [[end.operation, end.call + (end.operation in nested), end.index] for end in ends]
    return found[0] if len(found) == 1 else found
