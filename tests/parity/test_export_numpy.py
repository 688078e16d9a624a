"""What `--format numpy` writes predicts what the engine predicts: every layer, every config, with NumPy alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kerascli.check import check
from kerascli.component import Example
from kerascli.exporters.base import Trained
from kerascli.exporters.numpy import Numpy
from kerascli.exporters.readback import samples
from kerascli.graph import Graph, Node
from kerascli.layer import Layer
from kerascli.layers.structure import Input
from kerascli.ops.ir import Array
from kerascli.program.build import trace_forward
from kerascli.program.interpret import evaluate
from tests.layer_cases import cases, weights
from tests.layer_cases import samples as drawn

CONFIGS = [path for path in sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml")) if "wide_" not in path.name]
"""But for nets so wide that weights drawn like these make their predictions chaotic: the last bit of a sum decides."""


def opened(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def alone(layer: Layer, example: Example) -> Graph:
    """A graph of one layer."""
    kind = "float" if example.dtype.startswith("float") else example.dtype
    inputs = [Node(f"x{k}", Input(shape=shape), (), (), shape, kind) for k, shape in enumerate(example.inputs)]
    names = tuple(node.name for node in inputs)
    shape, dtype = layer.infer_shape(*example.inputs), layer.infer_dtype(*(node.dtype for node in inputs))
    own = Node("it", layer, names, (), shape, dtype, tuple(layer.declare(*example.inputs)))
    return Graph((*inputs, own), names, ("it",), None)


@pytest.mark.parametrize(("member", "example"), cases())
def test_every_layer_predicts_the_same(member: type[Layer], example: Example, tmp_path: Path) -> None:
    graph = alone(member.parse({"type": member.__name__, **example.config}), example)
    xs = dict(zip(graph.inputs, drawn(example, dtype=np.float32), strict=True))
    w = {f"it/{name}": array for name, array in weights(graph.node("it").layer, example.inputs).items()}
    problems = Numpy().problems(graph)
    if problems:
        assert "stateful" in str(example.config), [p.message for p in problems]
        return
    compare(graph, w, xs, tmp_path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.name))
def test_every_config_predicts_the_same(path: Path, tmp_path: Path) -> None:
    graph = check(path, ["dataset.limit=60"]).graph
    if problems := Numpy().problems(graph):
        assert all("before they enter the net" in p.message for p in problems)
        return
    rng = np.random.default_rng(2)
    w = {
        name: (0.2 * rng.standard_normal(spec.shape)).astype(np.float32) ** (2 if "variance" in name else 1)
        for name, spec in graph.weights().items()
    }
    compare(graph, w, samples(graph), tmp_path)


def compare(graph: Graph, w: Mapping[str, Array], xs: Mapping[str, Array], folder: Path) -> None:
    values = trace_forward(graph, training=False).values
    feeds = {f"x:{name}": x for name, x in xs.items()} | dict(w)
    rows = len(next(iter(xs.values())))
    expected = evaluate([values[name] for name in graph.outputs], feeds, rows, np.float32)
    path, _ = Numpy().write(Trained("net", graph, w), folder / "net.py")
    found: Any = opened(path).predict(*xs.values())
    found = list(found.values()) if isinstance(found, dict) else [found]
    for one, two in zip(expected, found, strict=True):
        assert two.dtype == one.dtype
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5 * max(1, np.abs(one).max()))


@pytest.mark.parametrize(
    "name", ['a"]; raise SystemExit; w["', "b'c, (d", "e\nraise SystemExit", '"""\nraise SystemExit', "class", "np"]
)
def test_no_name_becomes_code(name: str, tmp_path: Path) -> None:
    layer = Layer.parse({"type": "Dense", "units": 2, "activation": "relu"})
    inputs = Node("x", Input(shape=(3,)), (), (), (3,), "float")
    graph = Graph(
        (inputs, Node(name, layer, ("x",), (), (2,), "float", tuple(layer.declare((3,))))), ("x",), (name,), None
    )
    w = {f"{name}/kernel": np.ones((3, 2), np.float32), f"{name}/bias": np.ones(2, np.float32)}
    path, _ = Numpy().write(Trained(name, graph, w), tmp_path / "net.py")
    assert np.array_equal(opened(path).predict(np.ones((4, 3))), np.full((4, 2), 4))


def test_inputs_that_do_not_fit_are_told(tmp_path: Path) -> None:
    layer = Layer.parse({"type": "Dense", "units": 2})
    graph = alone(layer, Example({"units": 2}, ((3,),)))
    w = {f"it/{key}": array for key, array in weights(layer, ((3,),)).items()}
    made = opened(Numpy().write(Trained("net", graph, w), tmp_path / "net.py")[0])
    for wrong, words in ((np.ones((4, 2)), "samples of shape"), (np.ones((0, 3)), "one at least")):
        with pytest.raises(ValueError, match=words):
            made.predict(wrong)


def test_layers_that_keep_states_are_named() -> None:
    layer = Layer.parse({"type": "LSTM", "units": 2, "stateful": True})
    (problem,) = Numpy().problems(alone(layer, Example({}, ((5, 3),))))
    assert problem.code == "E603" and "from batch to batch" in problem.message
