"""SimpleRNN, LSTM and GRU as ONNX's own operators.

ONNX's operators know no mask, but sequences of unequal length. So where there is a mask, the steps that count are moved
to the front, the others lie behind the sequence's end, and every step reads the state after the last one that counted.

Legend: T steps, n rows, E inputs, H units, G gates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerascli.exporters.onnx_registry import becomes, reads
from kerascli.exporters.onnx_shapes import LAST
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.ops import gru, lstm, recurrent, simple_rnn
from kerascli.ops.ir import Array, Op, Value

OPERATORS: dict[type[Op], tuple[str, tuple[int, ...]]] = {
    simple_rnn.SimpleRnn: ("RNN", (0,)),
    lstm.Lstm: ("LSTM", (0, 3, 1, 2)),
    gru.Gru: ("GRU", (0, 1, 2)),
}
"""ONNX's operator for each, and in its order the numbers of Keras's gates."""
READ = ("x", "mask", "h0", "c0")
"""Roles of what varies with the sample; the others are weights."""


@reads(*OPERATORS)
def _read(v: Value) -> Sequence[Value]:
    return [value for role, value in _by_role(v).items() if role in READ]


def _by_role(v: Value) -> dict[str, Value]:
    assert isinstance(v.op, recurrent.SequenceOp)
    return v.op.by_role(v.inputs)


@becomes(*OPERATORS)
def _sequence(g: Sheet, v: Value, *inputs: str) -> tuple[str, ...]:
    assert isinstance(v.op, recurrent.SequenceOp)
    read = dict(zip((role for role in v.op.roles if role in READ), inputs, strict=True))
    starts = [g.node("Unsqueeze", read[role], g.whole_numbers([0])) if role in read else "" for role in v.op.initial]
    if "mask" in read:
        states, last = _masked(g, v, read["x"], read["mask"], starts)
    else:
        states, last = _operator(g, v, read["x"], "", starts, v.op.backwards)
    ends = {role[0]: end for role, end in zip(v.op.initial, last, strict=True)}
    wanted = v.op.ends if v.op.sequences else ("h", *v.op.ends)
    found = [g.node("Squeeze", ends[role], g.whole_numbers([0])) for role in wanted]
    first = states if v.op.sequences else found.pop(0)
    return first, *("",) * (len(v.further) - len(found)), *found


def _operator(g: Sheet, v: Value, x: str, lengths: str, starts: list[str], backwards: bool) -> tuple[str, list[str]]:
    """The states (T, n, H) at every time, where they are asked for, and the last ones (1, n, H)."""
    assert isinstance(v.op, recurrent.SequenceOp)
    kind, gates = OPERATORS[type(v.op)]
    known = {role: g.array(value) for role, value in _by_role(v).items() if role in ("w", "u", "b", "rb")}
    stored = {"W": _ordered(known["w"], gates), "R": _ordered(known["u"], gates)}
    if "b" in known:
        both = (known["b"], known.get("rb", np.zeros_like(known["b"])))
        stored["B"] = np.concatenate([_ordered(bias, gates) for bias in both])
    named = {name: g.constant(array[None], f"{g.prefix}/{name}") for name, array in stored.items()}
    inputs = [x, named["W"], named["R"], named.get("B", ""), lengths, *starts]
    while not inputs[-1]:
        inputs.pop()
    attributes: dict[str, int | str] = {"hidden_size": known["u"].shape[0]}
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    if backwards:
        attributes["direction"] = "reverse"
    states, *last = g.several(kind, 1 + len(starts), *inputs, **attributes)
    return g.node("Squeeze", states, g.whole_numbers([1])) if v.op.sequences else "", last


def _masked(g: Sheet, v: Value, x: str, mask: str, starts: list[str]) -> tuple[str, list[str]]:
    """The same where a mask (T, n) leaves steps out."""
    assert isinstance(v.op, recurrent.SequenceOp)
    steps, units = v.op.extent(v.inputs)
    if v.op.backwards:
        x, mask = _reverse(g, x), _reverse(g, mask)
    front, lengths = _front(g, x, mask, steps)
    states, last = _operator(g, v, front, lengths, starts, backwards=False)
    if not v.op.sequences:
        return states, last
    states = _back(g, states, mask, starts[0] or _zeros(g, x, units))
    return _reverse(g, states) if v.op.backwards else states, last


def _ordered(array: Array, gates: tuple[int, ...]) -> Array:
    """Columns (…, G·H) as rows, the gates in ONNX's order."""
    parts = np.split(array, len(gates), axis=-1)
    return np.concatenate([parts[gate] for gate in gates], axis=-1).T


def _front(g: Sheet, x: str, mask: str, steps: int) -> tuple[str, str]:
    """x (T, n, E) with the steps that count in front, in their order, and how many these are (n)."""
    counted = g.cast(mask, "int64")
    late = np.arange(steps, 0, -1, dtype=np.int64)[:, None]
    rank = g.node("Add", g.node("Mul", counted, g.number(steps, "int64")), g.constant(late))  # all different
    _, order = g.several("TopK", 2, rank, g.whole_numbers([steps]), axis=0)
    lengths = g.node("ReduceSum", counted, g.whole_numbers([0]), keepdims=0)
    return _gathered(g, x, order, x), g.cast(lengths, "int32")


def _back(g: Sheet, states: str, mask: str, start: str) -> str:
    """The state at every step: after so many steps that counted, or the one before all."""
    done = g.node("CumSum", g.cast(mask, "int64"), g.number(0, "int64"))
    return _gathered(g, g.node("Concat", start, states, axis=0), done, states)


def _gathered(g: Sheet, x: str, order: str, like: str) -> str:
    """x (·, n, F) read along its first axis by numbers (T, n), the same for all features."""
    wide = g.node("Expand", g.node("Unsqueeze", order, g.whole_numbers([2])), g.node("Shape", like))
    return g.node("GatherElements", x, wide, axis=0)


def _zeros(g: Sheet, x: str, units: int) -> str:
    """A state (1, n, H) for every row of x (T, n, E)."""
    return g.full(g.number(0), (1, -1, units), g.size(x, 1), axis=1)


def _reverse(g: Sheet, x: str) -> str:
    """The last step first."""
    return g.slice(x, 0, -1, LAST, -1)
