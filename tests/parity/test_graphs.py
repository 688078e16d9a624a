"""Nested models, shared layers and frozen parts are in Keras what they are here: files, predictions, training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli import keras_config, keras_files, keras_layout
from kerascli.exporters import exporter
from kerascli.exporters.base import Trained
from tests.parity.keras_live import Twin, keras
from tests.parity.test_keras_files import same, tree

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    # It does not: the mask reaches the layers inside, and what reads the model gets theirs.
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),
]

HEAD = """
dataset: {type: npz, path: data.npz, inputs: {INPUTS}, targets: {TARGETS}}
optimizer: OPTIMIZER
training: {epochs: 2, batch_size: 20, shuffle: false}
"""

SIAMESE = """
layers:
  - {type: Input, name: left}
  - {type: Input, name: right}
  - type: Model
    name: encoder
    inputs: left
    layers:
      - {type: Dense, units: 8, activation: tanh}
      - {type: BatchNormalization, name: norm, momentum: 0.7}
      - {type: Residual, layers: [{type: Dense, units: 8}]}
      - type: Model
        layers:
          - {type: Input, name: a}
          - {type: Dense, name: x, units: 3}
          - {type: Reuse, layer: x, inputs: a}
          - {type: Add, inputs: [x, reuse]}
          - {type: Dense, units: 4, inputs: add_1}
        outputs: [add_1, dense_2]
      - {type: Concatenate, inputs: [functional, "functional:1"]}
    outputs: [concatenate, norm]
  - {type: Reuse, name: right_code, layer: encoder, inputs: right}
  - {type: Subtract, inputs: [encoder, right_code]}
  - {type: Concatenate, inputs: [subtract, "encoder:1", "right_code:1"]}
  - {type: Dense, name: same, units: 1, activation: sigmoid}
loss: binary_crossentropy
metrics: [accuracy]
"""
MASKED = """
layers:
  - {type: Embedding, input_dim: 20, output_dim: 5, mask_zero: true}
  - type: Model
    name: read
    layers: [{type: LSTM, units: 4, return_sequences: true}, {type: Dense, units: 6}]
  - {type: GRU, units: 4}
  - {type: Dense, name: same, units: 1}
loss: mse
"""
TOKENS_INSIDE = """
layers:
  - {type: Model, name: words, layers: [{type: Embedding, input_dim: 20, output_dim: 5, mask_zero: true}, Dropout0]}
  - {type: LSTM, units: 4}
  - {type: Dense, name: same, units: 1}
loss: mse
""".replace("Dropout0", "{type: Dropout, rate: 0.0}")
PARTLY_FROZEN = """
layers:
  - {type: Dense, units: 7, trainable: false}
  - {type: BatchNormalization, name: before, momentum: 0.6}
  - {type: Model, name: kept, trainable: false, layers: [
      {type: Dense, units: 5}, {type: BatchNormalization, momentum: 0.6}, {type: Repeat, times: 2, layers: [
        {type: Residual, name: sum, layers: [{type: Dense, units: 5}]}]}]}
  - {type: Repeat, times: 2, trainable: false, layers: [{type: BatchNormalization, momentum: 0.6}]}
  - {type: Model, name: partly, layers: [
      {type: Dense, units: 5, trainable: false}, {type: BatchNormalization, momentum: 0.6},
      {type: Residual, trainable: false, layers: [{type: BatchNormalization, momentum: 0.6}]}, {type: Dense, units: 3}]}
  - {type: Dense, name: same, units: 1}
loss: mse
"""
TWO_BY_TWO = """
layers:
  - {type: Input, name: left, shape: [6]}
  - {type: Input, name: tokens, shape: [7], dtype: int32}
  - {type: Reuse, layer: both, name: early, inputs: [left, tokens]}
  - type: Repeat
    times: 2
    layers:
      - type: Model
        name: both
        inputs: [left, tokens]
        layers:
          - {type: Input, name: vector, shape: [6]}
          - {type: Input, name: words, dtype: int32}
          - {type: Embedding, input_dim: 20, output_dim: 4, mask_zero: true, inputs: words}
          - {type: LSTM, name: last, units: 3, return_sequences: true, return_state: true}
          - {type: Dense, name: left, units: 3, inputs: vector}
          - {type: Add, name: total, inputs: [left, "last:1"]}
        outputs: ["last:2", total]
      - {type: Add, name: sum, inputs: [both, "both:1"]}
  - {type: Concatenate, inputs: [early, "early:1", sum, sum_1]}
  - {type: Dense, name: same, units: 1}
  - {type: Dense, name: other, units: 2, inputs: sum_1}
outputs: [same, other]
loss: {same: mse, other: {type: Huber, name: hub}}
loss_weights: {same: 0.3}
metrics: {other: [mae]}
"""
SEVERAL_OF_ONE = """
layers:
  - {type: Reshape, target_shape: [2, 3]}
  - {type: LSTM, units: 2, name: read, return_state: true}
outputs: ["read:2", "read"]
loss: {"read:2": mse, read: {type: MeanAbsoluteError}}
loss_weights: {read: 0.3}
metrics: {read: [mse]}
"""
ENDS = """
layers:
  - type: Model
    name: m
    layers:
      - {type: Input, name: in}
      - {type: Dense, units: 4, name: unread}
      - {type: Dense, units: 6, name: used, inputs: in}
    outputs: [in, used, unread]
  - {type: Add, inputs: [m, "m:1"]}
  - {type: Dense, units: 1, name: same}
