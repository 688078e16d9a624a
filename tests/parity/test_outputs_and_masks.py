"""Whole trainings equal Keras's where there are several outputs, weighted samples, or masked positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity.keras_live import Twin

TWO = """
dataset: {type: npz, path: data.npz, inputs: {vector: vector, tokens: tokens}, targets: {kind: kind, place: place}}
layers:
  - {type: Input, name: vector, shape: [6]}
  - {type: Input, name: tokens, shape: [7], dtype: int32}
  - {type: Embedding, input_dim: 20, output_dim: 5, mask_zero: true, inputs: tokens}
  - {type: GRU, units: 4, name: read}
  - {type: Concatenate, inputs: [vector, read]}
  - {type: Dense, units: 8, activation: tanh, name: hidden}
  - {type: Dense, units: 3, activation: softmax, name: kind, inputs: hidden}
  - {type: Dense, units: 2, name: place, inputs: hidden}
outputs: [kind, place]
loss: {kind: sparse_categorical_crossentropy, place: mse}
loss_weights: {kind: 0.7, place: 0.3}
metrics: {kind: [accuracy], place: [mae]}
weighted_metrics: {kind: [accuracy], place: [mse]}
optimizer: adam
training: {epochs: 2, batch_size: 32, shuffle: false}
"""
MASKED = """
dataset: {type: npz, path: data.npz, x_train: tokens_train, y_train: tags_train, validation_split: 0.2}
layers: [{type: Embedding, input_dim: 20, output_dim: 5, mask_zero: true},
  {type: LSTM, units: 6, return_sequences: true}, {type: Dense, units: 4, activation: softmax}]
loss: sparse_categorical_crossentropy
optimizer: {type: Adam, use_ema: true, ema_momentum: 0.9, ema_overwrite_frequency: 3}
training: {epochs: 2, batch_size: 32, shuffle: false}
"""
WEIGHTED = """
dataset: {type: npz, path: data.npz, x_train: vector_train, y_train: kind_train}
layers: [{type: Dense, units: 7, activation: relu}, BatchNormalization, {type: Dense, units: 3}]
loss: {type: CategoricalCrossentropy, from_logits: true, reduction: REDUCTION}
metrics: [accuracy]
weighted_metrics: [{type: AUC, from_logits: true, name: area}]
optimizer: {type: SGD, learning_rate: 0.1, momentum: 0.5, clipvalue: 0.05}
training: {epochs: 2, batch_size: 32, shuffle: false}
"""


@pytest.mark.parametrize("text", [TWO, MASKED], ids=["two_outputs", "masked"])
def test_curves_of_nets_with_several_outputs_and_with_masks_equal_keras(text: str, tmp_path: Path) -> None:
    _compare(text, tmp_path)


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean_with_sample_weight"])
def test_curves_of_weighted_samples_equal_keras_under_every_reduction(reduction: str, tmp_path: Path) -> None:
    _compare(WEIGHTED.replace("REDUCTION", reduction), tmp_path)


def _compare(text: str, folder: Path) -> None:
    rng, n = np.random.default_rng(0), 150
    tokens = rng.integers(0, 20, (n, 7)).astype(np.int32)
    tokens[:, 4:][rng.random((n, 3)) < 0.5] = 0
    arrays = {
        "vector_train": rng.standard_normal((n, 6)).astype(np.float32),
        "tokens_train": tokens,
        "kind_train": rng.integers(0, 3, n),
        "place_train": rng.standard_normal((n, 2)).astype(np.float32),
        "tags_train": rng.integers(0, 4, (n, 7)),
    }
    if "tags" not in text:
        arrays["sample_weight_train"] = rng.uniform(0.2, 2, n).astype(np.float32)
    np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]
    (folder / "net.yaml").write_text(text)
    twin = Twin(folder / "net.yaml", folder, nudge=0.3)
    for epoch, (expected, found) in enumerate(zip(twin.theirs(), twin.ours(), strict=True)):
        assert set(expected) == set(found)
        for column, value in found.items():
            assert value == pytest.approx(expected[column], rel=2e-4, abs=2e-5), f"epoch {epoch}: {column}"
    for path, (mine, other) in twin.weights().items():
        np.testing.assert_allclose(mine, other, rtol=2e-3, atol=2e-4, err_msg=path)
