"""A file that was written is read again by a program that is not this one, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kerascli.graph import Graph, Node
from kerascli.host import hosted
from kerascli.layers.lookup import IntegerLookup
from kerascli.layers.structure import Input
from kerascli.ops.ir import Array, Carried
from kerascli.program.build import trace_forward
from kerascli.program.interpret import evaluate

SAMPLES = 5
TOLERANCE = 1e-4
"""Of the largest number in an output, or of 1; rounding alone stays far below, a mistake far above."""
SECONDS = 300
"""After which a reader is given up."""
BACKENDS = ("jax", "tensorflow", "torch")
COUNTS = ("input_dim", "num_tokens", "vocabulary_size")
"""Arguments of layers that read whole numbers below them."""

KERAS = """
import sys
import numpy as np
import keras
inputs, outputs, *paths = sys.argv[1:]
if len(paths) == 1:
    model = keras.saving.load_model(paths[0], compile=False)
else:
    with open(paths[0]) as file:
        model = keras.models.model_from_json(file.read())
    model.load_weights(paths[1])
with np.load(inputs, allow_pickle=False) as given:
    xs = [given[f"input_{k}"] for k in range(len(given.files))]
found = keras.tree.flatten(model(xs[0] if len(xs) == 1 else xs, training=False))
np.savez(outputs, **{f"output_{k}": keras.ops.convert_to_numpy(y) for k, y in enumerate(found)})
"""


@dataclass(frozen=True)
class Reading:
    """What an independent reader made of a file."""

    outputs: Mapping[str, Array] = field(default_factory=dict)
    skipped: str = ""
    """Why nothing was read, and how to get it."""
    failed: str = ""
    """What the reader said when it could not."""


@dataclass(frozen=True)
class Check:
    """How far the predictions of a file are from the model's."""

    difference: float | None = None
    """The largest, over all outputs."""
    passed: bool = True
    note: str = ""


def samples(graph: Graph) -> dict[str, Array]:
    """Random inputs of the right types."""
    rng = np.random.default_rng(0)
    return {name: _sample(graph, graph.node(name), rng) for name in graph.inputs}


def _sample(graph: Graph, node: Node, rng: np.random.Generator) -> Array:
    readers = [other.layer for other in graph.nodes if node.name in other.inputs]
    counts = [n for layer in readers for key in COUNTS if isinstance(n := getattr(layer, key, None), int)]
    words = [word for layer in readers if isinstance(layer, IntegerLookup) for word in layer.words]
    shape = (graph.batch or SAMPLES, *node.shape)
    if words:
        return rng.choice([*words, *range(len(words))], shape).astype(node.dtype)
    if counts:
        return rng.integers(0, min(counts), shape).astype("float32" if node.dtype == "float" else node.dtype)
    if node.dtype != "float":
        return rng.integers(0, 2 if node.dtype == "bool" else 100, shape).astype(node.dtype)
    return rng.standard_normal(shape).astype(np.float32)


def unreadable(graph: Graph) -> str:
    """Why no samples can be made for a model; empty where they can."""
    texts = [node for node in hosted(graph.nodes) if not isinstance(node.layer, Input)]
    return f"samples for {texts[0].title}, which works on raw data, cannot be made up" if texts else ""


def predictions(graph: Graph, weights: Mapping[str, Array], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What the model itself gives."""
    forward, rows = trace_forward(graph, training=False), len(next(iter(inputs.values())))
    feeds = {f"x:{name}": x for name, x in graph.served(inputs).items()} | dict(weights)
    for value in forward.trace.values:
        if isinstance(value.op, Carried):
            feeds[value.op.name] = np.zeros((rows, *value.shape), np.float32)
    found = evaluate([forward.values[name] for name in graph.outputs], feeds, rows, np.float32)
    return dict(zip(graph.outputs, found, strict=True))


def largest_difference(expected: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """Over all outputs; infinite where shapes differ or only one has a number."""
    largest = 0.0
    for name, one in expected.items():
        two = found.get(name)
        if two is None or one.shape != two.shape or not np.array_equal(np.isnan(one), np.isnan(two)):
            return float("inf")
        apart = np.where(one == two, 0, np.abs(one.astype(np.float64) - two))
        largest = max(largest, float(np.nanmax(apart, initial=0)))
    return largest


def check(graph: Graph, weights: Mapping[str, Array], read: Callable[[Mapping[str, Array]], Reading]) -> Check:
    """The predictions on random samples of a reader, beside the model's own."""
    inputs = samples(graph)
    reading = read(inputs)
    if reading.skipped or reading.failed:
        return Check(None, not reading.failed, reading.skipped or reading.failed)
    expected = predictions(graph, weights, inputs)
    apart = largest_difference(expected, reading.outputs)
    size = max((float(np.nanmax(np.abs(y), initial=1)) for y in expected.values()), default=1.0)
    return Check(apart, apart <= TOLERANCE * size)


def run_keras(written: Sequence[Path], graph: Graph, inputs: Mapping[str, Array]) -> Reading:
    """The file read by Keras itself, which is never imported here: that takes seconds."""
    if importlib.util.find_spec("keras") is None:
        return Reading(skipped="Keras is not installed: `pip install keras jax`, or say `--no-verify`")
    backend = os.environ.get("KERAS_BACKEND") or next(filter(importlib.util.find_spec, BACKENDS), "")
    if not backend:
        return Reading(skipped="Keras has nothing to run on: `pip install jax`, or say `--no-verify`")
    return run_python(KERAS, graph, inputs, backend=backend, after=[str(path.resolve()) for path in written])


def run_python(
    script: str,
    graph: Graph,
    inputs: Mapping[str, Array],
    *before: str,
    after: Sequence[str] = (),
    backend: str = "",
) -> Reading:
    """Run a script on `before`, a file of inputs, the file to write outputs to, and `after`."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= (
        {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""} if backend else {}
    )
    with tempfile.TemporaryDirectory(prefix="kerascli-") as folder:
        given, found = Path(folder, "inputs.npz"), Path(folder, "outputs.npz")
        np.savez(given, **{f"input_{k}": inputs[name] for k, name in enumerate(graph.inputs)})  # type: ignore[arg-type]
        words = [sys.executable, "-c", script, *before, str(given), str(found), *after]
        try:
            done = subprocess.run(
                words, env=environment, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return Reading(failed=f"the reader took more than {SECONDS} seconds")
        if done.returncode or not found.is_file():
            return Reading(failed=_last_words(done.stderr))
        with np.load(found, allow_pickle=False) as arrays:
            outputs = [arrays[f"output_{k}"] for k in range(len(arrays.files))]
    if len(outputs) != len(graph.outputs):
        return Reading(failed=f"{len(outputs)} outputs were read, not {len(graph.outputs)}")
    return Reading(dict(zip(graph.outputs, outputs, strict=True)))


def _last_words(said: str) -> str:
    """What the last exception of a reader says first: Keras appends its arguments, and JAX a remark."""
    paragraphs = re.split(r"^(?=[\w.]+(?:Error|Exception): )", said, flags=re.MULTILINE)
    words = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", paragraphs[-1]).splitlines() if line.strip()]
    if len(paragraphs) == 1:
        return words[-1] if words else "the reader gave nothing"
    return " ".join(words[:2])
