"""TensorFlow: `tf.distribute.MirroredStrategy` over the devices of one host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf

from kerascli.engines.backend import Backend
from kerascli.engines.cluster import Cluster
from kerascli.engines.dealt import dealt
from kerascli.errors import Failure, Problem


class TensorFlowBackend(Backend):
    """Each device has the whole batch, and computes its share of it."""

    name = "tensorflow"
    late = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.strategy: tf.distribute.Strategy | None = None
        self.model: Any = None
        self.functions: dict[bool, tuple[Any, Any]] = {}
        """Of Keras, to train and to test: those for batches that are dealt out, and for those that are not."""
        if not cluster.single:
            self.strategy = tf.distribute.MirroredStrategy(_devices(cluster.devices or 1))
            self.parts = self.copies = self.strategy.num_replicas_in_sync
            self.jit = False  # XLA takes no variable of another device

    def scope(self) -> AbstractContextManager[Any]:
        return super().scope() if self.strategy is None else self.strategy.scope()

    def described(self, config: dict[str, Any]) -> dict[str, Any]:
        return config if self.strategy is None else _synchronized(config)

    def dealing(self, model: Any) -> Any:
        if self.strategy is not None:
            model = self.model = dealt(model, self)
        return model

    def turn(self, model: Any, whole: bool) -> None:
        if whole != self.whole:
            self.functions[self.whole] = model.train_function, model.test_function
            model.train_function, model.test_function = self.functions.get(whole, (None, None))
        super().turn(model, whole)

    def data(self, batches: keras.utils.PyDataset) -> Any:
        """Each batch as often as there are devices, which take turns."""
        if self.strategy is None:
            return batches

        def each() -> Iterator[Any]:
            for number in range(len(batches)):
                batch = batches[number]
                for _ in range(self.parts):
                    yield batch

        kinds = keras.tree.map_structure(lambda a: tf.TensorSpec((None, *a.shape[1:]), a.dtype), batches[0])
        found = tf.data.Dataset.from_generator(each, output_signature=kinds)
        return self.strategy.distribute_datasets_from_function(lambda context: found)

    def steps(self, batches: int) -> int | None:
        return None if self.strategy is None else batches

    # ---- the shares

    def deals(self, inputs: Any) -> bool:
        return not self.whole and tf.distribute.get_replica_context() is not None

    def share(self, array: Any) -> Any:
        number, rows = tf.distribute.get_replica_context().replica_id_in_sync_group, tf.shape(array)[0] // self.parts
        return array[number * rows : (number + 1) * rows]

    def gathered(self, array: Any) -> Any:
        return tf.distribute.get_replica_context().all_gather(array, axis=0)

    def compute(self, inputs: Any, training: bool | None) -> Any:
        return self.model.layers_alone(inputs, training)

    def averaged(self, loss: Any) -> Any:
        return loss  # Keras takes the mean of what the devices tell


def _devices(wanted: int) -> list[str]:
    """So many of the GPUs; a CPU is as many devices as are asked for."""
    found = [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices("GPU")]
    if not found:
        (cpu,) = tf.config.list_physical_devices("CPU")
        if tf.config.get_logical_device_configuration(cpu) is None:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * wanted)
        found = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(found) < wanted:
        message = f"`--devices {wanted}`, and there are {len(found)}: {', '.join(found)}"
        raise Failure(Problem("E518", message, help=f"type `--devices {len(found)}` or less"), exit_code=2)
    return found[:wanted]


def _synchronized(config: Any) -> Any:
    """The model's configuration, with statistics of the whole batch in BatchNormalization."""
    if isinstance(config, list):
        return [_synchronized(part) for part in config]
    if not isinstance(config, dict):
        return config
    found = {key: _synchronized(value) for key, value in config.items()}
    if found.get("class_name") == "BatchNormalization":
        found["config"]["synchronized"] = True
    return found
