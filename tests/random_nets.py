"""Random specs: nets of many kinds of layers in a row and side by side, small enough to run by the hundred."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kerascli import yamltext
from kerascli.component import Component
from kerascli.layer import Layer
from kerascli.ops.ir import Shape, ShapeError

Config = dict[str, Any]
Rng = np.random.Generator

ACTIVATIONS = ("relu", "tanh", "sigmoid", "elu", "gelu", "softplus", "silu", "leaky_relu", "hard_sigmoid", "softsign")


def _pick(rng: Rng, *values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def _activation(rng: Rng) -> Any:
    return _pick(rng, None, *ACTIVATIONS)


def _rnn(rng: Rng, kind: str, sequences: bool | None = None) -> Config:
    config: Config = {"type": kind, "units": int(rng.integers(1, 7))}
    config["return_sequences"] = bool(rng.random() < 0.5) if sequences is None else sequences
    config["go_backwards"] = bool(rng.random() < 0.3)
    if rng.random() < 0.3:
        config |= {"dropout": 0.3, "recurrent_dropout": _pick(rng, 0.0, 0.2)}
    if rng.random() < 0.2:
        config["activation"] = _pick(rng, "relu", "softsign")
    return config


ANY: tuple[Callable[[Rng], Config], ...] = (
    lambda rng: {"type": "Activation", "activation": _pick(rng, *ACTIVATIONS)},
    lambda rng: {"type": "Dropout", "rate": 0.3},
    lambda rng: {"type": "GaussianNoise", "stddev": 0.1},
    lambda rng: {"type": "BatchNormalization", "scale": bool(rng.random() < 0.7), "center": bool(rng.random() < 0.7)},
    lambda rng: {"type": "LayerNormalization"},
    lambda rng: {"type": "Dense", "units": int(rng.integers(1, 9)), "activation": _activation(rng)},
    lambda rng: {"type": "LeakyReLU"},
    lambda rng: {"type": "PReLU"},
)
IMAGES: tuple[Callable[[Rng], Config], ...] = (
    *(
        lambda rng: {
            "type": "Conv2D",
            "filters": int(_pick(rng, 2, 5, 32)),
            "kernel_size": int(_pick(rng, 1, 2, 3, 3)),
            "strides": int(_pick(rng, 1, 1, 2)),
            "padding": _pick(rng, "same", "valid"),
            "use_bias": bool(rng.random() < 0.6),
            "activation": _activation(rng),
        },
    )
    * 3,
    lambda rng: {"type": "MaxPooling2D", "pool_size": int(_pick(rng, 2, 2, 3)), "padding": _pick(rng, "same", "valid")},
    lambda rng: {"type": "MaxPooling2D", "pool_size": 2, "strides": 1},
    lambda rng: {"type": "AveragePooling2D", "pool_size": 2, "padding": _pick(rng, "same", "valid")},
    lambda rng: {"type": "ZeroPadding2D", "padding": 1},
    lambda rng: {"type": "UpSampling2D", "size": 2},
    lambda rng: {"type": "DepthwiseConv2D", "kernel_size": 3, "padding": "same"},
    lambda rng: {"type": "SeparableConv2D", "filters": 4, "kernel_size": 3, "padding": "same"},
    lambda rng: {"type": "SpatialDropout2D", "rate": 0.3},
    lambda rng: {"type": "GlobalAveragePooling2D"},
    lambda rng: {"type": "GlobalMaxPooling2D"},
    lambda rng: {"type": "Flatten"},
    lambda rng: {"type": "TimeDistributed", "layer": {"type": "Dense", "units": 3}},
)
SEQUENCES: tuple[Callable[[Rng], Config], ...] = (
    lambda rng: _rnn(rng, "LSTM"),
    lambda rng: _rnn(rng, "GRU"),
    lambda rng: _rnn(rng, "SimpleRNN"),
    lambda rng: {
        "type": "Bidirectional",
        "merge_mode": _pick(rng, "concat", "sum", "mul"),
        "layer": _rnn(rng, _pick(rng, "LSTM", "GRU", "SimpleRNN")) | {"go_backwards": False},
    },
    lambda rng: {"type": "Conv1D", "filters": 4, "kernel_size": 3, "padding": _pick(rng, "same", "valid", "causal")},
    lambda rng: {"type": "MaxPooling1D", "pool_size": 2},
    lambda rng: {"type": "SpatialDropout1D", "rate": 0.3},
    lambda rng: {"type": "GlobalAveragePooling1D"},
    lambda rng: {"type": "GlobalMaxPooling1D"},
    lambda rng: {"type": "Permute", "dims": [2, 1]},
    lambda rng: {"type": "Flatten"},
)
VECTORS: tuple[Callable[[Rng], Config], ...] = (
    lambda rng: {"type": "Dense", "units": int(rng.integers(1, 20)), "activation": _activation(rng)},
    lambda rng: {"type": "RepeatVector", "n": 3},
    lambda rng: {"type": "UnitNormalization"},
)
MERGES = ("Add", "Multiply", "Average", "Maximum", "Subtract", "Concatenate")
LARGEST = 5000
"""Numbers a sample."""


class Net:
    """Layers by name with the shapes of their outputs, and which of them read which."""

    def __init__(self, rng: Rng, first: Config, shape: Shape) -> None:
        self.rng = rng
        self.layers: list[Config] = [first]
        self.shapes: dict[str, Shape] = {first["name"]: shape}

    def add(self, config: Config, *inputs: str) -> bool:
        """Append a layer, if it is known and takes such shapes."""
        member = Layer.find(config["type"])
        if member is None:
            return False
        name = f"n{len(self.layers)}"
        try:
            layer: Component = Layer.parse(config)
            shape = layer.infer_shape(*(self.shapes[i] for i in inputs))  # type: ignore[attr-defined]
        except (ShapeError, ValueError):
            return False
        if int(np.prod(shape)) > LARGEST or not all(shape):
            return False
        self.layers.append({**config, "name": name, "inputs": inputs[0] if len(inputs) == 1 else list(inputs)})
        self.shapes[name] = shape
        return True

    def grow(self) -> None:
        """One random layer after the last one, or one that joins it with an earlier one of its shape."""
        rng, last = self.rng, list(self.shapes)[-1]
        shape = self.shapes[last]
        alike = [name for name, other in self.shapes.items() if other == shape and name not in (last, "x")]
        if alike and rng.random() < 0.3:
            self.add({"type": _pick(rng, *MERGES[: 4 if rng.random() < 0.5 else 6])}, last, _pick(rng, *alike))
            return
        kinds = {3: IMAGES, 2: SEQUENCES, 1: VECTORS}.get(len(shape), ())
        self.add(_pick(rng, *ANY, *kinds, *kinds)(rng), last)

    def finish(self) -> None:
        """Join what nobody reads into one output."""
        read = {i for layer in self.layers for i in np.atleast_1d(layer.get("inputs", [])).tolist()}
        ends = []
        for name in [n for n in self.shapes if n not in read]:
            self.add({"type": "Flatten"}, name)
            self.add({"type": "Dense", "units": 3}, list(self.shapes)[-1])
            ends.append(list(self.shapes)[-1])
        if len(ends) > 1:
            self.add({"type": "Add"}, *ends)


def random_spec(seed: int, folder: Path) -> str:
    """A spec with a net and data of its own, written to `folder`."""
    rng = np.random.default_rng(seed)
    kind = _pick(rng, "images", "images", "tokens", "sequences", "vectors")
    n = 40
    if kind == "images":
        shape = (int(rng.integers(4, 13)), int(rng.integers(4, 13)), int(_pick(rng, 1, 3, 32)))
        x: Any = rng.standard_normal((n, *shape)).astype(np.float32)
    elif kind == "tokens":
        shape = (int(rng.integers(3, 9)),)
        x = rng.integers(0, 9, (n, *shape)).astype(np.int32)
    else:
        shape = (6, 3) if kind == "sequences" else (int(rng.integers(1, 20)),)
        x = rng.standard_normal((n, *shape)).astype(np.float32)
    np.savez(folder / "data.npz", x_train=x, y_train=rng.integers(0, 3, n))
    net = Net(rng, {"type": "Input", "name": "x", "shape": list(shape), "dtype": str(x.dtype)}, shape)
    if kind == "tokens":
        net.add({"type": "Embedding", "input_dim": 9, "output_dim": 4, "mask_zero": bool(rng.random() < 0.5)}, "x")
    for _ in range(int(rng.integers(2, 9))):
        net.grow()
    net.finish()
    spec: Config = {
        "seed": seed,
        "dataset": {"type": "npz", "path": "data.npz"},
        "layers": net.layers,
        "loss": {"type": "SparseCategoricalCrossentropy", "from_logits": True},
        "training": {"epochs": 2, "batch_size": 16, "shuffle": False},
    }
    return yamltext.dump(spec)