loss: mse
"""
ONE_STATE = """
layers: [{type: Reshape, target_shape: [2, 3]}, {type: GRU, units: 2, name: read, return_state: true}]
outputs: ["read:1"]
loss: mse
"""
INPUTS = {
    "ends": ("left: left", "same: same"),
    "one_state": ("left: left", '"read:1": other'),
    "siamese": ("left: left, right: right", "same: same"),
    "masked": ("tokens: tokens", "same: same"),
    "tokens_inside": ("tokens: tokens", "same: same"),
    "partly_frozen": ("left: left", "same: same"),
    "two_by_two": ("left: left, tokens: tokens", "same: same, other: other"),
    "several_of_one": ("left: left", '"read:2": other, read: other'),
}
NETS = {
    "siamese": SIAMESE,
    "masked": MASKED,
    "tokens_inside": TOKENS_INSIDE,
    "partly_frozen": PARTLY_FROZEN,
    "two_by_two": TWO_BY_TWO,
    "ends": ENDS,
    "one_state": ONE_STATE,
    "several_of_one": SEVERAL_OF_ONE,
}
SEVERAL = "several_of_one"
"""Keras gives both outputs one name, and so keeps the figures of one alone."""


def arrays() -> dict[str, Any]:
    rng, n = np.random.default_rng(0), 60
    tokens = rng.integers(1, 20, (n, 7)).astype(np.int32)
    tokens[:, 4:][rng.random((n, 3)) < 0.5] = 0
    return {
        "left_train": rng.standard_normal((n, 6)).astype(np.float32),
        "right_train": rng.standard_normal((n, 6)).astype(np.float32),
        "tokens_train": tokens,
        "same_train": rng.integers(0, 2, (n, 1)).astype(np.float32),
        "other_train": rng.standard_normal((n, 2)).astype(np.float32),
    }


def spec(name: str, folder: Path) -> Path:
    inputs, targets = INPUTS[name]
    np.savez(folder / "data.npz", **arrays())
    path = folder / "net.yaml"
    # Adam would make much of the rounding in gradients that are 0 but for it: those before a BatchNormalization.
    rule = "{type: SGD, momentum: 0.9}" if "frozen" in name else "{type: Adam, learning_rate: 0.01}"
    head = HEAD.replace("INPUTS", inputs).replace("TARGETS", targets).replace("OPTIMIZER", rule)
    path.write_text(head + NETS[name])
    return path


def test_several_outputs_of_one_layer_train_in_their_order(tmp_path: Path) -> None:
    twin = Twin(spec(SEVERAL, tmp_path), tmp_path, nudge=0.3)
    for expected, found in zip(twin.theirs(), twin.ours(), strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=2e-4)
        assert found["read_loss"] == pytest.approx(expected["read_loss"], rel=2e-4)
    for path, (mine, other) in twin.weights().items():
        np.testing.assert_allclose(mine, other, rtol=2e-3, atol=2e-4, err_msg=path)


@pytest.fixture(params=[name for name in NETS if name != SEVERAL])
def twin(request: pytest.FixtureRequest, tmp_path: Path) -> Twin:
    return Twin(spec(request.param, tmp_path), tmp_path, nudge=0.3)


def test_a_training_equals_keras_s(twin: Twin) -> None:
    for epoch, (expected, found) in enumerate(zip(twin.theirs(), twin.ours(), strict=True)):
        assert set(expected) == set(found)
        for column, value in found.items():
            assert value == pytest.approx(expected[column], rel=2e-4, abs=2e-5), f"epoch {epoch}: {column}"
    for path, (mine, other) in twin.weights().items():
        np.testing.assert_allclose(mine, other, rtol=2e-3, atol=2e-4, err_msg=path)


def test_keras_reads_and_writes_the_same_files(twin: Twin, tmp_path: Path) -> None:
    graph, found = twin.model.graph, twin.model.spec
    weights = {path: np.asarray(a) + k for k, (path, a) in enumerate(twin.runner.parameters.weights.items())}
    slots = {
        slot: {path: np.full(a.shape, k + j / 100, np.float32) for j, (path, a) in enumerate(sorted(weights.items()))}
        for k, slot in enumerate(found.optimizer.slots())
    }
    state = keras_layout.optimizer_state(graph, "net", found.optimizer, 7, 0.01, slots)
    ours = Trained("net", graph, weights, keras_config.compiled(found), state)
    config = keras_config.model(graph, "net")
    theirs = json.loads(keras.models.model_from_json(json.dumps(config)).to_json())
    same(config, theirs)

    (archive,) = exporter("keras").write(ours, tmp_path / "m.keras")
    model = keras.models.load_model(archive)
    assert len(model.optimizer.variables) == len(state.variables)
    for their, (key, value) in zip(model.optimizer.variables, state.variables.items(), strict=True):
        assert key.endswith(their.path.split("/", 1)[1])
        np.testing.assert_array_equal(their, value, err_msg=key)
    saved = tmp_path / "theirs.weights.h5"
    model.save_weights(saved)
    keras_files.save_weights(tmp_path / "ours.weights.h5", graph, weights, "net", state)
    assert tree(saved) == tree(tmp_path / "ours.weights.h5")
    (legacy,) = exporter("h5").write(ours, tmp_path / "m.h5")
    old = keras.models.load_model(legacy, compile=False)
    old.save(tmp_path / "theirs.h5")
    for file in (saved, archive, legacy, tmp_path / "theirs.h5"):
        read = keras_files.load_weights(file, graph)
        assert set(read) == set(weights)
        for path, array in read.items():
            np.testing.assert_array_equal(array, weights[path], err_msg=f"{file.name}: {path}")
