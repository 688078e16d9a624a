"""What Keras's backends do each in its own way: several devices and hosts above all. Here as it is on one device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import keras

from kerascli.engines.cluster import Cluster
from kerascli.ops.ir import Array


class Backend:
    """One of Keras's backends, with the devices that it computes on."""

    name: ClassVar[str]
    early: ClassVar[bool] = False
    """Whether the names of the figures can be read before a step alone, and not after it."""
    late: ClassVar[bool] = False
    """Whether the metrics are not made before the first step."""
    parts = 1
    """Devices that a batch is dealt out to."""
    copies = 1
    """How often each sample is in the sums of the metrics."""
    jit: str | bool = "auto"
    """Keras's `jit_compile`."""
    whole = False
    """Whether the next batches are computed as a whole by each device, for they cannot be cut evenly."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def scope(self) -> AbstractContextManager[Any]:
        """Where the model is built and compiled."""
        return nullcontext()

    def described(self, config: dict[str, Any]) -> dict[str, Any]:
        """What Keras builds the model of."""
        return config

    def dealing(self, model: Any) -> Any:
        """The model that is trained: the same layers, but for what deals out batches."""
        return model

    def turn(self, model: Any, whole: bool) -> None:
        """From now on batches are dealt out, or not."""
        self.whole = whole

    def rows(self, batch: Array) -> Array:
        """Those samples of a batch that this process must have."""
        return batch

    def data(self, batches: keras.utils.PyDataset) -> Any:
        """What `fit` and `evaluate` are given."""
        return batches

    def steps(self, batches: int) -> int | None:
        """How many steps `fit` and `evaluate` must be told of, where the data do not show it."""
        return None

    def sync(self, model: Any) -> None:
        """Bring what training changes into Keras's variables."""

    def stepped(self) -> None:
        """After a step."""

    def highest(self, values: Sequence[float]) -> list[float]:
        """The highest of what each host has; all must ask at the same moment."""
        return list(values)


def opened(cluster: Cluster) -> Backend:
    """The backend that Keras runs on; where there are several hosts, they are brought together."""
    name = keras.backend.backend()
    if name == "torch":
        from kerascli.engines.torch_backend import TorchBackend

        return TorchBackend(cluster)
    if name == "tensorflow":
        from kerascli.engines.tensorflow_backend import TensorFlowBackend

        return TensorFlowBackend(cluster)
    from kerascli.engines.jax_backend import JaxBackend

    return JaxBackend(cluster)
