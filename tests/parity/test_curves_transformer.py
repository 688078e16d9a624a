"""Loss curves of transformers equal Keras's: the encoder of `configs`, and an encoder and decoder behind masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity.keras_live import Twin

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not support masking"),  # Keras warns of the layers in its own
]

CONFIG = (Path(__file__).parents[2] / "configs" / "transformer_text.yaml").read_text("utf-8")
FEW = CONFIG.partition("training:")[0].replace("samples: 4000", "samples: 60")
TRAINING = "training: {epochs: 3, batch_size: 12, shuffle: false}\n"
SPECS = {
    "transformer_text": FEW.replace("dropout: 0.1", "dropout: 0.0").replace("rate: 0.1", "rate: 0.0"),
    "encoder_decoder": """
dataset: {type: npz, path: pairs.npz, inputs: {source: source, answer: answer}, targets: {words: words}}
layers:
  - {type: Input, name: source, shape: [6], dtype: int32}
  - {type: Input, name: answer, shape: [5], dtype: int32}
  - {type: Embedding, name: told, input_dim: 9, output_dim: 8, mask_zero: true, inputs: source}
  - {type: MultiHeadAttention, name: heard, num_heads: 2, key_dim: 4}
  - {type: Add, inputs: [told, heard]}
  - {type: LayerNormalization, name: encoded}
  - {type: Embedding, name: said, input_dim: 9, output_dim: 8, mask_zero: true, inputs: answer}
  - {type: GroupQueryAttention, name: recalled, head_dim: 3, num_query_heads: 4, num_key_value_heads: 2,
     use_causal_mask: true}
  - {type: Add, inputs: [said, recalled]}
  - {type: LayerNormalization, name: asked}
  - {type: MultiHeadAttention, name: found, num_heads: 2, key_dim: 4, value_dim: 4, inputs: [asked, encoded],
     kernel_regularizer: {type: L2, l2: 0.001}}
  - {type: Add, inputs: [asked, found]}
  - {type: Dense, name: words, units: 9, activation: softmax}
loss: sparse_categorical_crossentropy
metrics: [accuracy]
optimizer: {type: Adam, learning_rate: 0.01}
""",
}


def pairs(path: Path) -> None:
    """Answers that repeat what was told; lines of several lengths, the rest zeros."""
    rng = np.random.default_rng(3)
    found = {}
    for split, rows in (("train", 48), ("val", 12)):
        source = rng.integers(1, 9, (rows, 6)).astype(np.int32)
        source[np.arange(6) >= rng.integers(2, 7, (rows, 1))] = 0
        answer, words = np.roll(source, 1, 1)[:, :5], source[:, :5]
        answer[:, 0] = 8
        found |= {f"source_{split}": source, f"answer_{split}": answer, f"words_{split}": words}
    np.savez(path, **found)


@pytest.mark.parametrize("name", SPECS)
def test_the_curves_equal_keras_s(name: str, tmp_path: Path) -> None:
    pairs(tmp_path / "pairs.npz")
    path = tmp_path / "spec.yaml"
    path.write_text(SPECS[name] + TRAINING)
    twin = Twin(path, tmp_path, nudge=0.2)
    expected, found = twin.theirs(), twin.ours()
    for epoch, (theirs, ours) in enumerate(zip(expected, found, strict=True)):
        assert set(theirs) - {"learning_rate"} == set(ours) - {"learning_rate"}
        for column, value in ours.items():
            assert value == pytest.approx(theirs[column], rel=5e-4, abs=5e-5), f"epoch {epoch}: {column}"
    for path_of_weight, (mine, other) in twin.weights().items():
        np.testing.assert_allclose(mine, other, rtol=5e-3, atol=1e-3, err_msg=path_of_weight)
    assert found[-1]["loss"] < found[0]["loss"]
