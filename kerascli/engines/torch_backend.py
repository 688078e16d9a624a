"""PyTorch: a process for each device, `DistributedDataParallel` around the layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import keras
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from kerascli.engine.team import cores
from kerascli.engines.backend import Backend
from kerascli.engines.cluster import Cluster
from kerascli.engines.dealt import Dealt, dealt

STATISTICS = ("moving_mean", "moving_variance")
"""What BatchNormalization keeps: each process has those of its shares, and their mean is kept by all."""


class TorchBackend(Backend):
    """Each process has the whole batch, and computes its share of it."""

    name = "torch"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.model: Dealt | None = None
        self.layers: Any = None
        self.statistics: list[torch.Tensor] = []
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if not cluster.single:
            self.parts = len(cluster.hosts)
            _join(cluster)

    def dealing(self, model: Any) -> Any:
        if self.cluster.single:
            return model
        torch.manual_seed(torch.initial_seed() + self.cluster.host)  # or every share would drop out the same
        self.model = dealt(model, self)
        self.layers = _Layers(self.model)
        if model.trainable_variables:
            self.layers = DistributedDataParallel(self.layers)
        self.statistics = [v.value.data for v in model.non_trainable_variables if v.name in STATISTICS]
        return self.model

    def stepped(self) -> None:
        if self.statistics:
            mean = self._mean(torch.cat([tensor.reshape(-1) for tensor in self.statistics]))
            for tensor, own in zip(self.statistics, mean.split([t.numel() for t in self.statistics]), strict=True):
                tensor.copy_(own.reshape(tensor.shape))

    def highest(self, values: Sequence[float]) -> list[float]:
        if self.cluster.single:
            return list(values)
        found = torch.tensor(values, device=self.device)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return [float(value) for value in found]

    # ---- the shares

    def deals(self, inputs: Any) -> bool:
        return not self.whole and not keras.tree.flatten(inputs)[0].is_meta

    def share(self, array: Any) -> Any:
        return array.chunk(self.parts)[self.cluster.host]

    def gathered(self, array: Any) -> Any:
        return _Gathered.apply(array, self.parts, self.cluster.host)

    def compute(self, inputs: Any, training: bool | None) -> Any:
        assert self.model is not None
        if keras.tree.flatten(inputs)[0].is_meta:  # Keras asks for shapes alone
            return self.model.layers_alone(inputs, training)
        return self.layers(inputs, training)

    def averaged(self, loss: Any) -> Any:
        if self.whole or loss.is_meta:
            return loss
        value = loss.detach()
        return loss + (self._mean(value.clone()) - value)

    def _mean(self, tensor: torch.Tensor) -> torch.Tensor:
        distributed.all_reduce(tensor)
        return tensor / self.parts


class _Layers(torch.nn.Module):  # type: ignore[misc]
    """The layers as DistributedDataParallel calls them: Keras's model calls it, not the other way round."""

    def __init__(self, model: Dealt) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any, training: bool | None) -> Any:
        return self.model.layers_alone(inputs, training)


class _Gathered(torch.autograd.Function):  # type: ignore[misc]
    """The rows of all processes.

    Each computes the same loss of all rows and goes back through its own. DistributedDataParallel takes the mean of
    what the processes come to, and the batch's gradient is the sum: so that of the rows is as many times as large, and
    that of penalties, which all processes have, is left as it is.
    """

    @staticmethod
    def forward(context: Any, own: torch.Tensor, parts: int, number: int) -> torch.Tensor:
        context.place = parts, number
        found = [torch.empty_like(own) for _ in range(parts)]
        distributed.all_gather(found, own.contiguous())
        return torch.cat(found)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        parts, number = context.place
        return gradients[0].chunk(parts)[number] * parts, None, None


def _join(cluster: Cluster) -> None:
    first, count = cluster.hosts[0], len(cluster.hosts)
    before, after = cluster.neighbours
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", before)))
    elif not cluster.launched:
        torch.set_num_threads(max(1, cores() // (before + 1 + after)))  # as `torchrun` sees to
    try:
        store = None
        if not cluster.launched:
            address, _, port = first.rpartition(":")
            wait = timedelta(seconds=cluster.wait)
            store = distributed.TCPStore(address.strip("[]"), int(port), count, cluster.host == 0, wait)
        distributed.init_process_group("nccl" if cuda else "gloo", store=store, world_size=count, rank=cluster.host)
    except Exception as error:
        raise cluster.apart(error) from error
