"""Each op as nodes of an ONNX graph: how families of ops say what they become.

A family is a module `onnx_….py` beside this one; it is found by its name. There it says for its ops:

    @becomes(softmax.Softmax)
    def _softmax(g: Sheet, v: Value, x: str) -> str:
        return g.elementwise("Softmax", x, axis=v.op.axis)

Such a function gets the sheet that nodes are put on, the value, and the names of its operands' tensors; it adds nodes
and gives the name of the result, or names, the value's own first and its further outputs behind it. What depends on
weights and constants alone is known: `g.array(value)` is its array, and its name is that of a stored tensor. Arrays are
laid out as the engine has them, with the rows, `v.whole(-1)`, at `v.batch_axis`.

`reads` names the ops that read something else than their inputs when they are written out: what the engine does for
speed alone (repeated biases, windows as rows, prepared weights) is left out. An op that no family knows is refused by
the name of its layer; so is one that `refuses` gives a reason for. A loop that was written out step by step is a kind
of its own beside the ops, whose names are those of its results; if it is refused, the steps stand for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from kerascli.ops.ir import Op, Value
from kerascli.ops.unrolled import Loop

Kind = type[Op] | type[Loop]
Becoming = TypeVar("Becoming", bound=Callable[..., str | tuple[str, ...]])
Reading = TypeVar("Reading", bound=Callable[[Value], Sequence[Value]])
Refusal = TypeVar("Refusal", bound=Callable[[Value], str])

FORMS: dict[Kind, Callable[..., str | tuple[str, ...]]] = {}
OPERANDS: dict[Kind, Callable[[Value], Sequence[Value]]] = {}
REFUSALS: dict[Kind, Callable[[Value], str]] = {}


def becomes(*kinds: Kind) -> Callable[[Becoming], Becoming]:
    """Registers what these ops become."""

    def register(form: Becoming) -> Becoming:
        assert not FORMS.keys() & {*kinds}, "an op has one form"
        FORMS.update(dict.fromkeys(kinds, form))
        return form

    return register


def reads(*kinds: Kind) -> Callable[[Reading], Reading]:
    """Registers what these ops read, where it is not their inputs."""

    def register(reading: Reading) -> Reading:
        OPERANDS.update(dict.fromkeys(kinds, reading))
        return reading

    return register


def refuses(*kinds: Kind) -> Callable[[Refusal], Refusal]:
    """Registers why some of these ops have no form: the reason, or nothing for those that have one."""

    def register(refusal: Refusal) -> Refusal:
        REFUSALS.update(dict.fromkeys(kinds, refusal))
        return refusal

    return register


def kind(value: Value) -> Kind:
    """Whose form the value has."""
    return type(value.op) if value not in value.trace.loops or REFUSALS[Loop](value) else Loop


def operands(value: Value) -> Sequence[Value]:
    """What the value's nodes read."""
    found = OPERANDS.get(kind(value))
    return value.inputs if found is None else found(value)


def results(value: Value) -> Sequence[Value]:
    """What the value's nodes make."""
    loop = value.trace.loops.get(value)
    return loop.results if isinstance(loop, Loop) and kind(value) is Loop else (value, *value.further)
