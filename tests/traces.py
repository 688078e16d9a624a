"""Ops on arrays: what tests of ops and layers do before and after the op that they are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Value, Weight
from kerascli.program.interpret import evaluate


def fed(trace: Trace, name: str, array: Array) -> Value:
    """An input of the trace for samples such as these, the batch axis first."""
    kind = "float" if array.dtype.kind == "f" else array.dtype.name
    return trace.add(Input(name, Type(array.shape[1:], kind)), scope=Scope.BLOCK)


def traced(trace: Trace, blocks: Mapping[str, Array], weights: Mapping[str, Array]) -> dict[str, Value]:
    """An input for each of `blocks`, and a weight for each of `weights`."""
    held = {name: trace.add(Weight(name, array.shape), scope=Scope.WEIGHT) for name, array in weights.items()}
    return {name: fed(trace, name, array) for name, array in blocks.items()} | held


def computed(
    build: Callable[..., Value], blocks: Mapping[str, Array], weights: Mapping[str, Array] = {}, dtype: Any = np.float64
) -> Array:
    """What `build(**values)` gives for these arrays."""
    y = build(**traced(Trace(), blocks, weights))
    return evaluate([y], {**blocks, **weights}, len(next(iter(blocks.values()))), dtype)[0]
