"""The configs that are graphs train as Keras does: epoch by epoch, from equal weights, on a few rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity.keras_live import Twin

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64:UserWarning"),  # Keras's MeanIoU on JAX
]
CONFIGS = Path(__file__).parents[2] / "configs"
FEW = ["training.shuffle=false", "training.epochs=3", "training.batch_size=16", "dataset.validation_split=0"]
ROWS = {"siamese": 48, "two_outputs": 48, "autoencoder": 48, "unet": 16, "mobile_net": 60}
"""Whole batches (a fifth of the digits are for the test), for Keras compiles anew for each size."""


@pytest.mark.parametrize("name", ROWS)
def test_the_curves_of_a_config_equal_keras_s(name: str, tmp_path: Path) -> None:
    twin = Twin(CONFIGS / f"{name}.yaml", tmp_path, settings=[*FEW, "expect={}", f"dataset.limit={ROWS[name]}"])
    expected, found = twin.theirs(), twin.ours()
    for epoch, (theirs, ours) in enumerate(zip(expected, found, strict=True)):
        assert set(theirs) == set(ours)
        for column, value in ours.items():
            assert value == pytest.approx(theirs[column], rel=1e-3, abs=1e-4), f"epoch {epoch}: {column}"
    assert len(found) == 3 and found[-1]["loss"] < found[0]["loss"]
    assert all(np.isfinite(array).all() for array in twin.runner.parameters.weights.values())
