"""Real Keras runs on JAX, on the CPU, and only where it is installed (the `test` extra)."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Keras draws initial weights that these tests replace; jax's older way to draw them compiles in a third of the time.
os.environ.setdefault("JAX_THREEFRY_PARTITIONABLE", "0")
