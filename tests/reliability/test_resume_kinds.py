"""Every kind of net and data goes on to the same bits after a break: nested models, states, several inputs and outputs,
streams, texts, tables, augmentation; and what such a run was can be trained again and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerascli import api
from kerascli.check import check
from kerascli.run import Run
from kerascli.verify import verify
from tests.reliability.test_resume import Watch

CONFIGS = Path(__file__).parents[2] / "configs"
NESTED = """
seed: 3
dataset: {type: synthetic, kind: sequences, samples: 64, shape: [6], vocabulary: 20}
layers:
  - {type: Embedding, input_dim: 20, output_dim: 4}
  - type: Model
    name: reader
    layers:
      - {type: GaussianNoise, stddev: 0.1}
      - {type: LSTM, units: 4, return_sequences: true, recurrent_dropout: 0.2}
      - {type: Model, name: inner, layers: [BatchNormalization, {type: Dense, units: 3, activation: tanh}]}
  - GlobalAveragePooling1D
  - {type: Dense, units: 1, activation: sigmoid}
loss: binary_crossentropy
metrics: [accuracy]
optimizer: {type: Nadam, learning_rate: 0.01}
training: {batch_size: 16}
"""
STATEFUL = """
seed: 3
dataset: {type: synthetic, kind: sequences, samples: 96, shape: [6], vocabulary: 20, validation_split: 0.25}
layers:
  - {type: Embedding, input_dim: 20, output_dim: 4}
  - {type: Bidirectional, layer: {type: LSTM, units: 3, return_sequences: true, stateful: true}}
  - {type: SimpleRNN, units: 5, stateful: true}
  - {type: Dense, units: 1, activation: sigmoid}
loss: binary_crossentropy
optimizer: adam
training: {batch_size: 24, shuffle: false}
"""
SPECS = {
    "nested models": NESTED,
    "states": STATEFUL,
    "several inputs and outputs": "two_outputs",
    "shared weights": "siamese",
    "augmentation and dropout": "digits_augmented",
    "streamed images": "image_folder",
    "texts": "text_bilstm",
    "texts read in the net": "text_vectorization",
    "tables": "tickets",
}


@pytest.mark.parametrize("kind", SPECS)
def test_a_run_of_any_kind_goes_on_to_the_same_bits(kind: str, tmp_path: Path) -> None:
    path, settings = tmp_path / "spec.yaml", ["training.epochs=2"]
    if "\n" in SPECS[kind]:
        path.write_text(SPECS[kind])
    else:
        path = CONFIGS / f"{SPECS[kind]}.yaml"
        settings += ["training.batch_size=16", "dataset.limit=48", "expect={}"]
    with pytest.raises(api.Interrupted) as stopped:
        api.train(check(path, settings), tmp_path, threads=1, progress=Watch((1, 2)), save_every=0)
    run = Run.open(Path(str(stopped.value)))
    api.resume(run, api.checked_again(run), threads=2)
    found = verify(run, threads=1)  # trains it once more, without a break
    assert found.same, found.comparisons
