"""JAX: `keras.distribution.DataParallel` deals out batches, and JAX's own coordinator brings hosts together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from kerascli.engines.backend import Backend
from kerascli.engines.cluster import Cluster
from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array


class JaxBackend(Backend):
    """Every number of a step is that of the whole batch; each host reads the samples of its own devices alone."""

    name = "jax"
    early = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        warnings.filterwarnings("ignore", "Explicitly requested dtype int64")  # as some of Keras's own metrics do
        self.distribution: _Distribution | None = None
        if cluster.hosts:
            _join(cluster)
        if not cluster.single:
            self.distribution = _Distribution(devices=_devices(cluster), auto_shard_dataset=False)
            self.parts = self.distribution.device_mesh.devices.size
        keras.distribution.set_distribution(self.distribution)

    def turn(self, model: Any, whole: bool) -> None:
        super().turn(model, whole)
        if self.distribution is not None:
            self.distribution.whole = whole

    def rows(self, batch: Array) -> Array:
        hosts = len(self.cluster.hosts)
        if not hosts or self.whole:
            return batch
        share = len(batch) // hosts
        return batch[self.cluster.host * share : (self.cluster.host + 1) * share]

    def sync(self, model: Any) -> None:
        model.jax_state_sync()

    def highest(self, values: Sequence[float]) -> list[float]:
        if not self.cluster.hosts:
            return list(values)
        found = multihost_utils.process_allgather(np.asarray(values, np.float32))
        return [float(value) for value in np.max(found, axis=0)]


class _Distribution(keras.distribution.DataParallel):  # type: ignore[misc]
    """Data parallelism, but a batch that cannot be cut evenly, such as an epoch's last, is computed by every device."""

    whole = False

    def get_data_layout(self, data_shape: Sequence[int]) -> Any:
        if self.whole:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        return super().get_data_layout(data_shape)


def _join(cluster: Cluster) -> None:
    first, count = cluster.hosts[0], len(cluster.hosts)
    try:
        jax.distributed.initialize(first, count, cluster.host, initialization_timeout=round(cluster.wait))
    except Exception as error:
        raise cluster.apart(error) from error


def _devices(cluster: Cluster) -> list[str]:
    found: list[str] = keras.distribution.list_devices()
    if cluster.hosts:
        return found
    wanted = cluster.devices or 1
    if len(found) < wanted:
        message = f"`--devices {wanted}`, and there are {len(found)}: {', '.join(found)}"
        raise Failure(Problem("E518", message, help=f"type `--devices {len(found)}` or less"), exit_code=2)
    return found[:wanted]
