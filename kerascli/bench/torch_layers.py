"""Keras's layers as PyTorch modules, for common nets. Images lie channels first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from kerascli.bench.job import Node, NotTranslated

torch: Any = import_module("torch")
nn = torch.nn

Call = Callable[..., Any]
Config = Mapping[str, Any]
Shape = tuple[int, ...]

ACTIVATIONS: dict[str, Call] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": nn.functional.elu,
    "selu": nn.functional.selu,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "softplus": nn.functional.softplus,
    "softmax": lambda x: torch.softmax(x, -1),
}
REGULARIZERS = ("regularizer", "constraint")
RNN_PLAIN = {"dropout": 0.0, "recurrent_dropout": 0.0, "go_backwards": False, "stateful": False, "return_state": False}


class Translation:
    """The calls of a net in order, each with the names it reads; and all parameters."""

    def __init__(self, nodes: Sequence[Node], output: str) -> None:
        self.parameters: list[Any] = []
        self.last = "linear"
        """The activation that the net ends in."""
        self.output = output
        shapes: dict[str, Shape] = {}
        self._calls: list[tuple[str, tuple[str, ...], tuple[Call, ...]]] = []
        for node in nodes:
            shapes[node.name] = node.shape
            if not node.inputs:
                self.input = node.name
                continue
            calls, activation = self._translate(node, [shapes[name] for name in node.inputs])
            if node.name == output:
                self.last = activation
            ends = (ACTIVATIONS[activation],) if activation != "linear" else ()
            self._calls.append((node.name, node.inputs, (*calls, *ends)))

    def whole(self, x: Any) -> Any:
        """The net's output."""
        return self._run(x, self._calls)

    def without_last(self, x: Any) -> Any:
        """The scores that the last activation would read."""
        name, inputs, calls = self._calls[-1]
        return self._run(x, [*self._calls[:-1], (name, inputs, calls[:-1])])

    def _run(self, x: Any, calls: Sequence[tuple[str, tuple[str, ...], tuple[Call, ...]]]) -> Any:
        found = {self.input: x}
        for name, inputs, steps in calls:
            value = tuple(found[i] for i in inputs) if len(inputs) > 1 else found[inputs[0]]
            for step in steps:
                value = step(value)
            found[name] = value
        return found[self.output]

    def _translate(self, node: Node, shapes: list[Shape]) -> tuple[list[Call], str]:
        make = LAYERS.get(node.type)
        if make is None:
            raise NotTranslated(f"the layer {node.type}")
        config = node.config
        for key, item in config.items():
            if (item is not None and key.endswith(REGULARIZERS)) or (key == "trainable" and not item):
                raise NotTranslated(f"{node.type} with {key}")
        calls = make(config, *shapes) if len(shapes) == 1 else make(config, shapes)
        for call in calls:
            if isinstance(call, nn.Module):
                self.parameters += list(call.parameters())
        return calls, _activation(node)


def _activation(node: Node) -> str:
    if node.type in ("ReLU", "Softmax"):
        _plain(node.config, negative_slope=0.0, max_value=None, threshold=0.0, axis=-1)
        return node.type.lower()
    if node.type in RECURRENT:
        return "linear"
    name = node.config.get("activation", "linear")
    if name != "linear" and name not in ACTIVATIONS:
        raise NotTranslated(f"the activation {name}")
    if name == "softmax" and len(node.shape) == 3:
        raise NotTranslated("a softmax over channels")
    return str(name)


def _plain(config: Config, **values: Any) -> None:
    """Decline arguments that differ from those given."""
    for key, value in values.items():
        if key in config and config[key] != value:
            raise NotTranslated(f"{key}: {config[key]}")


def _rescaling(config: Config, shape: Shape) -> list[Call]:
    scale, offset = config["scale"], config["offset"]
    if isinstance(scale, list) or isinstance(offset, list):
        raise NotTranslated("Rescaling with a list")
    return [lambda x: x.float() * scale + offset if offset else x.float() * scale]


