"""ConvLSTM against live Keras: outputs, states, gradients, masks, training curves and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.component import Example
from kerascli.layer import Layer
from kerascli.ops.ir import Shape
from tests.layer_cases import run, samples, weights
from tests.parity.keras_live import Twin
from tests.parity.one_layer import ROWS, compare, keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CASES: list[tuple[str, dict[str, Any], list[Shape]]] = [
    ("ConvLSTM1D", {"kernel_size": 2}, [(3, 5, 2)]),
    ("ConvLSTM1D", {"kernel_size": 3, "strides": 2, "padding": "same", "return_sequences": True}, [(3, 7, 2)]),
    ("ConvLSTM1D", {"kernel_size": 2, "dilation_rate": 2, "go_backwards": True, "return_state": True}, [(3, 6, 2)]),
    ("ConvLSTM2D", {"kernel_size": [2, 3], "return_sequences": True, "go_backwards": True}, [(3, 4, 4, 2)]),
    ("ConvLSTM2D", {"kernel_size": 2, "activation": "relu", "recurrent_activation": "hard_sigmoid"}, [(3, 4, 3, 1)]),
    ("ConvLSTM2D", {"kernel_size": 2, "use_bias": False, "data_format": "channels_first"}, [(3, 2, 3, 4)]),
    (
        "ConvLSTM2D",
        {"kernel_size": 2, "data_format": "channels_first", "return_sequences": True, "return_state": True},
        [(2, 2, 3, 4), (2, 2, 3), (2, 2, 3)],
    ),
    (
        "ConvLSTM2D",
        {"kernel_size": 1, "return_state": True, "return_sequences": True},
        [(3, 2, 3, 1), *[(2, 3, 2)] * 2],
    ),
    ("ConvLSTM2D", {"kernel_size": 2, "recurrent_regularizer": "l1", "bias_regularizer": "l2"}, [(2, 3, 3, 1)]),
    ("ConvLSTM2D", {"kernel_size": 3, "padding": "same", "filters": 18}, [(2, 8, 8, 17)]),
    ("ConvLSTM3D", {"kernel_size": [1, 2, 2], "return_sequences": True}, [(2, 2, 3, 3, 1)]),
    ("ConvLSTM3D", {"kernel_size": 2, "padding": "same", "strides": 2, "return_state": True}, [(2, 2, 3, 4, 2)]),
]


@pytest.mark.parametrize(("kind", "config", "shapes"), CASES)
def test_numbers_are_those_of_keras(kind: str, config: dict[str, Any], shapes: list[Shape]) -> None:
    compare({"type": kind, "filters": 2, **config}, shapes, training=True)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("ConvLSTM2D", {"kernel_size": 2}),
        ("ConvLSTM2D", {"kernel_size": 2, "return_sequences": True, "go_backwards": True, "return_state": True}),
        ("ConvLSTM1D", {"kernel_size": 2, "return_sequences": True}),
    ],
)
def test_masked_steps_leave_the_state_as_in_unrolled_keras(kind: str, config: dict[str, Any]) -> None:
    shape: Shape = (4, 4, 3, 2) if kind == "ConvLSTM2D" else (4, 4, 2)
    mask = np.array([[1, 1, 0, 1], [0, 1, 0, 0], [1, 1, 1, 1]], bool)
    assert len(mask) == ROWS
    compare({"type": kind, "filters": 2, **config}, [shape], mask=mask, unroll=True)


def test_the_activity_regularizer_counts_outputs_and_states_as_in_keras() -> None:
    config = {"filters": 2, "kernel_size": 2, "activity_regularizer": "l2", "return_state": True}
    layer = Layer.parse({"type": "ConvLSTM1D", **config})
    (x,), w = samples(Example(inputs=((2, 3, 2),)), ROWS, np.float32), weights(layer, ((2, 3, 2),))
    twin = keras.layers.ConvLSTM1D(**config)
    twin.build(x.shape)
    twin.set_weights(list(w.values()))
    twin(x)  # not stateless_call, which leaves the penalty out
    assert run(layer, [x], w, True).penalty == pytest.approx(float(sum(twin.losses)), rel=1e-5)


@pytest.mark.parametrize(
    ("inner", "config", "masked"),
    [
        ({"return_sequences": True, "return_state": True, "strides": 2}, {"merge_mode": "sum"}, False),
        ({"return_sequences": True, "data_format": "channels_first"}, {}, False),
        ({"return_state": True, "go_backwards": True}, {"merge_mode": None}, False),
        ({"return_sequences": True}, {"merge_mode": "ave"}, True),
    ],
)
def test_bidirectional_reads_images_both_ways(inner: dict[str, Any], config: dict[str, Any], masked: bool) -> None:
    mask = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1]], bool) if masked else None
    layer = {"type": "ConvLSTM2D", "filters": 2, "kernel_size": 2, "unroll": masked, **inner}
    compare({"type": "Bidirectional", "layer": layer, **config}, [(3, 3, 4, 3)], mask=mask)


def test_bidirectional_takes_states_for_both_ways() -> None:
    layer = {"type": "ConvLSTM1D", "filters": 2, "kernel_size": 2, "return_sequences": True, "return_state": True}
    compare({"type": "Bidirectional", "layer": layer}, [(3, 4, 2), *[(3, 2)] * 4])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        Layer.parse({"type": "ConvLSTM2D", "filters": 2, "kernel_size": 2, "strides": 2, "dilation_rate": 2})


SPEC = """
dataset: {type: synthetic, kind: images, samples: 48, shape: [8, 6, 2], classes: 3, validation_split: 0.25}
layers:
  - {type: Rescaling, scale: 0.004}
  - {type: Reshape, target_shape: [4, 2, 6, 2]}
  - {type: ConvLSTM2D, filters: 3, kernel_size: 2, padding: same, return_sequences: true}
  - {type: TimeDistributed, layer: LayerNormalization}
  - {type: ConvLSTM2D, name: last, filters: 2, kernel_size: [1, 2], strides: [1, 2], return_state: true}
  - {type: Flatten, name: flat, inputs: last}
  - {type: Flatten, name: cells, inputs: "last:2"}
  - {type: Concatenate, inputs: [flat, cells]}
  - {type: Dense, units: 3, activation: softmax}
