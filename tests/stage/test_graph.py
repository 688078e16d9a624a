"""The graph: Keras's names, order, shapes, weights, and structure written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kerascli.errors import Failure, SpecFailure
from kerascli.graph import Graph, Node, build
from kerascli.objective import objective
from kerascli.program.build import prediction_program
from kerascli.sources.base import InputInfo, Signature, TargetInfo
from kerascli.spec import Loaded, load

VECTOR = Signature({"x": InputInfo((4,), "float32")}, {"y": TargetInfo((), "int32", 3)})
SOFTMAX = "[{type: Dense, units: 3, activation: softmax}]"
IMAGE = Signature({"x": InputInfo((28, 28, 1), "uint8")}, {"y": TargetInfo((), "int32", 10)})


@pytest.fixture
def graph(tmp_path: Path) -> Any:
    def make(layers: str, signature: Signature = VECTOR, more: str = "") -> Graph:
        return build(written(tmp_path, layers, more), signature)

    return make


def written(folder: Path, layers: str, more: str = "") -> Loaded:
    (folder / "s.yaml").write_text(f"dataset: iris\nloss: mse\nlayers: {layers}\n{more}", "utf-8")
    return load(folder / "s.yaml")


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes]


def by_name(graph: Graph) -> dict[str, Node]:
    return {node.name: node for node in graph.nodes}


def test_layers_are_named_and_counted_as_keras_does(graph: Any) -> None:
    conv = "{type: Conv2D, filters: 2, kernel_size: 3}"
    found = graph(f"[{conv}, MaxPooling2D, {conv}, Flatten, {{type: Dense, units: 3, name: out}}]", IMAGE)
    assert names(found) == ["input_layer", "conv2d", "max_pooling2d", "conv2d_1", "flatten", "out"]
    assert (found.inputs, found.outputs) == (("input_layer",), ("out",))


def test_a_wrapped_layer_is_counted_before_its_wrapper(graph: Any) -> None:
    sequence = Signature({"x": InputInfo((5, 2), "float32")}, VECTOR.targets)
    both = "{type: Bidirectional, layer: {type: LSTM, units: 3, return_sequences: true}}"
    found = graph(f"[{both}, {{type: LSTM, units: 3}}]", sequence)
    assert names(found) == ["input_layer", "bidirectional", "lstm_1"]


def test_an_automatic_name_gives_way_to_a_written_one(graph: Any) -> None:
    assert names(graph("[{type: Dense, units: 2}, {type: Dense, units: 2, name: dense}]"))[1:] == ["dense_1", "dense"]


def test_shapes_and_weights_follow_the_layers(graph: Any) -> None:
    found = graph("[{type: Conv2D, filters: 32, kernel_size: 3}, {type: MaxPooling2D, pool_size: 2}, "
                  "Flatten, {type: Dense, units: 10}]", IMAGE)  # fmt: skip
    assert [n.shape for n in found.nodes] == [(28, 28, 1), (26, 26, 32), (13, 13, 32), (5408,), (10,)]
    assert {path: spec.shape for path, spec in found.weights().items()} == {
        "conv2d/kernel": (3, 3, 1, 32),
        "conv2d/bias": (32,),
        "dense/kernel": (5408, 10),
        "dense/bias": (10,),
    }
    assert found.count() == 3 * 3 * 32 + 32 + 5408 * 10 + 10


def test_integers_reach_the_first_layer_as_they_are(graph: Any) -> None:
    found = graph("[Flatten, {type: Dense, units: 3}]", IMAGE)
    assert found.nodes[0].dtype == "uint8"
    assert found.nodes[-1].dtype == "float"


def test_a_layer_may_read_one_that_is_written_later(graph: Any) -> None:
    early, late = "{type: Dense, units: 2, name: a, inputs: b}", "{type: Dense, units: 3, name: b, inputs: input_layer}"
    found = graph(f"[{early}, {late}]", more="outputs: [a]")
    assert names(found) == ["input_layer", "b", "a"]


def test_inputs_are_found_by_name_and_stand_first(graph: Any) -> None:
    two = Signature({"left": InputInfo((4,), "float32"), "right": InputInfo((6,), "int32")}, VECTOR.targets)
    left = "{type: Input, name: left}, {type: Dense, units: 3, name: a}"
    right = "{type: Input, name: right, shape: [null], dtype: int32}, {type: Dense, units: 3, name: b}"
    found = graph(f"[{left}, {right}, {{type: Add, inputs: [a, b]}}]", two)
    assert names(found) == ["left", "right", "a", "b", "add"]
    assert [by_name(found)[n].shape for n in ("left", "right", "b")] == [(4,), (6,), (3,)]
    assert by_name(found)["b"].inputs == ("right",)


def test_reuse_shares_weights_and_counts_them_once(graph: Any) -> None:
    own = "{type: Dense, units: 4, name: a}, {type: Dense, units: 4, name: b}"
    found = graph(f"[{own}, {{type: Reuse, layer: a, name: c}}, {{type: Reuse, layer: c, name: d}}]")
    assert [by_name(found)[n].shared for n in "abcd"] == [None, None, "a", "a"]
    assert sorted(found.weights()) == ["a/bias", "a/kernel", "b/bias", "b/kernel"]
    assert found.count() == 2 * (4 * 4 + 4)


def test_repeat_writes_its_layers_out_with_names_of_their_own(graph: Any) -> None:
    found = graph(
        "[{type: Repeat, times: 3, layers: [{type: Dense, units: 4, name: a}, {type: Dense, units: 4, inputs: a}]}]"
    )
    assert names(found)[1:] == ["a", "dense", "a_1", "dense_1", "a_2", "dense_2"]
    assert by_name(found)["dense_1"].inputs == ("a_1",)
    assert by_name(found)["a_2"].inputs == ("dense_1",)


def test_a_repeat_s_name_means_its_last_layer(graph: Any) -> None:
    found = graph("[{type: Repeat, name: block, times: 2, layers: [{type: Dense, units: 4}]}, "
                  "{type: Dense, units: 3, name: out, inputs: block}]")  # fmt: skip
    assert by_name(found)["out"].inputs == ("dense_1",)


def test_residual_adds_its_input_to_its_output(graph: Any) -> None:
    found = graph("[{type: Residual, name: sum, layers: [{type: Dense, units: 8}, {type: Dense, units: 4}]}]")
    assert names(found) == ["input_layer", "dense", "dense_1", "sum"]
    assert by_name(found)["sum"].inputs == ("input_layer", "dense_1")


def test_repeated_residual_blocks_keep_their_names_apart(graph: Any) -> None:
    block = "{type: Residual, layers: [{type: Dense, units: 4, name: a}, {type: Dense, units: 4, inputs: a}]}"
    found = graph(f"[{{type: Repeat, times: 2, layers: [{block}]}}]")
    assert names(found)[1:] == ["a", "dense", "add", "a_1", "dense_1", "add_1"]
    assert by_name(found)["add_1"].inputs == ("add", "dense_1")


def test_a_frozen_repeat_freezes_its_layers(graph: Any) -> None:
    found = graph(
        "[{type: Repeat, times: 1, trainable: false, layers: [{type: Dense, units: 4}]}, {type: Dense, units: 3}]"
    )
    assert (found.count(trainable=True), found.count(trainable=False)) == (4 * 3 + 3, 4 * 4 + 4)


def test_what_reads_a_wrong_layer_is_not_blamed_too(graph: Any) -> None:
    with pytest.raises(SpecFailure) as caught:
        graph("[{type: Conv2D, filters: 2, kernel_size: 3}, {type: Dense, units: 3}, {type: Dense, units: 2}]")
    assert [p.code for p in caught.value.problems] == ["E301"]


def test_all_shape_errors_are_shown_together(graph: Any) -> None:
    with pytest.raises(SpecFailure) as caught:
        graph("[{type: Conv2D, filters: 2, kernel_size: 3, inputs: input_layer, name: a}, "
              "{type: MaxPooling2D, inputs: input_layer, name: b}]", more="outputs: [a, b]")  # fmt: skip
    assert [p.code for p in caught.value.problems] == ["E301", "E301"]


def test_several_inputs_without_input_layers_are_a_problem(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "d.npz", left_train=np.zeros((4, 2)), right_train=np.zeros((4, 2)), y_train=np.zeros(4))
    data = "dataset: {type: npz, path: d.npz, inputs: {left: left, right: right}}"
    text = f"{data}\nloss: mse\nlayers: [{{type: Dense, units: 1}}]"
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SpecFailure) as caught:
        build(load(tmp_path / "s.yaml"))
    assert [p.code for p in caught.value.problems] == ["E309"]


@pytest.mark.parametrize(
    ("layers", "more", "encoding", "columns"),
    [
        (SOFTMAX, "loss: sparse_categorical_crossentropy", "integer", ["loss"]),
        (SOFTMAX, "loss: categorical_crossentropy", "one_hot", ["loss"]),
        (
            SOFTMAX,
            "loss: sparse_categorical_crossentropy\nmetrics: [accuracy, acc]",
            "integer",
            ["loss", "accuracy", "acc"],
        ),
        (
            "[{type: Dense, units: 1}]",
            "loss: mse\nmetrics: [mae, {type: MeanSquaredError}]",
            "none",
            ["loss", "mae", "mean_squared_error"],
        ),
    ],
)
def test_targets_are_encoded_as_the_loss_wants_them(
    tmp_path: Path, layers: str, more: str, encoding: str, columns: list[str]
) -> None:
    (tmp_path / "s.yaml").write_text(f"dataset: iris\nlayers: {layers}\n{more}\n")
    loaded = load(tmp_path / "s.yaml")
    found = objective(loaded, build(loaded, VECTOR), VECTOR)
    assert found.goals[0].encoding == encoding
    assert found.columns == columns
    assert not found.warnings


def test_several_outputs_have_their_own_losses_weights_and_columns(tmp_path: Path) -> None:
    text = """\
