"""TimeDistributed against live Keras: outputs, averages, penalties, gradients, masks, training curves and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.check import check
from kerascli.component import Example
from kerascli.keras_config import layer as keras_config
from kerascli.layer import Layer
from kerascli.model import Model
from kerascli.runner import Runner
from tests.layer_cases import run, samples, weights
from tests.parity.keras_live import Twin
from tests.parity.one_layer import ROWS, compare, keras

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not support masking"),
]

NORMALIZATION = {"type": "BatchNormalization", "momentum": 0.6}
INNER: list[tuple[Any, tuple[int, ...]]] = [
    ({"type": "Dense", "units": 3, "activation": "tanh", "kernel_regularizer": "l2"}, (4, 2)),
    ({"type": "Dense", "units": 2, "activity_regularizer": "l2"}, (4, 2)),
    ({"type": "ActivityRegularization", "l2": 0.5}, (4, 2)),
    ({"type": "Conv1D", "filters": 2, "kernel_size": 2, "padding": "causal"}, (3, 4, 2)),
    ({"type": "Conv2D", "filters": 20, "kernel_size": 3, "activation": "relu"}, (2, 6, 6, 17)),
    ({"type": "Conv2D", "filters": 2, "kernel_size": 2, "data_format": "channels_first"}, (2, 3, 4, 4)),
    ({"type": "MaxPooling2D"}, (2, 4, 4, 3)),
    ("GlobalAveragePooling2D", (2, 4, 4, 3)),
    ({"type": "Reshape", "target_shape": [3, 2]}, (4, 6)),
    ({"type": "LSTM", "units": 2}, (3, 4, 2)),
    ({"type": "GRU", "units": 2, "return_sequences": True, "go_backwards": True}, (3, 4, 2)),
    ({"type": "Bidirectional", "layer": {"type": "LSTM", "units": 2}}, (3, 4, 2)),
    ({"type": "ConvLSTM1D", "filters": 2, "kernel_size": 2}, (2, 3, 4, 2)),
    ({"type": "TimeDistributed", "layer": {"type": "Dense", "units": 3}}, (3, 2, 2)),
    ({"type": "TimeDistributed", "layer": {"type": "LSTM", "units": 2}}, (2, 2, 3, 2)),
    (NORMALIZATION, (4, 3)),
    (NORMALIZATION, (3, 2, 2, 3)),
    ({**NORMALIZATION, "axis": 1, "scale": False}, (3, 2, 4)),
    ({**NORMALIZATION, "trainable": False}, (4, 3)),
    ({"type": "TimeDistributed", "layer": NORMALIZATION}, (2, 3, 3)),
    ({"type": "LayerNormalization"}, (4, 3)),
    ({"type": "Softmax"}, (4, 3)),
    ({"type": "PReLU"}, (4, 3)),
]


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("inner", "shape"), INNER, ids=[i if isinstance(i, str) else i["type"] for i, _ in INNER])
def test_numbers_are_those_of_keras(inner: Any, shape: tuple[int, ...], training: bool) -> None:
    compare({"type": "TimeDistributed", "layer": inner}, [shape], training)


def test_tokens_reach_an_embedding_whole() -> None:
    inner = {"type": "Embedding", "input_dim": 7, "output_dim": 3}
    compare({"type": "TimeDistributed", "layer": inner}, [(3, 4)], training=True, integers=7)


@pytest.mark.parametrize(
    ("inner", "shape", "masked"),
    [
        ({"type": "LSTM", "units": 2}, (3, 4, 2), (3, 4)),
        ({"type": "GRU", "units": 2, "return_sequences": True}, (3, 4, 2), (3, 4)),
        ({"type": "Bidirectional", "layer": {"type": "LSTM", "units": 2}}, (3, 4, 2), (3, 4)),
        ("GlobalAveragePooling1D", (3, 4, 2), (3, 4)),
        ({"type": "Dense", "units": 2}, (3, 2), (3,)),
        (NORMALIZATION, (4, 3), (4,)),
        (NORMALIZATION, (2, 4, 3), (2, 4)),
    ],
)
def test_masks_reach_the_layer_as_in_keras(inner: Any, shape: tuple[int, ...], masked: tuple[int, ...]) -> None:
    mask = np.random.default_rng(3).random((ROWS, *masked)) < 0.7
    mask[..., :1] = True  # Keras divides by zero where nothing is left
    mask[0] = True
    compare({"type": "TimeDistributed", "layer": inner}, [shape], training=True, mask=mask)


def test_activity_regularizers_inside_the_layer_count_at_every_step_as_in_keras() -> None:
    inner = {"type": "LSTM", "units": 2, "activity_regularizer": "l2"}
    layer = Layer.parse({"type": "TimeDistributed", "layer": {"type": "Bidirectional", "layer": inner}})
    (x,), w = samples(Example(inputs=((3, 4, 2),)), ROWS, np.float32), weights(layer, ((3, 4, 2),))
    twin = keras.saving.deserialize_keras_object(keras_config(layer, "layer", [(3, 4, 2)]))
    twin.set_weights(list(w.values()))
    twin(x)  # not stateless_call, which forgets all steps' penalties but the last
    assert run(layer, [x], w, True).penalty == pytest.approx(float(sum(twin.losses)), rel=1e-5)


IMAGES = "{type: synthetic, kind: images, samples: 60, shape: [10, 8, 3], classes: 4, validation_split: 0.2}"
TOKENS = "{type: synthetic, kind: sequences, samples: 60, shape: [12], vocabulary: 30, validation_split: 0.2}"
SPECS = {
    "strips of images": f"""
