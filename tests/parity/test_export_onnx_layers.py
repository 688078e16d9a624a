"""What layers alone cannot show of ONNX files: masks, states that go on, and that what is one thing is one node."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from kerascli import spec
from kerascli.exporters.base import Trained
from kerascli.exporters.onnx import Onnx, model
from kerascli.exporters.readback import check, samples
from kerascli.graph import Graph, build
from kerascli.program.build import trace_forward
from kerascli.program.interpret import evaluate
from kerascli.sources.base import InputInfo, Signature, TargetInfo
from tests.parity.test_export_onnx import compare, drawn_weights, opened

TOKENS = "{type: Embedding, input_dim: 9, output_dim: 3, mask_zero: true, name: e}"
END = "{type: Flatten}, {type: Dense, units: 2}"
OTHER = {
    "LSTM-relu": "{type: LSTM, activation: relu, recurrent_activation: hard_sigmoid",
    "LSTM-leaky": "{type: LSTM, activation: {type: leaky_relu, negative_slope: 0.3}, recurrent_activation: elu",
    "LSTM-linear": "{type: LSTM, activation: null, recurrent_activation: sparse_sigmoid",
    "GRU-softplus": "{type: GRU, activation: softplus, recurrent_activation: softsign",
    "GRU-before": "{type: GRU, reset_after: false",
    "GRU-before-relu": "{type: GRU, reset_after: false, activation: relu",
    "SimpleRNN-sigmoid": "{type: SimpleRNN, activation: sigmoid, use_bias: false",
}
"""Cells that the engine writes out step by step."""
CELLS = {"LSTM": "{type: LSTM", "GRU": "{type: GRU", "SimpleRNN": "{type: SimpleRNN", **OTHER}
WAYS = {
    "last": "%s, units: 3}",
    "backwards": "%s, units: 3, go_backwards: true, return_sequences: true}",
    "zeroed": "%s, units: 3, return_sequences: true, zero_output_for_mask: true}",
    "both-ways": "{type: Bidirectional, layer: %s, units: 2, return_sequences: true}}",
}


def graph_of(folder: Path, *layers: str, shape: tuple[int, ...] = (7,), dtype: str = "int32") -> Graph:
    path = folder / "model.yaml"
    head = "dataset: {type: synthetic, kind: sequences, samples: 8, shape: [7], vocabulary: 9}\n"
    path.write_text(f"{head}layers: [{', '.join(layers)}]\nloss: mse\n")
    return build(spec.load(path), Signature({"x": InputInfo(shape, dtype)}, {"y": TargetInfo((2,), "float32")}))


def operators(graph: Graph) -> Counter[str]:
    return Counter(node.op_type for node in model(Trained("net", graph, drawn_weights(graph))).graph.node)


def same(graph: Graph) -> None:
    """Of tokens, the first sample is masked throughout, others at the beginning, at the end, or here and there."""
    rng = np.random.default_rng(3)
    name, node = graph.inputs[0], graph.node(graph.inputs[0])
    if node.dtype == "int32":
        x = rng.integers(1, 9, (6, *node.shape)).astype(np.int32)
        x[0], x[1, :3], x[2, 4:], x[3, 2:6:2], x[4, 1:] = 0, 0, 0, 0, 0
    else:
        x = rng.standard_normal((6, *node.shape)).astype(np.float32)
    compare(Trained("net", graph, drawn_weights(graph)), {name: x})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cell", CELLS)
def test_steps_that_a_mask_leaves_out_keep_the_states(cell: str, way: str, tmp_path: Path) -> None:
    graph = graph_of(tmp_path, TOKENS, WAYS[way] % CELLS[cell], END)
    same(graph)
    assert operators(graph)[{"SimpleRNN": "RNN"}.get(kind := cell.partition("-")[0], kind)] == 1 + (way == "both-ways")


@pytest.mark.parametrize("cell", CELLS)
def test_last_states_begin_another_sequence(cell: str, tmp_path: Path) -> None:
    count = 2 if cell.startswith("LSTM") else 1
    ends = [", ".join(f'"{name}:{k + 1}"' for k in range(count)) for name in ("one", "two")]
    one = f"{CELLS[cell]}, units: 3, return_state: true, name: one}}"
    more = f"return_sequences: true, return_state: true, go_backwards: true, initial_state: [{ends[0]}]"
    two = f"{CELLS[cell]}, units: 3, inputs: e, {more}, name: two}}"
    joined = f"{{type: Concatenate, inputs: [flat, one, {ends[1]}]}}"
    flat = "{type: Flatten, inputs: two, name: flat}"
    same(graph_of(tmp_path, TOKENS, one, two, flat, joined, "{type: Dense, units: 2}"))


def test_cells_of_a_stack_are_an_operator_each(tmp_path: Path) -> None:
    stack = "{type: RNN, cell: [{type: LSTMCell, units: 3}, {type: GRUCell, units: 2, reset_after: false}]}"
    graph = graph_of(tmp_path, TOKENS, stack, "{type: Dense, units: 2}")
    same(graph)
    found = operators(graph)
    assert (found["LSTM"], found["GRU"]) == (1, 1)


@pytest.mark.parametrize("activation", ["gelu", "silu", "relu6"])
def test_functions_that_onnx_lacks_in_recurrent_nets_are_written_step_by_step(activation: str, tmp_path: Path) -> None:
    graph = graph_of(tmp_path, TOKENS, f"{{type: GRU, units: 2, activation: {activation}}}", "{type: Dense, units: 2}")
    same(graph)
    assert not operators(graph)["GRU"]


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ("{type: DepthwiseConv2D, kernel_size: 2, depth_multiplier: 3}", {"Conv": 1, "Expand": 0}),
        ("{type: UpSampling2D}, {type: DepthwiseConv2D, kernel_size: 3, padding: same}", {"Conv": 1, "Pad": 0}),
        (
            "{type: Conv2D, filters: 2, kernel_size: 1}, {type: UpSampling2D, size: [3, 1]}, {type: ReLU}",
            {"Resize": 1, "Transpose": 2, "Reshape": 1},
        ),
        ("{type: SeparableConv2D, filters: 4, kernel_size: 3}", {"Conv": 2, "Transpose": 2, "MatMul": 0}),
        ("{type: Conv2DTranspose, filters: 3, kernel_size: 4, strides: 2, padding: same}", {"Transpose": 2}),
        ("{type: Conv2D, filters: 4, kernel_size: 1}, {type: ZeroPadding2D}, {type: MaxPooling2D}", {"Transpose": 2}),
        (
            "{type: Conv2D, filters: 4, kernel_size: 1}, {type: AdaptiveAveragePooling2D, output_size: 3}",
            {"Transpose": 2},
        ),
        (
            "{type: Conv2D, filters: 2, kernel_size: 1}, {type: Resizing, height: 9, width: 2, interpolation: nearest}",
            {"Transpose": 2},
        ),
        (
            "{type: Conv2D, filters: 4, kernel_size: 2}, {type: AdaptiveMaxPooling2D, output_size: [1, 2]}",
            {"Transpose": 2},
        ),
    ],
    ids=["multiplier", "enlarged", "repeated", "separable", "transposed", "padded", "adaptive", "nearest", "even"],
)
def test_convolutions_are_one_operator_beside_others(layers: str, wanted: dict[str, int], tmp_path: Path) -> None:
    graph = graph_of(tmp_path, layers, END, shape=(5, 6, 3), dtype="float32")
    same(graph)
    found = operators(graph)
    assert {kind: found[kind] for kind in wanted} == wanted


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_sequences_are_convolved_channel_by_channel(padding: str, tmp_path: Path) -> None:
    conv = f"{{type: DepthwiseConv1D, kernel_size: 3, depth_multiplier: 2, padding: {padding}}}"
    same(graph_of(tmp_path, "{type: ZeroPadding1D, padding: 2}", conv, END, shape=(7, 3), dtype="float32"))


def test_convolutions_of_sequences_follow_each_other_without_transpositions(tmp_path: Path) -> None:
    layers = ["causal", "same", "valid"]
    convs = [f"{{type: Conv1D, filters: {k + 2}, kernel_size: 2, padding: {p}}}" for k, p in enumerate(layers)]
    rest = "{type: MaxPooling1D}, {type: SeparableConv1D, filters: 2, kernel_size: 2}"
    graph = graph_of(tmp_path, *convs, rest, END, shape=(9, 3), dtype="float32")
    same(graph)
    found = operators(graph)
    assert (found["Conv"], found["Transpose"]) == (5, 2)


def test_what_is_no_number_falls_into_the_last_bin(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "{type: Discretization, bin_boundaries: [-1.0, 0.5]}", shape=(4,), dtype="float32")
    x = np.array([[np.nan, -np.inf, np.inf, 0.5], [-1, -1.0001, 0.4999, 7]], np.float32)
    compare(Trained("net", graph, {}), {graph.inputs[0]: x})


@pytest.mark.parametrize(
    "layer",
    [
        "{type: IntegerLookup, vocabulary: [12, 36, 1138, 42]}",
        "{type: IntegerLookup, vocabulary: [3, 5], output_mode: count}",
        "{type: IntegerLookup, vocabulary: [3, 5], num_oov_indices: 3, mask_token: 0}",
        "{type: IntegerLookup, vocabulary: [3, 5], mask_token: 7, output_mode: multi_hot, max_tokens: 9,"
        " pad_to_max_tokens: true}",
        "{type: IntegerLookup, vocabulary: [4, 2], output_mode: tf_idf, idf_weights: [0.5, 2.0]}",
        "{type: IntegerLookup, vocabulary: [4, 2], output_mode: one_hot}",
        "{type: IntegerLookup, vocabulary: [30, 20], invert: true, mask_token: -5}",
        "{type: Discretization, bin_boundaries: [1.0, 3.5]}, {type: IntegerLookup, vocabulary: [2, 1]}",
    ],
)
def test_whole_numbers_are_looked_up_in_the_file(layer: str, tmp_path: Path) -> None:
    graph = graph_of(tmp_path, layer, "{type: Rescaling, scale: 2.0}", shape=(4,))
    x = np.array([[-4, 0, 1, 2], [3, 4, 5, 7], [12, 1138, 36, 42], [0, 0, 0, 0], [-5, 9, 99999, -1]], np.int32)
    session = opened(model(Trained("net", graph, {})).SerializeToString())
    values = trace_forward(graph, training=False).values
    for rows in (5, 1):
        given = graph.served({graph.inputs[0]: x[:rows]})
        (expected,) = evaluate([values[graph.outputs[0]]], {f"x:{k}": v for k, v in given.items()}, rows, np.float32)
        (found,) = session.run(None, {graph.inputs[0]: x[:rows]})
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("{type: IntegerLookup, vocabulary: [3], num_oov_indices: 0}", "cannot stop at a number"),
        ("{type: IntegerLookup, vocabulary: [3], num_oov_indices: 2, oov_method: farmhash}", "no FarmHash"),
        ("{type: Hashing, num_bins: 3}", "before they enter the net"),
    ],
)
def test_what_no_operator_looks_up_is_told(layer: str, reason: str, tmp_path: Path) -> None:
    (problem,) = Onnx().problems(graph_of(tmp_path, layer, "{type: Rescaling, scale: 2.0}"))
    assert problem.code == "E603" and reason in problem.message


def test_the_check_of_a_file_knows_words_of_its_vocabulary(tmp_path: Path) -> None:
    layers = "{type: IntegerLookup, vocabulary: [500, 700]}, {type: Embedding, input_dim: 3, output_dim: 2}"
    graph = graph_of(tmp_path, layers, shape=(4,))
    assert {500, 700} < {*samples(graph)[graph.inputs[0]].reshape(-1).tolist()}
    trained = Trained("net", graph, drawn_weights(graph))
    files = Onnx().write(trained, tmp_path / "net.onnx")
    found = check(graph, trained.weights, lambda inputs: Onnx().read_back(files, trained, inputs))
    assert found.passed and found.difference == 0
