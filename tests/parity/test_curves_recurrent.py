"""Loss curves of recurrent nets equal Keras's: states handed over, cells, wrapped layers, stateful training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.check import check
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.trainer import Trainer
from kerascli.training import read_data
from tests.parity.keras_live import Quiet, Twin

keras = pytest.importorskip("keras")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TOKENS = "{type: synthetic, kind: sequences, samples: 60, shape: [7], vocabulary: 30, validation_split: 0.2}"
END = "loss: binary_crossentropy\noptimizer: {type: Adam, learning_rate: 0.02}\n"
TRAINING = "training: {epochs: 2, batch_size: 16, shuffle: false}\n"

SPECS = {
    "encoder_decoder": """
dataset: {type: npz, path: pairs.npz, inputs: {source: source, answer: answer}, targets: {words: words}}
layers:
  - {type: Input, name: source, shape: [6], dtype: int32}
  - {type: Input, name: answer, shape: [5], dtype: int32}
  - {type: Embedding, input_dim: 9, output_dim: 4, mask_zero: true, inputs: source}
  - {type: LSTM, name: encoder, units: 5, return_state: true}
  - {type: Embedding, input_dim: 9, output_dim: 3, mask_zero: true, inputs: answer}
  - {type: LSTM, name: decoder, units: 5, return_sequences: true, initial_state: ["encoder:1", "encoder:2"]}
  - {type: Dense, name: words, units: 9, activation: softmax}
loss: sparse_categorical_crossentropy
optimizer: {type: Adam, learning_rate: 0.02}
""",
    "stacked_cells_both_ways": f"""
dataset: {TOKENS}
layers:
  - {{type: Embedding, input_dim: 30, output_dim: 5, mask_zero: true}}
  - type: Bidirectional
    name: both
    layer: {{type: RNN, cell: [{{type: GRUCell, units: 4}}, {{type: LSTMCell, units: 3}}], return_sequences: true,
      return_state: true}}
  - {{type: RNN, cell: {{type: SimpleRNNCell, units: 3, kernel_regularizer: l2}}, initial_state: "both:2",
     inputs: both, name: last}}
  - {{type: Dense, units: 1, activation: sigmoid}}
{END}""",
}

CONFIG = (Path(__file__).parents[2] / "configs" / "text_bilstm.yaml").read_text("utf-8")
FEW = CONFIG.partition("training:")[0].replace("samples: 4000", "samples: 50")
SPECS["text_bilstm"] = FEW.replace(", dropout: 0.2", "")


def written(name: str, text: str, folder: Path) -> Path:
    rng = np.random.default_rng(3)
    arrays: dict[str, Array] = {}
    for split, rows in (("train", 40), ("val", 16)):
        arrays[f"source_{split}"] = rng.integers(0, 9, (rows, 6)).astype("i4")
        arrays[f"answer_{split}"] = rng.integers(0, 9, (rows, 5)).astype("i4")
        arrays[f"words_{split}"] = (arrays[f"source_{split}"][:, :5] + 1) % 9
    np.savez(folder / "pairs.npz", **arrays)  # type: ignore[arg-type]
    spec = folder / f"{name}.yaml"
    spec.write_text(text + TRAINING)
    return spec


def agree(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> None:
    for epoch, (found, expected) in enumerate(zip(ours, theirs, strict=True)):
        for column, value in expected.items():
            assert found[column] == pytest.approx(value, rel=2e-4, abs=2e-5), f"epoch {epoch}: {column}"


@pytest.mark.parametrize("name", SPECS)
def test_loss_curves_equal_keras(name: str, tmp_path: Path) -> None:
    """Keras reads our files, so that they are tested too; its outputs are equal before, and its weights after."""
    twin = Twin(written(name, SPECS[name], tmp_path), tmp_path, nudge=0.3)
    inputs = twin.data.train.inputs
    before = twin.runner.predict(inputs)
    expected = twin.keras.predict(next(iter(inputs.values())) if len(inputs) == 1 else dict(inputs), verbose=0)
    np.testing.assert_allclose(next(iter(before.values())), expected, rtol=1e-5, atol=1e-6)
    agree(twin.ours(), [{k: v for k, v in logs.items() if k != "learning_rate"} for logs in twin.theirs()])
    for path, (mine, other) in twin.weights().items():
        np.testing.assert_allclose(mine, other, rtol=2e-3, atol=2e-4, err_msg=path)


STATEFUL = """
dataset: {type: synthetic, kind: sequences, samples: 64, shape: [4], vocabulary: 9, validation_split: 0.25}
layers:
  - {type: Embedding, name: embedding, input_dim: 9, output_dim: 3}
  - {type: LSTM, name: lstm, units: 4, stateful: true}
  - {type: Dense, name: dense, units: 1, activation: sigmoid}
