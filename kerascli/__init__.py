"""Train neural networks from one YAML file, on a NumPy engine with Keras's names and meanings."""

__version__ = "0.1.0"
"""The one place that says it: the package's metadata, `--version` and runs take it from here."""