dataset: iris
layers:
  - {type: Dense, units: 3, activation: softmax, name: kind}
  - {type: Dense, units: 1, name: size, inputs: input_layer}
outputs: [kind, size]
loss: {size: mse, kind: sparse_categorical_crossentropy}
loss_weights: {size: 0.3}
metrics: {kind: [accuracy], size: mae}
"""
    (tmp_path / "s.yaml").write_text(text)
    loaded = load(tmp_path / "s.yaml")
    targets = {"kind": TargetInfo((), "int32", 3), "size": TargetInfo((), "float32")}
    signature = Signature(VECTOR.inputs, targets)
    found = objective(loaded, build(loaded, signature), signature)
    assert [(g.output, g.weight, g.encoding) for g in found.goals] == [("kind", 1.0, "integer"), ("size", 0.3, "none")]
    assert found.columns == ["loss", "kind_loss", "size_loss", "kind_accuracy", "size_mae"]


NESTED = """
  - type: Model
    name: m
    layers:
      - {type: Dense, units: 4, name: a}
      - {type: BatchNormalization, name: b}
      - {type: Reuse, layer: a, name: c, inputs: b}
    outputs: [c, b]
  - {type: Reuse, layer: m, name: n, inputs: input_layer}
  - {type: Concatenate, inputs: [m, "n:1"]}