loss: binary_crossentropy
optimizer: {type: Adam, learning_rate: 0.02}
"""


class Stateful:
    """A Keras model that is given its states and gives them back, for Keras on JAX forgets those it keeps itself."""

    def __init__(self, twin: Twin) -> None:
        layers = keras.layers
        tokens, *states = keras.Input((4,)), keras.Input((4,)), keras.Input((4,))
        read = layers.Embedding(9, 3, name="embedding")(tokens)
        last, *after = layers.LSTM(4, return_state=True, name="lstm")(read, initial_state=states)
        self.model = keras.Model([tokens, *states], layers.Dense(1, activation="sigmoid", name="dense")(last))
        self.after = keras.Model([tokens, *states], after)
        for name in ("embedding", "lstm", "dense"):
            self.model.get_layer(name).set_weights(twin.keras.get_layer(name).get_weights())
        self.model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
        self.states: list[Any] = [np.zeros((16, 4), "f4")] * 2

    def walk(self, x: Array, y: Array, trains: bool) -> float:
        step = self.model.train_on_batch if trains else self.model.test_on_batch
        losses = []
        for start in range(0, len(x), 16):
            batch = [x[start : start + 16], *self.states]
            self.states = [np.asarray(s) for s in self.after.predict_on_batch(batch)]
            self.model.reset_metrics()
            losses.append(float(step(batch, y[start : start + 16])))
        return float(np.mean(losses))


def test_states_go_on_from_batch_to_batch_through_training_and_validation(tmp_path: Path) -> None:
    twin = Twin(written("stateful", STATEFUL, tmp_path), tmp_path)
    reference, train, held = Stateful(twin), twin.data.train, twin.data.validation
    assert held is not None
    theirs = []
    for _ in range(2):
        parts = (("loss", train, True), ("val_loss", held, False))
        theirs.append(
            {
                name: reference.walk(next(iter(part.inputs.values())), next(iter(part.targets.values())), trains)
                for name, part, trains in parts
            }
        )
    ours = twin.ours()
    agree(ours, theirs)
    for kept, expected in zip(twin.runner.session.carried.values(), reference.states, strict=True):
        np.testing.assert_allclose(kept, expected, rtol=1e-3, atol=1e-5)


LONG = """
dataset: {type: synthetic, kind: sequences, samples: 128, shape: [30], vocabulary: 9, validation_split: 0.5}
layers:
  - {type: Embedding, input_dim: 9, output_dim: 3}
  - {type: LSTM, name: first, units: 32, stateful: true, return_sequences: true, return_state: true}
  - {type: RNN, cell: [{type: GRUCell, units: 32}], initial_state: "first:2", inputs: first}
  - {type: Dense, units: 1, activation: sigmoid}
loss: binary_crossentropy
"""


def test_the_bits_do_not_depend_on_the_threads(tmp_path: Path) -> None:
    spec = written("long", LONG, tmp_path)
    spec.write_text(LONG + TRAINING.replace("16", "32"))
    found = []
    for workers in (1, 2, 3):
        model = Model.of(check(spec))
        data, runner = read_data(model), model_runner(model, workers)
        with runner.session:
            nothing = lambda path: None  # noqa: E731
            trainer = Trainer(runner, data.train, data.validation, tmp_path, Quiet(), nothing, nothing)
            logs = [epoch[1] for epoch in trainer.fit(list(model.spec.callbacks))]
        assert runner.session.plan(trainer.job).lanes > 1
        found.append((logs, runner.parameters.copy(), {k: v.copy() for k, v in runner.session.carried.items()}))
    for other in found[1:]:
        assert other[0] == found[0][0]
        for mine, first in zip(other[1:], found[0][1:], strict=True):
            assert all(np.array_equal(mine[path], array) for path, array in first.items())


def model_runner(model: Model, workers: int) -> Any:
    from kerascli.runner import Runner

    runner = Runner(model, workers, trains=True)
    runner.initialise()
    return runner