loss: sparse_categorical_crossentropy
optimizer: {type: Adam, learning_rate: 0.01}
training: {epochs: 2, batch_size: 12, shuffle: false}
"""


def test_whole_curves_and_files_are_those_of_keras(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    twin = Twin(tmp_path / "spec.yaml", tmp_path, nudge=0.3)
    mine, other = twin.ours(), twin.theirs()
    for ours, theirs in zip(mine, other, strict=True):
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, rel=2e-4, abs=1e-5), key
    for path, (array, kept) in twin.weights().items():
        np.testing.assert_allclose(array, kept, rtol=2e-3, atol=2e-4, err_msg=path)


STATEFUL = """
dataset: {type: synthetic, kind: images, samples: 24, shape: [6, 4, 2], classes: 2}
layers:
  - {type: Rescaling, scale: 0.004}
  - {type: Reshape, target_shape: [3, 2, 4, 2]}
  - type: Bidirectional
    name: both
    layer: {type: ConvLSTM2D, filters: 2, kernel_size: 2, padding: same, return_sequences: true, stateful: true}
  - {type: ConvLSTM2D, name: last, filters: 2, kernel_size: [1, 2], stateful: true, data_format: channels_first}
  - {type: Flatten, name: flat}
  - {type: Dense, name: scores, units: 2, activation: softmax}
loss: sparse_categorical_crossentropy
training: {batch_size: 8}
"""


class Stateful:
    """A Keras model that is given its states and gives them back, for Keras on JAX forgets those it keeps itself."""

    def __init__(self, twin: Twin) -> None:
        layers = keras.layers
        x, wide, narrow = keras.Input((6, 4, 2)), [(2, 4, 2)] * 4, [(2, 4, 3)] * 2
        given = [keras.Input(shape) for shape in (*wide, *narrow)]
        y = layers.Reshape((3, 2, 4, 2))(layers.Rescaling(0.004)(x))
        inner = layers.ConvLSTM2D(2, 2, padding="same", return_sequences=True, return_state=True)
        y, *after = layers.Bidirectional(inner, name="both")(y, initial_state=given[:4])
        last = layers.ConvLSTM2D(2, (1, 2), data_format="channels_first", return_state=True, name="last")
        y, *ends = last(y, initial_state=given[4:])
        y = layers.Dense(2, activation="softmax", name="scores")(layers.Flatten(data_format="channels_last")(y))
        self.model = keras.Model([x, *given], [y, *after, *ends])
        for name in ("both", "last", "scores"):
            kept = [v for v in twin.keras.get_layer(name).variables if v.trainable]
            self.model.get_layer(name).set_weights([np.asarray(v) for v in kept])
        self.states: list[Any] = [np.zeros((8, *shape), "f4") for shape in (*wide, *narrow)]

    def predict(self, x: Any) -> Any:
        found = []
        for start in range(0, len(x), 8):
            y, *self.states = self.model.predict_on_batch([x[start : start + 8], *self.states])
            found.append(y)
        return np.concatenate(found)


def test_states_go_on_from_batch_to_batch(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(STATEFUL)
    twin = Twin(tmp_path / "spec.yaml", tmp_path, nudge=0.3)
    reference = Stateful(twin)
    ((name, samples),) = twin.data.train.inputs.items()
    x = np.asarray(samples)
    with twin.runner.session:
        mine = next(iter(twin.runner.predict({name: x}).values()))
    other = reference.predict(x)
    assert np.abs(other[:8] - other[8:16]).max() > 1e-3
    np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)
    for kept, expected in zip(twin.runner.session.carried.values(), reference.states, strict=True):
        np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-5)
