"""Whole loss curves equal Keras's, from equal weights on the same batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity.keras_live import Twin

IMAGES = "{type: synthetic, kind: images, samples: 150, shape: [13, 12, 3], classes: 4, validation_split: 0.2}"
TOKENS = "{type: synthetic, kind: sequences, samples: 90, shape: [9], vocabulary: 30, validation_split: 0.2}"
VECTORS = "{type: synthetic, kind: classification, samples: 130, shape: [7], classes: 3, validation_split: 0.2}"
NUMBERS = "{type: synthetic, kind: regression, samples: 130, shape: [7], validation_split: 0.2}"
SOFTMAX = "{type: Dense, units: 4, activation: softmax}"
SPARSE = "loss: sparse_categorical_crossentropy\nmetrics: [accuracy]"

SPECS = {
    "cnn": f"""
dataset: {IMAGES}
layers: [{{type: Rescaling, scale: 0.004}}, {{type: Conv2D, filters: 6, kernel_size: 3, activation: relu}},
  {{type: MaxPooling2D}}, {{type: Conv2D, filters: 8, kernel_size: [3, 2], padding: same, activation: tanh}},
  {{type: AveragePooling2D, pool_size: 2, padding: same}}, Flatten, {SOFTMAX}]
{SPARSE}
optimizer: rmsprop
""",
    "batch_normalization": f"""
dataset: {IMAGES}
layers: [{{type: Rescaling, scale: 0.004}},
  {{type: Conv2D, filters: 32, kernel_size: 3, padding: same, use_bias: false}},
  BatchNormalization, ReLU, {{type: Conv2D, filters: 32, kernel_size: 3, use_bias: false}},
  {{type: BatchNormalization, momentum: 0.8}},
  ReLU, MaxPooling2D, GlobalAveragePooling2D, {SOFTMAX}]
{SPARSE}
optimizer: {{type: Adam, learning_rate: 0.01}}
""",
    "residual": f"""
dataset: {IMAGES}
layers: [{{type: Rescaling, scale: 0.004}}, {{type: Conv2D, filters: 5, kernel_size: 3, padding: same, name: a}},
  {{type: Conv2D, filters: 5, kernel_size: 3, padding: same, activation: elu, name: b}}, {{type: Add, inputs: [a, b]}},
  LayerNormalization, {{type: GlobalMaxPooling2D}}, {SOFTMAX}]
{SPARSE}
optimizer: {{type: SGD, momentum: 0.9, nesterov: true, learning_rate: 0.02, clipnorm: 0.5}}
""",
    "lstm": f"""
dataset: {TOKENS}
layers: [{{type: Embedding, input_dim: 30, output_dim: 5, mask_zero: true}},
  {{type: Bidirectional, layer: {{type: LSTM, units: 4, return_sequences: true}}}}, {{type: LSTM, units: 6}},
  {{type: Dense, units: 1, activation: sigmoid}}]
loss: binary_crossentropy
metrics: [accuracy, AUC]
optimizer: adam
""",
    "gru_and_simple_rnn": f"""
dataset: {TOKENS}
layers: [{{type: Embedding, input_dim: 30, output_dim: 5}}, {{type: GRU, units: 4, return_sequences: true}},
  {{type: SimpleRNN, units: 6, go_backwards: true}}, {{type: Dense, units: 2, activation: softmax}}]
loss: {{type: CategoricalCrossentropy, label_smoothing: 0.1}}
metrics: [accuracy, Precision]
optimizer: {{type: RMSprop, momentum: 0.5, centered: true}}
""",
    "penalties_and_weights": f"""
dataset: {VECTORS}
layers: [{{type: Dense, units: 9, activation: gelu, kernel_regularizer: l2, bias_regularizer: l1,
  kernel_constraint: {{type: MaxNorm, max_value: 1.0}}}}, {{type: Dense, units: 5, activity_regularizer: l2}},
  LeakyReLU,
  {{type: Dense, units: 3}}]
loss: {{type: SparseCategoricalCrossentropy, from_logits: true}}
metrics: [accuracy]
weighted_metrics: [accuracy]
optimizer: {{type: AdamW, learning_rate: {{type: ExponentialDecay, initial_learning_rate: 0.02, decay_steps: 5,
  decay_rate: 0.9}}, global_clipnorm: 1.0}}
training: {{class_weight: {{0: 1.0, 1: 3.0, 2: 0.5}}}}
""",
    "regression": f"""
dataset: {NUMBERS}
layers: [{{type: Dense, units: 9, activation: silu}}, {{type: Dense, units: 1}}]
loss: mse
metrics: [mae, RootMeanSquaredError]
optimizer: {{type: SGD, learning_rate: 0.05, gradient_accumulation_steps: 2}}
""",
}


@pytest.mark.parametrize("name", SPECS)
def test_loss_curves_equal_keras(name: str, tmp_path: Path) -> None:
    spec = tmp_path / f"{name}.yaml"
    text = SPECS[name]
    training = "training: {epochs: 3, batch_size: 32, shuffle: false}"
    if "training: {" in text:
        text = text.replace("training: {", training[:-1] + ", ")
    else:
        text += training
    spec.write_text(text)
    twin = Twin(spec, tmp_path, nudge=0.3)
    theirs, ours = twin.theirs(), twin.ours()
    for epoch, (expected, found) in enumerate(zip(theirs, ours, strict=True)):
        assert set(expected) - {"learning_rate"} == set(found)
        for column, value in found.items():
            assert value == pytest.approx(expected[column], rel=2e-4, abs=2e-5), f"epoch {epoch}: {column}"
    for path, (mine, other) in twin.weights().items():
        np.testing.assert_allclose(mine, other, rtol=2e-3, atol=2e-4, err_msg=path)
