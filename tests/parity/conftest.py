"""Real Keras runs on JAX, on the CPU, and only where it is installed (the `test` extra)."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

RNG = np.random.default_rng(0)


def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    return (mean + stddev * RNG.standard_normal(shape)).astype(dtype or "float32")


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    return np.clip(normal(shape, mean, stddev, dtype), mean - 2 * stddev, mean + 2 * stddev)


def uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    return RNG.uniform(minval, maxval, shape).astype(dtype or "float32")


@pytest.fixture(autouse=True, scope="module")
def _keras_starts_from_any_weights(request: pytest.FixtureRequest) -> Any:
    """Keras's models start from weights that each test replaces by its own: NumPy draws them without compiling."""
    if request.path.name == "test_initializers.py":
        yield
        return
    from keras.src.initializers import random_initializers

    drawn = SimpleNamespace(**{**vars(random_initializers.random), "normal": normal, "uniform": uniform})
    drawn.truncated_normal = truncated_normal
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_initializers, "random", drawn)
        yield
