"""The simplest way to run a trace: one block, a fresh array for every value. The oracle for the planned engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kerascli.ops.ir import Array, Constant, Further, Input, Site, Value, Variable, Weight


def evaluate(
    wanted: Iterable[Value],
    feeds: Mapping[str, Array | float],
    rows: int,
    dtype: Any = np.float64,
    seed: int = 0,
    step: int = 0,
) -> list[Array]:
    """The arrays of `wanted`. `feeds` holds inputs, weights and variables by name; floats are cast to `dtype`."""
    wanted = list(wanted)
    kept = dict.fromkeys(wanted, np.empty(0))
    for value, array in walk(wanted, feeds, rows, dtype, seed, step):
        if value in kept:
            kept[value] = array
    return [kept[v] for v in wanted]


def walk(
    wanted: Iterable[Value],
    feeds: Mapping[str, Array | float],
    rows: int,
    dtype: Any = np.float64,
    seed: int = 0,
    step: int = 0,
) -> Iterator[tuple[Value, Array]]:
    """Each value that `wanted` needs with its array, as it is made. Arrays that nothing reads any more are let go."""
    kind = np.dtype(dtype)
    arrays: dict[Value, Array] = {}
    row = np.array([0, step], np.int64)
    order = _ancestors(list(wanted))
    last = {source: value for value in order for source in value.inputs}
    for value in order:
        with np.errstate(all="ignore"):  # as in the engine
            _compute(value, arrays, feeds, Site(rows, kind, row=row, seed=seed))
        for made in (value, *value.further):
            yield made, arrays[made]
        for done in {*value.inputs, value, *value.further}:
            if last.get(done, value) is value:
                arrays.pop(done, None)


def _compute(value: Value, arrays: dict[Value, Array], feeds: Mapping[str, Array | float], site: Site) -> None:
    rows, op = site.rows, value.op
    site.rows *= value.work_times
    if isinstance(op, Constant):
        arrays[value] = op.array(site.dtype)
    elif isinstance(op, (Input, Weight, Variable)):
        name = op.path if isinstance(op, Weight) else op.name
        array = np.array(feeds[name], site.dtype if value.dtype == "float" else value.dtype, order="C")
        if array.shape != value.whole(rows):
            raise ValueError(f"{name}: expected {value.whole(rows)}, got {array.shape}")
        arrays[value] = array
    else:
        inputs = [arrays[i] for i in value.inputs]
        if op.view:
            arrays[value] = inputs[0].reshape(value.whole(rows * value.times))
            return
        for v in (value, *value.further):
            arrays[v] = np.full(v.whole(rows * v.times), 77, site.dtype if v.dtype == "float" else v.dtype)
        site.aux = [arrays[v] for v in value.further]
        for shape, kind in op.scratch(site.rows, *value.inputs):
            site.scratch.append(np.full(shape, 77, site.dtype if kind == "float" else kind))
        for call in op.bind(site, arrays[value], *inputs):
            call()


def _ancestors(wanted: list[Value]) -> list[Value]:
    """Everything `wanted` needs, in the order of the trace."""
    found: set[Value] = set()
    todo = list(wanted)
    while todo:
        value = todo.pop()
        if value not in found:
            found.add(value)
            todo.extend(value.inputs)
            todo.extend(value.further)
    return [v for v in sorted(found, key=lambda v: v.number) if not isinstance(v.op, Further)]
