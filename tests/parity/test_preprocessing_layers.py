"""Layers of whole numbers, trained within a net as live Keras trains them: learnt boundaries go into its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity.keras_live import Twin

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SPEC = """
version: 1
name: bins
dataset: {type: synthetic, kind: classification, samples: 96, shape: [5], classes: 3, validation_split: 0.25}
layers:
  - {type: Input, name: x}
  - {type: Discretization, name: bins, num_bins: 4}
  - {type: Dense, name: weights, units: 5, activation: sigmoid, inputs: x}
  - {type: CategoryEncoding, name: weighed, num_tokens: 4, output_mode: count, inputs: bins, count_weights: weights}
  - {type: CategoryEncoding, name: which, num_tokens: 3, output_mode: multi_hot, inputs: bins}
  - {type: Embedding, name: table, input_dim: 4, output_dim: 2, inputs: bins}
  - {type: Flatten, name: flat}
  - {type: Discretization, name: hot, bin_boundaries: [-0.5, 0.5], output_mode: one_hot, inputs: x}
  - {type: Flatten, name: flat_hot}
  - {type: Concatenate, inputs: [weighed, which, flat, flat_hot]}
  - {type: Dense, units: 3, activation: softmax}
loss: sparse_categorical_crossentropy
metrics: [accuracy]
optimizer: {type: SGD, learning_rate: 0.1}
training: {epochs: 3, batch_size: 16, shuffle: false}
"""


def test_a_net_of_bins_and_codes_trains_as_in_keras(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC, "utf-8")
    twin = Twin(path, tmp_path)
    boundaries = twin.model.graph.node("bins").layer.dump()["bin_boundaries"]
    assert len(boundaries) == 3 and twin.keras.get_layer("bins").bin_boundaries == boundaries
    ours, theirs = twin.ours(), twin.theirs()
    for mine, logs in zip(ours, theirs, strict=True):
        assert set(mine) == set(logs)
        for name, value in logs.items():
            assert mine[name] == pytest.approx(value, rel=2e-5, abs=1e-6), name
    for name, (mine_, theirs_) in twin.weights().items():
        np.testing.assert_allclose(mine_, theirs_, rtol=2e-4, atol=2e-6, err_msg=name)
