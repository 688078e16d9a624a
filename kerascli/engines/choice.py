"""Which engine computes what a stored model is asked: here alone it is decided."""

from __future__ import annotations

from kerascli import keras_backend
from kerascli.engines.cluster import Cluster
from kerascli.errors import Failure, Problem
from kerascli.model import Model
from kerascli.runner import Runner


def runner(engine: str, model: Model, workers: int) -> Runner:
    """The model on an engine, ready for its weights. Keras is loaded only where it is the engine.

    Raises E516 or E518 where Keras cannot run here, or cannot compute the model.
    """
    if engine == "numpy":
        return Runner(model, workers)
    if found := keras_backend.fault():
        code, message, help = found
        raise Failure(Problem(code, message, help=help))
    Cluster().prepare()
    from kerascli.engines.keras_inference import KerasRunner
    from kerascli.engines.keras_net import require_layers

    require_layers(model)
    return KerasRunner(model, workers)