"""


def test_a_nested_model_s_layers_have_names_of_their_own(graph: Any) -> None:
    found = graph(NESTED)
    assert [n.name for n in found.layers] == [
        "input_layer", "m/a", "m/b", "m/c", "n/a", "n/b", "n/c", "concatenate",
    ]  # fmt: skip
    assert by_name(found)["m/c"].shared == "m/a"
    assert by_name(found)["concatenate"].inputs == ("m", "n:1")
    assert by_name(found)["concatenate"].shape == (8,)


def test_a_second_call_of_a_nested_model_shares_all_its_weights(graph: Any) -> None:
    found = graph(NESTED)
    assert {n.name: n.shared for n in found.nodes if n.inside == "n" and n.weights} == {
        "n/a": "m/a", "n/b": "m/b", "n/c": "m/a",
    }  # fmt: skip
    assert sorted({path.rpartition("/")[0] for path in found.weights()}) == ["m/a", "m/b"]


def test_the_same_name_may_stand_inside_and_outside(graph: Any) -> None:
    inner = "{type: Model, name: a, layers: [{type: Dense, units: 4, name: a}]}"
    found = graph(f"[{inner}, {{type: Dense, units: 3, name: b}}, {{type: Model, name: c, layers: [{inner}]}}]")
    assert sorted(found.weights()) == ["a/a/bias", "a/a/kernel", "b/bias", "b/kernel", "c/a/a/bias", "c/a/a/kernel"]


def test_a_repeated_nested_model_is_another_each_time(graph: Any) -> None:
    found = graph("[{type: Repeat, times: 2, layers: [{type: Model, name: m, layers: [{type: Dense, units: 4}]}]}]")
    assert [n.name for n in found.layers] == ["input_layer", "m/dense", "m_1/dense_1"]
    assert by_name(found)["m_1/dense_1"].shared is None


@pytest.mark.parametrize("around", ["Model", "Residual", "Repeat, times: 1"])
def test_what_stands_in_something_frozen_is_frozen_itself(graph: Any, around: str) -> None:
    inner = "[{type: Dense, units: 4}, BatchNormalization]"
    found = graph(f"[{{type: {around}, trainable: false, layers: {inner}}}, {{type: Dense, units: 3}}]")
    kept = [n for n in found.layers if n.weights][:2]
    assert [(n.trainable, n.layer.trainable) for n in kept] == [(False, False)] * 2, "it is in inference mode in Keras"
    assert found.count(trainable=True) == 4 * 3 + 3


def test_calls_of_calls_are_bounded(graph: Any) -> None:
    layers = "{type: Dense, units: 4, name: l0}"
    for depth in range(1, 8):
        calls = ", ".join(f"{{type: Reuse, layer: l{depth - 1}}}" for _ in range(9))
        layers = f"{{type: Model, name: l{depth}, layers: [{layers}, {calls}]}}"
    with pytest.raises(SpecFailure) as caught:
        graph(f"[{layers}]")
    assert [p.code for p in caught.value.problems] == ["E305"]


def test_a_shared_layer_may_stand_after_its_second_call(graph: Any) -> None:
    found = graph("[{type: Reuse, name: first, layer: later}, {type: Dense, units: 4, name: later}]")
    assert (names(found), found.count()) == (["input_layer", "first", "later"], 20)


def test_a_mask_that_does_not_fit_is_told_by_the_layer_s_name(graph: Any) -> None:
    found = graph(
        "[{type: Masking}, {type: MultiHeadAttention, num_heads: 2, key_dim: 4, attention_axes: [1, 2], name: seen}]",
        Signature({"x": InputInfo((6, 4, 8), "float32")}, {}),
    )
    with pytest.raises(Failure, match=r"`seen` does not fit the masks .*\(6, 4, 4\) does not fit 24 queries"):
        prediction_program(found)
