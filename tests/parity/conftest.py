"""Real Keras runs on JAX, on the CPU, and only where it is installed (the `test` extra)."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
