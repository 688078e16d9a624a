"""What of a spec cannot be dealt out to several devices, or not on each backend: said before anything is trained."""

from __future__ import annotations

from typing import Any

from kerascli import keras_config
from kerascli.engines.cluster import Cluster
from kerascli.errors import Failure, Problem
from kerascli.keras_backend import backend
from kerascli.model import Model

OF_SHARES = ("clipnorm", "clipvalue", "global_clipnorm", "gradient_accumulation_steps")
"""What Keras's optimizers do to gradients on TensorFlow before those of all devices are added up."""


def require_dealt(model: Model, cluster: Cluster) -> None:
    """Raise the Problems of what several devices would compute otherwise than one."""
    if cluster.single:
        return
    problems, help = [], "train it on one device"
    for node, shapes in model.graph.computed.calls():
        if node.layer.carry(*shapes):
            message = f"{node.title} is stateful: it hands on whole batches, and each device has but a share"
            problems.append(Problem("E518", message, node.where, help=help))
    if backend() == "tensorflow":
        help = "train it on one device, or set `KERAS_BACKEND=jax`"
        for node, shapes in model.graph.computed.calls():
            if _penalizes(keras_config.layer(node.layer, node.name, shapes)):
                message = f"{node.title} has a penalty on its output, which TensorFlow's devices mix up"
                problems.append(Problem("E518", message, node.where, help=help))
        for name in OF_SHARES:
            if getattr(model.spec.optimizer, name) is not None:
                message = f"with `{name}`, Keras treats the gradients of each of TensorFlow's devices alone"
                where = model.loaded.document.span(("optimizer", name))
                problems.append(Problem("E518", message, where, help=help))
    if problems:
        raise Failure(problems, exit_code=2)


def _penalizes(config: Any) -> bool:
    """Whether a layer, or one within it, adds a loss of its output."""
    if isinstance(config, dict):
        own = config.get("activity_regularizer") or config.get("class_name") == "ActivityRegularization"
        return bool(own) or any(map(_penalizes, config.values()))
    return isinstance(config, list) and any(map(_penalizes, config))
