"""The part of a graph that NumPy computes where samples are fed: layers that read texts, and what they read.

Such a layer reads inputs of the model, or others of its kind. A layer that the engine can compute too
(Discretization) is computed here where one of them reads it. The engine reads their results as if they were inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

from kerascli.errors import Failure
from kerascli.layer import Layer
from kerascli.layers.host import _Host
from kerascli.layers.structure import Input, _Entry, _Exit
from kerascli.learned import Learned
from kerascli.ops.ir import Array
from kerascli.sources.base import Split

ROWS = 4096
"""Samples that layers learn from at a time."""
ENDS = (_Entry, _Exit)
"""Where nested models begin and end: they pass on what they read."""


class Step(Protocol):
    """A call of a layer: a node of the graph, or a draft of one."""

    @property
    def name(self) -> str: ...

    @property
    def layer(self) -> Layer: ...

    @property
    def inputs(self) -> tuple[str, ...]: ...

    @property
    def shared(self) -> str | None: ...


AnyStep = TypeVar("AnyStep", bound=Step)
Fault = tuple[AnyStep, str, str, str]
"""A step, what is wrong with it, what was found, and the mend."""


def hosted(steps: Sequence[AnyStep]) -> list[AnyStep]:
    """The steps that are computed here, in order."""
    found: list[AnyStep] = []
    needed: set[str] = set()
    for step in reversed(steps):
        layer = step.layer
        must = isinstance(layer, _Host) and (not layer.in_engine or layer.lacks)
        if must or (step.name in needed and isinstance(layer, (_Host, *ENDS))):
            found.append(step)
            needed.update(step.inputs)
    return found[::-1]


def misplaced(steps: Sequence[AnyStep]) -> Iterator[Fault[AnyStep]]:
    """What cannot be computed here and would have to be."""
    by_name = {step.name: step for step in steps}
    here = hosted(steps)
    names = {step.name for step in here}
    for step in here:
        kind = step.layer.type_name()
        for read in (by_name[name] for name in step.inputs):
            if read.name not in names and not isinstance(read.layer, Input):
                found = f"it reads {read.layer.type_name()} `{read.name}`, which the net computes"
                help = f"let {kind} read an Input, or another layer of its kind"
                if isinstance(step.layer, _Host) and step.layer.in_engine:
                    help += "; or give it its `bin_boundaries`"
                yield step, f"{kind} `{step.name}` works on the data before they enter the net", found, help
    for step in steps:
        for key in type(step.layer).model_fields:
            inner = getattr(step.layer, key)
            if isinstance(inner, _Host) and (not inner.in_engine or inner.lacks):
                kind = type(inner).__name__
                message = f"{step.layer.type_name()} `{step.name}` cannot hold {kind}"
                yield step, message, "it works on the data before they enter the net", f"put {kind} before it"


def misread(layer: Layer, title: str, dtypes: Sequence[str]) -> tuple[str, str]:
    """What is wrong with the types that a layer reads, and the mend; empty where nothing is."""
    if not isinstance(layer, _Host):
        help = "put TextVectorization, StringLookup or Hashing before it"
        return (f"{title} takes numbers, and reads texts", help) if "string" in dtypes else ("", "")
    wrong = [dtype for dtype in dtypes if dtype not in layer.readable]
    if not wrong:
        return "", ""
    wanted = "texts" if "string" in layer.readable and "int32" not in layer.readable else "numbers"
    if wanted == "numbers" and "float" not in layer.readable:
        wanted = "texts or whole numbers" if "string" in layer.readable else "whole numbers"
    if wrong[0] == "string":
        return f"{title} takes {wanted}, and reads texts", "StringLookup and TextVectorization read texts"
    kind, found = ("string", "numbers") if wanted == "texts" else ("int32", "other numbers")
    help = f"begin `layers` with an Input that says `dtype: {kind}`, named after the column where the data are a table"
    return f"{title} takes {wanted}, and reads {found}", help


def evaluate(steps: Sequence[Step], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs, and the outputs of the steps that are computed here."""
    values = dict(inputs)
    for step in hosted(steps):
        values[step.name] = _applied(step.layer, [values[name] for name in step.inputs])
    return values


def learn(
    steps: Sequence[AnyStep], read: Callable[[], Split], fail: Callable[[AnyStep, Failure], None]
) -> dict[str, Learned]:
    """What every layer learns that lacks something, by name; `read` is asked only for layers that want samples."""
    found: dict[str, Learned] = {}

    def value(name: str, rows: slice) -> Array:
        step = by_name[name]
        if isinstance(step.layer, Input):
            return read().inputs[name][rows]
        layer = learnt(step.layer, found.get(step.shared or step.name))
        if isinstance(layer, _Host) and layer.lacks:
            raise _Unfit
        return _applied(layer, fitting(layer, step.inputs, rows))

    def fitting(layer: Layer, sources: Sequence[str], rows: slice) -> list[Array]:
        xs = [value(source, rows) for source in sources]
        if misread(layer, "", [_kind(x) for x in xs])[0]:
            raise _Unfit
        return xs

    def seen(step: AnyStep) -> Iterator[Array]:
        for start in range(0, len(read()), ROWS):
            yield fitting(step.layer, step.inputs, slice(start, start + ROWS))[0]

    by_name = {step.name: step for step in steps}
    for step in hosted(steps):
        layer = step.layer
        if isinstance(layer, _Host) and layer.lacks and step.shared is None:
            with suppress(_Unfit):
                try:
                    found[step.name] = layer.learn(partial(seen, step))
                except Failure as failure:
                    fail(step, failure)
    return found


class _Unfit(Exception):
    """A layer reads what it cannot: said with its place once types are looked at."""


def _kind(x: Array) -> str:
    return {"f": "float", "U": "string", "T": "string"}.get(x.dtype.kind, x.dtype.name)


def learnt(layer: Layer, found: Learned | None) -> Layer:
    """The layer with what it has learnt."""
    return layer.learnt(found) if found is not None and isinstance(layer, _Host) else layer


def _applied(layer: Layer, xs: Sequence[Array]) -> Array:
    return layer.apply(*xs) if isinstance(layer, _Host) else xs[0]


def raw_inputs(steps: Sequence[Step]) -> dict[str, str]:
    """The Inputs of texts or whole numbers: sources that would encode these leave them as they stand.

    An Input says so by its `dtype`, or is read by nothing but layers that take nothing else.
    """
    kinds = {
        step.name: step.layer.dtype or _implied(step.name, steps) for step in steps if isinstance(step.layer, Input)
    }
    return {name: kind for name, kind in kinds.items() if kind and not kind.startswith("float")}


def _implied(name: str, steps: Sequence[Step]) -> str:
    readers = [step.layer for step in steps if name in step.inputs]
    taken = [{"string", "int32", "float"} & {*layer.readable} for layer in readers if isinstance(layer, _Host)]
    alone = taken and len(taken) == len(readers) and all(kinds == taken[0] and len(kinds) == 1 for kinds in taken)
    return next(iter(taken[0])) if alone else ""