def _dense(config: Config, shape: Shape) -> list[Call]:
    if len(shape) == 3:
        raise NotTranslated("Dense on images")
    return [nn.Linear(shape[-1], config["units"], bias=config["use_bias"])]


def _conv2d(config: Config, shape: Shape) -> list[Call]:
    _plain(config, data_format="channels_last")
    strides, padding = tuple(config["strides"]), config["padding"]
    if padding == "same" and strides != (1, 1):
        raise NotTranslated("a convolution with strides and `same` padding")
    more = {"dilation": tuple(config["dilation_rate"]), "groups": config["groups"], "bias": config["use_bias"]}
    return [nn.Conv2d(shape[-1], config["filters"], tuple(config["kernel_size"]), strides, padding, **more)]


def _pooling(module: Any) -> Call:
    def make(config: Config, shape: Shape) -> list[Call]:
        _plain(config, padding="valid", data_format="channels_last")
        return [module(tuple(config["pool_size"]), tuple(config["strides"] or config["pool_size"]))]

    return make


def _batch_normalization(config: Config, shape: Shape) -> list[Call]:
    _plain(config, axis=-1, center=True, scale=True)
    if len(shape) not in (1, 3):
        raise NotTranslated("BatchNormalization of sequences")
    module = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    return [module(shape[-1], eps=config["epsilon"], momentum=1 - config["momentum"])]


def _embedding(config: Config, shape: Shape) -> list[Call]:
    _plain(config, mask_zero=False)
    return [nn.Embedding(config["input_dim"], config["output_dim"])]


def _recurrent(module: Any, **values: Any) -> Call:
    def make(config: Config, shape: Shape) -> list[Call]:
        _plain(config, **values, **RNN_PLAIN)
        cell = module(shape[-1], config["units"], batch_first=True, bias=config["use_bias"])
        return [cell, (lambda out: out[0]) if config["return_sequences"] else (lambda out: out[0][:, -1])]

    return make


def _average(config: Config, shape: Shape) -> list[Call]:
    _plain(config, keepdims=False)
    return [lambda x: x.mean((2, 3))]


def _largest(config: Config, shape: Shape) -> list[Call]:
    _plain(config, keepdims=False)
    return [lambda x: x.amax((2, 3))]


def _add(config: Config, shapes: Sequence[Shape]) -> list[Call]:
    if len(set(shapes)) > 1:
        raise NotTranslated("Add with broadcasting")
    return [lambda parts: sum(parts[1:], parts[0])]


def _concatenate(config: Config, shapes: Sequence[Shape]) -> list[Call]:
    _plain(config, axis=-1)
    return [lambda parts: torch.cat(parts, 1 if len(shapes[0]) == 3 else -1)]


RECURRENT: dict[str, Call] = {
    "SimpleRNN": _recurrent(nn.RNN, activation="tanh"),
    "LSTM": _recurrent(nn.LSTM, activation="tanh", recurrent_activation="sigmoid"),
    "GRU": _recurrent(nn.GRU, activation="tanh", recurrent_activation="sigmoid", reset_after=True),
}
LAYERS: dict[str, Call] = {
    **RECURRENT,
    "Rescaling": _rescaling,
    "Dense": _dense,
    "Conv2D": _conv2d,
    "MaxPooling2D": _pooling(nn.MaxPool2d),
    "AveragePooling2D": _pooling(nn.AvgPool2d),
    "GlobalAveragePooling2D": _average,
    "GlobalMaxPooling2D": _largest,
    "BatchNormalization": _batch_normalization,
    "Embedding": _embedding,
    "Flatten": lambda config, shape: [nn.Flatten()],
    "Dropout": lambda config, shape: [nn.Dropout(config["rate"])],
    "Activation": lambda config, shape: [],
    "ReLU": lambda config, shape: [],
    "Softmax": lambda config, shape: [],
    "Add": _add,
    "Concatenate": _concatenate,
}
