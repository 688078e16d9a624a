"""Plain PyTorch: the same net and training as a user of PyTorch writes them, channels first, the loss on raw scores."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from kerascli.bench.job import Array, Job, NotTranslated, arrays, read
from kerascli.bench.torch_layers import Call, Translation

# Imported by name: PyTorch need not be there to check this module's types.
torch: Any = import_module("torch")


def make(folder: Path, threads: int) -> PlainTorch:
    torch.set_num_threads(threads)
    return PlainTorch(read(folder), folder)


class PlainTorch:
    """Tensors, a net, a criterion, an optimizer, and a loop."""

    def __init__(self, job: Job, folder: Path) -> None:
        if len(job.inputs) > 1 or len(job.outputs) > 1 or job.weighted:
            raise NotTranslated("several inputs or outputs, or weights of samples or classes")
        compiled = job.model["compile_config"]
        self.job = job
        net = Translation(job.nodes, job.outputs[0])
        y = arrays(folder, "y")[0]
        self.criterion, self.target = criterion(compiled["loss"], net.last, y)
        self.forward: Call = net.without_last if self.criterion.takes_scores else net.whole
        self.optimizer = optimizer(compiled["optimizer"], net.parameters)
        self.counts = any("acc" in str(metric) for metric in compiled["metrics"] or [])
        x = torch.from_numpy(arrays(folder, "x")[0])
        if not x.is_floating_point() and not any(node.type in ("Rescaling", "Embedding") for node in job.nodes):
            x = x.float()
        self.x = x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x
        self.accuracy = 0.0

    def epoch(self) -> float:
        job, x, y, criterion, optimizer = self.job, self.x, self.target, self.criterion.function, self.optimizer
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        order = torch.randperm(len(x)) if job.shuffle else torch.arange(len(x))
        for start in range(0, len(x), job.batch):
            index = order[start : start + job.batch]
            truth = y[index]
            optimizer.zero_grad()
            found = self.forward(x[index])
            loss = criterion(found, truth)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(index)
            if self.counts:
                correct += self.criterion.correct(found.detach(), truth)
        self.accuracy = correct.item() / len(x)
        return float(total.item() / len(x))

    def facts(self) -> dict[str, str]:
        return {"torch": torch.__version__}


class Criterion:
    """A loss, whether it reads raw scores, and how right answers are counted."""

    def __init__(self, function: Call, takes_scores: bool, by_class: bool) -> None:
        self.function, self.takes_scores, self.by_class = function, takes_scores, by_class

    def correct(self, found: Any, truth: Any) -> Any:
        if self.by_class:
            return (found.argmax(1) == truth).sum()
        return ((found > (0 if self.takes_scores else 0.5)) == (truth > 0.5)).sum()


def criterion(loss: Any, last: str, y: Array) -> tuple[Criterion, Any]:
    """PyTorch's loss for Keras's, and the targets as it wants them."""
    kind, config = loss["class_name"], loss["config"]
    scores = bool(config.get("from_logits"))
    plain = {"from_logits", "name", "reduction", "dtype", "axis", "label_smoothing"}
    special = {k: v for k, v in config.items() if k not in plain and v is not None}
    if special or config.get("reduction", "sum_over_batch_size") != "sum_over_batch_size":
        raise NotTranslated(f"{kind} with {special or config['reduction']}")
    smoothing = config.get("label_smoothing") or 0.0
    if kind in ("CategoricalCrossentropy", "SparseCategoricalCrossentropy") and (scores or last == "softmax"):
        classes = y.argmax(-1) if kind == "CategoricalCrossentropy" else y.reshape(len(y))
        function = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
        return Criterion(function, last == "softmax", True), torch.from_numpy(classes.astype(np.int64))
    if kind == "BinaryCrossentropy" and (scores or last == "sigmoid") and not smoothing:
        target = torch.from_numpy(y.astype(np.float32).reshape(len(y), -1))
        return Criterion(torch.nn.BCEWithLogitsLoss(), last == "sigmoid", False), target
    if kind in ("MeanSquaredError", "MeanAbsoluteError"):
        function = torch.nn.MSELoss() if kind == "MeanSquaredError" else torch.nn.L1Loss()
        target = y.astype(np.float32)
        return Criterion(function, False, False), torch.from_numpy(
            target.reshape(len(y), -1) if y.ndim == 1 else target
        )
    raise NotTranslated(f"the loss {kind} after {last}")


EXTRAS = ("clipnorm", "clipvalue", "global_clipnorm", "use_ema", "loss_scale_factor", "gradient_accumulation_steps")


def optimizer(given: Any, parameters: list[Any]) -> Any:
    """PyTorch's optimizer for Keras's."""
    kind, config = given["class_name"], given["config"]
    rate = config["learning_rate"]
    if not isinstance(rate, float):
        raise NotTranslated("a schedule of the learning rate")
    extras = [name for name in EXTRAS if config.get(name)]
    if config.get("weight_decay") and kind != "AdamW":
        extras.append("weight_decay")
    if extras:
        raise NotTranslated(f"{kind} with {', '.join(extras)}")
    make = torch.optim
    if kind == "SGD":
        momentum = config["momentum"]
        return make.SGD(parameters, rate, momentum=momentum, nesterov=bool(momentum and config["nesterov"]))
    if kind == "RMSprop":
        plain = {"momentum": config["momentum"], "centered": config["centered"]}
        return make.RMSprop(parameters, rate, alpha=config["rho"], eps=config["epsilon"], **plain)
    if kind in ("Adam", "AdamW"):
        betas = (config["beta_1"], config["beta_2"])
        plain = {"eps": config["epsilon"], "amsgrad": config["amsgrad"]}
        if kind == "Adam":
            return make.Adam(parameters, rate, betas, **plain)
        return make.AdamW(parameters, rate, betas, weight_decay=config["weight_decay"] or 0.0, **plain)
    raise NotTranslated(f"the optimizer {kind}")
