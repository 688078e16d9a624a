"""What `--format onnx` writes predicts in onnxruntime what the engine predicts: every layer, every config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from kerascli.check import check
from kerascli.component import Example
from kerascli.errors import Failure
from kerascli.exporters.base import PREPROCESSING, Trained
from kerascli.exporters.onnx import OPSET, Onnx, model
from kerascli.exporters.quantization import packed, unpacked
from kerascli.exporters.readback import samples
from kerascli.graph import Graph, Node
from kerascli.layer import Layer
from kerascli.layers.structure import Input
from kerascli.ops.ir import Array
from kerascli.predictions import Reading
from kerascli.program.build import trace_forward
from kerascli.program.interpret import evaluate
from tests.layer_cases import before_the_net, cases, weights
from tests.layer_cases import samples as drawn
from tests.parity.test_export_numpy import CONFIGS, alone

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

BEFORE_THE_NET = {"HashedCrossing", "Hashing", "StringLookup", "TextVectorization"}
"""Layers that have no ONNX form, because they read texts or hash before the net; no other layer lacks one."""


@pytest.mark.parametrize(("member", "example"), cases())
def test_every_layer_predicts_the_same(member: type[Layer], example: Example) -> None:
    graph = alone(member.parse({"type": member.__name__, **example.config}), example)
    if problems := Onnx().problems(graph):
        assert "stateful" in str(example.config), [p.message for p in problems]
        return
    w = {f"it/{name}": array for name, array in weights(graph.node("it").layer, example.inputs).items()}
    xs = dict(zip(graph.inputs, drawn(example, dtype=np.float32), strict=True))
    compare(Trained("net", graph, w), xs)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.name))
def test_every_config_predicts_the_same(path: Path) -> None:
    graph = check(path, ["dataset.limit=60"]).graph
    if problems := Onnx().problems(graph):
        assert all("before they enter the net" in p.message for p in problems)
        return
    found = compare(Trained("net", graph, drawn_weights(graph)), samples(graph))
    assert all(np.ptp(y, axis=0).max() > 1e-4 for y in found), "all samples look the same"


@pytest.mark.parametrize("way", ["float16", "int8"])
@pytest.mark.parametrize("name", ["mnist_cnn", "transformer_text", "text_bilstm", "unet"])
def test_weights_in_fewer_bits_predict_what_they_stand_for(name: str, way: str) -> None:
    graph = check(CONFIGS[0].parent / f"{name}.yaml", ["dataset.limit=60"]).graph
    w = drawn_weights(graph)
    trained = Trained("net", graph, w, quantize=way)
    whole, less = (len(model(t).SerializeToString()) for t in (Trained("net", graph, w), trained))
    assert less < whole * (0.6 if way == "float16" else 0.5)
    compare(trained, samples(graph), unpacked(packed(w, way)))


def drawn_weights(graph: Graph) -> dict[str, Array]:
    """Such that what goes through the net neither dies out nor grows."""
    rng = np.random.default_rng(2)
    found = {}
    for name, spec in graph.weights().items():
        normal = rng.standard_normal(spec.shape) / np.sqrt(np.prod(spec.shape[:-1]))
        found[name] = (rng.uniform(0.5, 1.5, spec.shape) if "variance" in name else normal).astype(np.float32)
    return found


def compare(trained: Trained, xs: Mapping[str, Array], w: Mapping[str, Array] | None = None) -> list[Array]:
    """The file is as the standard asks, and predicts the same, for one sample and for all: these predictions."""
    made = model(trained)
    onnx.checker.check_model(made, full_check=True)
    assert {domain.domain for domain in made.opset_import} == {""}
    session = opened(made.SerializeToString())
    values = trace_forward(trained.graph, training=False).values
    wanted = [values[name] for name in trained.graph.outputs]
    expected: list[Array] = []
    for rows in (1, len(next(iter(xs.values())))):
        part = {name: x[:rows] for name, x in xs.items()}
        feeds = {f"x:{name}": x for name, x in part.items()} | dict(trained.weights if w is None else w)
        expected = evaluate(wanted, feeds, rows, np.float32)
        for one, two in zip(expected, session.run(list(trained.graph.outputs), part), strict=True):
            assert two.dtype == one.dtype
            np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5 * max(1, np.abs(one).max()))
    return expected


def opened(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def test_only_layers_that_read_raw_data_have_no_form() -> None:
    members = {member for member in Layer.names().values() if before_the_net(member)}
    refused: dict[str, set[str]] = {}
    for member in members:
        for example in member.examples:
            graph = alone(member.parse({"type": member.__name__, **example.config}), example)
            for problem in Onnx().problems(graph):
                assert problem.code == "E603"
                refused.setdefault(member.__name__, set()).add(problem.message)
    assert refused.keys() == BEFORE_THE_NET
    for name, messages in refused.items():
        assert {f"an ONNX file cannot hold {name} `it`: it works on the data before they enter the net"} == messages


def test_layers_that_keep_states_are_named() -> None:
    layer = Layer.parse({"type": "LSTM", "units": 2, "stateful": True})
    (problem,) = Onnx().problems(alone(layer, Example({}, ((5, 3),))))
    assert "LSTM `it`: it keeps its states from batch to batch" in problem.message


def test_a_model_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerascli.exporters.onnx.MOST", 20)
    with pytest.raises(Failure, match="larger than the 2 GB"):
        Onnx().write(Trained("net", net(["again"]), kernel()), tmp_path / "net.onnx")
    assert not any(tmp_path.iterdir())


def test_the_file_says_what_it_is() -> None:
    graph = net(["probabilities"])
    raw = b'{"features": ["\xc3\xa4"]}'
    readings = (Reading("probabilities", "classes", ("Käfer", "Fliege")),)
    made = model(Trained("insects", graph, kernel(), attachments={PREPROCESSING: raw}, readings=readings))
    facts = {entry.key: entry.value for entry in made.metadata_props}
    assert json.loads(facts["classes"]) == {"probabilities": ["Käfer", "Fliege"]}
    assert facts["preprocessing"].encode() == raw
    assert (made.graph.name, made.producer_name, made.opset_import[0].version) == ("insects", "kerascli", OPSET)
    (x,), (y,) = made.graph.input, made.graph.output
    assert x.name == "x" and x.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert y.name == "probabilities" and y.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {tensor.name for tensor in made.graph.initializer} == {"first/kernel", "first/bias"}


def test_an_output_may_be_an_input_or_another_output_again() -> None:
    compare(Trained("net", net(["x", "probabilities", "again"]), kernel()), XS)


@pytest.mark.parametrize("name", ["x/Gemm", "first/kernel", "constant", 'a "b"\n: c', "ä/é"])
def test_any_name_may_be_an_outputs(name: str) -> None:
    compare(Trained(name, net([name], last=name), kernel()), XS)


XS = {"x": np.arange(12, dtype=np.float32).reshape(4, 3)}


def kernel() -> dict[str, Array]:
    return {
        "first/kernel": np.array([[1, 2], [3, 5], [8, 4]], np.float32) / 9,
        "first/bias": np.arange(2, dtype=np.float32),
    }


def net(outputs: list[str], last: str = "again") -> Graph:
    """A Dense, a softmax, and that passed on."""
    dense = Layer.parse({"type": "Dense", "units": 2})
    nodes = (
        Node("x", Input(shape=(3,)), (), (), (3,), "float"),
        Node("first", dense, ("x",), (), (2,), "float", tuple(dense.declare((3,)))),
        Node("probabilities", Layer.parse({"type": "Softmax"}), ("first",), (), (2,), "float"),
        Node(last, Layer.parse({"type": "Dropout", "rate": 0.5}), ("probabilities",), (), (2,), "float"),
    )
    return Graph(nodes, ("x",), tuple(outputs), None)