dataset: {IMAGES}
layers:
  - {{type: Rescaling, scale: 0.004}}
  - {{type: Reshape, target_shape: [2, 5, 8, 3]}}
  - {{type: TimeDistributed, layer: {{type: Conv2D, filters: 6, kernel_size: 2, activation: relu}}}}
  - {{type: TimeDistributed, layer: {{type: BatchNormalization, momentum: 0.8}}}}
  - {{type: TimeDistributed, layer: MaxPooling2D}}
  - {{type: TimeDistributed, name: flat, layer: Flatten}}
  - {{type: TimeDistributed, layer: {{type: Dense, units: 5, name: inner}}}}
  - {{type: LSTM, units: 4}}
  - {{type: Dense, units: 4, activation: softmax}}
loss: sparse_categorical_crossentropy
metrics: [accuracy]
optimizer: adam
training: {{epochs: 2, batch_size: 16, shuffle: false}}
""",
    "sentences of words": f"""
dataset: {TOKENS.replace("30", "3")}
layers:
  - {{type: Reshape, target_shape: [3, 4]}}
  - {{type: Embedding, input_dim: 30, output_dim: 5, mask_zero: true}}
  - {{type: TimeDistributed, layer: {{type: Dense, units: 4, activation: tanh}}}}
  - {{type: TimeDistributed, layer: {{type: Dense, units: 4, kernel_regularizer: l2, kernel_constraint: max_norm}}}}
  - {{type: TimeDistributed, layer: {{type: Bidirectional, layer: {{type: LSTM, units: 3}}}}}}
  - {{type: GRU, units: 4}}
  - {{type: Dense, units: 1, activation: sigmoid}}
loss: binary_crossentropy
optimizer: {{type: SGD, momentum: 0.9, learning_rate: 0.05}}
training: {{epochs: 2, batch_size: 16, shuffle: false}}
""",
    "reused": f"""
dataset: {TOKENS}
layers:
  - {{type: Embedding, input_dim: 30, output_dim: 5}}
  - {{type: Reshape, name: x, target_shape: [3, 4, 5]}}
  - {{type: TimeDistributed, name: a, inputs: x, layer: {{type: TimeDistributed, layer: {{type: Dense, units: 5}}}}}}
  - {{type: Reuse, name: b, layer: a, inputs: a}}
  - {{type: Add, inputs: [a, b]}}
  - Flatten
  - {{type: Dense, units: 1, activation: sigmoid}}
loss: binary_crossentropy
optimizer: rmsprop
training: {{epochs: 2, batch_size: 16, shuffle: false}}
""",
}


@pytest.mark.parametrize("name", SPECS)
def test_whole_curves_and_files_are_those_of_keras(name: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPECS[name])
    twin = Twin(tmp_path / "spec.yaml", tmp_path, nudge=0.3)
    mine, other = twin.ours(), twin.theirs()
    for ours, theirs in zip(mine, other, strict=True):
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, rel=2e-4, abs=1e-5), key
    for path, (array, kept) in twin.weights().items():
        np.testing.assert_allclose(array, kept, rtol=2e-3, atol=2e-4, err_msg=path)


def test_what_is_masked_within_all_of_a_step_masks_the_step(tmp_path: Path) -> None:
    """Where the inner axis is gone, Keras leaves the wide mask, on which all layers but recurrent ones fail."""
    spec = """
dataset: {type: synthetic, kind: sequences, samples: 16, shape: [12], vocabulary: 3}
layers:
  - {type: Reshape, target_shape: [3, 4]}
  - {type: Embedding, input_dim: 3, output_dim: 2, mask_zero: true}
  - {type: TimeDistributed, layer: {type: LSTM, units: 3}}
  - {type: MultiHeadAttention, num_heads: 2, key_dim: 2}
  - {type: GlobalAveragePooling1D}
  - {type: Dense, units: 1}
loss: mse
"""
    (tmp_path / "spec.yaml").write_text(spec)
    runner = Runner(Model.of(check(tmp_path / "spec.yaml")), 1)
    runner.initialise()
    alone, thrice = [1, 2, 0, 1, *[0] * 8], [1, 2, 0, 1] * 3
    with runner.session:
        (name,) = runner.model.graph.inputs
        (y,) = runner.predict({name: np.array([alone, thrice], np.int32)}).values()
    np.testing.assert_allclose(y[0], y[1], rtol=1e-5)
