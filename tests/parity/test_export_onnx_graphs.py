"""Graphs that ONNX files have to say as one: masks on their way, shared layers, branches, and operators that merge."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.parity.test_export_onnx_layers import END, TOKENS, graph_of, operators, same

BRANCH = "{type: Embedding, input_dim: 9, output_dim: 3, name: f, inputs: t}"
MEAN = "GlobalAveragePooling1D"
SEQUENCES = {
    "heads": "{type: MultiHeadAttention, num_heads: 2, key_dim: 2, value_dim: 3}",
    "heads-causal": "{type: MultiHeadAttention, num_heads: 2, key_dim: 2, use_causal_mask: true, dropout: 0.2}",
    "heads-without-bias": "{type: MultiHeadAttention, num_heads: 3, key_dim: 2, use_bias: false}",
    "heads-across": "BRANCH, {type: MultiHeadAttention, num_heads: 2, key_dim: 2, inputs: [f, e, e]}",
    "groups": "{type: GroupQueryAttention, head_dim: 2, num_query_heads: 4, num_key_value_heads: 2}",
    "groups-causal": "{type: GroupQueryAttention, head_dim: 2, num_query_heads: 4, num_key_value_heads: 2, "
    "use_causal_mask: true}",
    "dot": "{type: Attention, inputs: e, use_causal_mask: true}",
    "sum": "{type: AdditiveAttention, inputs: e}",
    "joined": "BRANCH, {type: Concatenate, axis: 1, inputs: [e, f]}",
    "softmax": "{type: Dot, axes: 2, inputs: [e, e]}, {type: Softmax, axis: 1}",
    "residual": "{type: Repeat, times: 2, layers: [{type: Residual, layers: [LayerNormalization, "
    "{type: Dense, units: 3, activation: gelu}]}]}",
    "nested": "{type: Model, layers: [{type: Conv1D, filters: 4, kernel_size: 3, padding: causal, dilation_rate: 2, "
    "activation: relu}, {type: SeparableConv1D, filters: 5, kernel_size: 2}]}",
    "shared": "BRANCH, {type: Dense, name: d, units: 3, inputs: e}, {type: Reuse, layer: d, name: d2, inputs: f}, "
    "{type: Subtract, inputs: [d, d2]}",
}


@pytest.mark.parametrize("layers", SEQUENCES.values(), ids=list(SEQUENCES))
def test_sequences_with_masks(layers: str, tmp_path: Path) -> None:
    start = "{type: Input, name: t, shape: [7], dtype: int32}"
    same(graph_of(tmp_path, start, TOKENS, layers.replace("BRANCH", BRANCH), MEAN, END))


IMAGES = {
    "branches": "{type: Conv2D, name: c, filters: 4, kernel_size: 3, padding: same, activation: relu, inputs: t}, "
    "{type: Conv2D, name: d, filters: 4, kernel_size: 1, inputs: t}, {type: Add, name: s, inputs: [c, d]}, "
    "{type: Concatenate, inputs: [s, c]}, {type: BatchNormalization}, {type: MaxPooling2D}",
    "squeeze": "{type: Conv2D, name: c, filters: 4, kernel_size: 3}, {type: GlobalAveragePooling2D, keepdims: true}, "
    "{type: Dense, name: g, units: 4, activation: sigmoid}, {type: Multiply, inputs: [c, g]}",
    "groups": "{type: Conv2D, filters: 6, kernel_size: 3, groups: 2, padding: same, strides: 2, activation: silu}",
    "frames": "{type: Reshape, target_shape: [2, 3, 6, 2]}, {type: TimeDistributed, layer: {type: Conv2D, filters: 2, "
    "kernel_size: 2}}, {type: TimeDistributed, layer: BatchNormalization}",
    "first": "{type: Permute, dims: [3, 1, 2]}, {type: Conv2D, filters: 4, kernel_size: 3, "
    "data_format: channels_first}, {type: MaxPooling2D, data_format: channels_first}",
}


@pytest.mark.parametrize("layers", IMAGES.values(), ids=list(IMAGES))
def test_images(layers: str, tmp_path: Path) -> None:
    start = "{type: Input, name: t, shape: [6, 6, 2]}"
    same(graph_of(tmp_path, start, layers, "Flatten", "{type: Dense, units: 2}", shape=(6, 6, 2), dtype="float32"))


def test_axes_are_put_in_order_once(tmp_path: Path) -> None:
    """Channels first from the first convolution to the last: only at both ends are axes moved."""
    layers = (
        "{type: Conv2D, name: c, filters: 4, kernel_size: 3, padding: same, activation: relu}",
        "BatchNormalization",
        "{type: MaxPooling2D, pool_size: 2}",
        "{type: Conv2D, filters: 4, kernel_size: 3, padding: same}",
        "{type: AveragePooling2D, pool_size: 3, strides: 1, padding: same}",
        "Flatten",
        "{type: Dense, units: 2}",
    )
    found = operators(graph_of(tmp_path, *layers, shape=(6, 6, 2), dtype="float32"))
    wanted = "Transpose Conv Relu Mul Add MaxPool Conv AveragePool Transpose Reshape Gemm"
    assert found == Counter(wanted.split())


def test_a_transformers_block_has_the_usual_operators(tmp_path: Path) -> None:
    block = "{type: Residual, layers: [LayerNormalization, {type: MultiHeadAttention, num_heads: 2, key_dim: 2}]}"
    found = operators(graph_of(tmp_path, TOKENS.replace("true", "false"), block, MEAN, "{type: Dense, units: 2}"))
    heads = "MatMul Add Split Mul" + 3 * " Reshape Transpose" + " MatMul Softmax MatMul Transpose Reshape MatMul Add"
    wanted = f"Clip Gather LayerNormalization {heads} Add ReduceMean Reshape Gemm"
    assert found == Counter(wanted.split())
