"""SimpleRNN, LSTM and GRU as ONNX's own operators.

ONNX's operators know no mask, but sequences of unequal length. So where there is a mask, the steps that count are moved
to the front, the others lie behind the sequence's end, and every step reads the state after the last one that counted.

Legend: T steps, n rows, E inputs, H units, G gates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kerascli import activations
from kerascli.exporters.onnx_registry import becomes, reads, refuses
from kerascli.exporters.onnx_shapes import LAST
from kerascli.exporters.onnx_sheet import Attribute, Sheet
from kerascli.layers.rnn_gru import GRUCell
from kerascli.layers.rnn_lstm import LSTMCell
from kerascli.layers.rnn_simple import SimpleRNNCell
from kerascli.ops import gru, lstm, recurrent, simple_rnn
from kerascli.ops.ir import Array, Value
from kerascli.ops.unrolled import Loop

GATES = {"RNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2)}
"""In the order of ONNX's operator, the numbers of Keras's gates."""
STATES = {"RNN": ("h0",), "LSTM": ("h0", "c0"), "GRU": ("h0",)}
"""Roles of the states before the first step."""


@dataclass(frozen=True)
class Recurrence:
    """What one of ONNX's operators does."""

    operator: str
    values: Mapping[str, Value]
    """The inputs by role: see ops/recurrent.py."""
    backwards: bool
    sequences: bool
    """Whether the states at every step are asked for."""
    attributes: Mapping[str, Attribute]

    @property
    def read(self) -> list[str]:
        """Roles of what varies with the sample; the others are weights."""
        return [role for role in ("x", "mask", *STATES[self.operator]) if role in self.values]


def write(g: Sheet, net: Recurrence, *inputs: str) -> tuple[str, list[str]]:
    """The states (T, n, H) at every step, and the last ones (n, H)."""
    read = dict(zip(net.read, inputs, strict=True))
    given = [read.get(role) for role in STATES[net.operator]]
    starts = [g.node("Unsqueeze", state, g.whole_numbers([0])) if state else "" for state in given]
    if "mask" in read:
        states, last = _masked(g, net, read["x"], read["mask"], starts)
    else:
        states, last = _operator(g, net, read["x"], "", starts, net.backwards)
    return states, [g.node("Squeeze", state, g.whole_numbers([0])) for state in last]


# ---------------------------------------------------------------- the usual activations
KINDS = {simple_rnn.SimpleRnn: "RNN", lstm.Lstm: "LSTM", gru.Gru: "GRU"}


def _of_op(v: Value) -> Recurrence:
    assert isinstance(v.op, recurrent.SequenceOp)
    attributes = {"linear_before_reset": 1} if isinstance(v.op, gru.Gru) else {}
    return Recurrence(KINDS[type(v.op)], v.op.by_role(v.inputs), v.op.backwards, v.op.sequences, attributes)


@reads(*KINDS)
def _op_reads(v: Value) -> Sequence[Value]:
    net = _of_op(v)
    return [net.values[role] for role in net.read]


@becomes(*KINDS)
def _op(g: Sheet, v: Value, *inputs: str) -> tuple[str, ...]:
    assert isinstance(v.op, recurrent.SequenceOp)
    states, last = write(g, _of_op(v), *inputs)
    ends = last[len(last) - len(v.op.ends) :]
    return states if v.op.sequences else last[0], *("",) * (len(v.further) - len(ends)), *ends


# ---------------------------------------------------------------- other activations: steps that were written out
def _of_loop(v: Value) -> Recurrence | None:
    """The whole recurrence; none where ONNX lacks one of its functions."""
    loop = v.trace.loops[v]
    assert isinstance(loop, Loop)
    cell = loop.cell
    assert isinstance(cell, (SimpleRNNCell, LSTMCell, GRUCell))
    operator = "RNN" if isinstance(cell, SimpleRNNCell) else "LSTM" if isinstance(cell, LSTMCell) else "GRU"
    given = [cell.activation] if isinstance(cell, SimpleRNNCell) else [cell.recurrent_activation, cell.activation]
    found = [*map(_function, given), *([_function(cell.activation)] if operator == "LSTM" else [])]
    functions = [function for function in found if function is not None]
    if len(functions) < len(found):
        return None
    attributes: dict[str, Attribute] = {"activations": [name for name, _ in functions]}
    for place, name in enumerate(("activation_alpha", "activation_beta")):
        if own := [numbers[place] for _, numbers in functions if len(numbers) > place]:
            attributes[name] = own
    if isinstance(cell, GRUCell):
        attributes["linear_before_reset"] = int(cell.reset_after)
    return Recurrence(operator, loop.values, loop.backwards, loop.sequences, attributes)


def _function(activation: activations.Activation | None) -> tuple[str, tuple[float, ...]] | None:
    """ONNX's name of an activation within a recurrence, and what it has of the numbers alpha and beta."""
    match activation:
        case None | activations.Linear():
            return "Affine", (1.0, 0.0)
        case activations.Tanh() | activations.Sigmoid() | activations.Softsign() | activations.Softplus():
            return type(activation).__name__, ()
        case activations.Relu(negative_slope=0, max_value=None, threshold=0):
            return "Relu", ()
        case activations.LeakyRelu() | activations.Relu(max_value=None, threshold=0):
            return "LeakyRelu", (activation.negative_slope,)
        case activations.Elu():
            return "Elu", (activation.alpha,)
        case activations.HardSigmoid():
            return "HardSigmoid", (1 / 6, 0.5)
        case activations.SparseSigmoid():
            return "HardSigmoid", (0.5, 0.5)
        case _:
            return None


@refuses(Loop)
def _loop_refused(v: Value) -> str:
    return "" if _of_loop(v) else "ONNX has no such function for a recurrence"


@reads(Loop)
def _loop_reads(v: Value) -> Sequence[Value]:
    net = _of_loop(v)
    assert net is not None
    return [net.values[role] for role in net.read]


@becomes(Loop)
def _loop(g: Sheet, v: Value, *inputs: str) -> tuple[str, ...]:
    net = _of_loop(v)
    assert net is not None
    states, last = write(g, net, *inputs)
    return g.transpose(states, (1, 0, 2)) if net.sequences else last[0], *last


# ---------------------------------------------------------------- with and without a mask
def _masked(g: Sheet, net: Recurrence, x: str, mask: str, starts: list[str]) -> tuple[str, list[str]]:
    """The states (T, n, H) where the mask (T, n) leaves steps out, and the last ones (1, n, H)."""
    if net.backwards:
        x, mask = _reverse(g, x), _reverse(g, mask)
    front, lengths = _front(g, x, mask, net.values["x"].shape[0])
    states, last = _operator(g, net, front, lengths, starts, backwards=False)
    if not net.sequences:
        return states, last
    states = _back(g, states, mask, starts[0] or _zeros(g, x, net.values["u"].shape[0]))
    return _reverse(g, states) if net.backwards else states, last


def _operator(
    g: Sheet, net: Recurrence, x: str, lengths: str, starts: list[str], backwards: bool
) -> tuple[str, list[str]]:
    """The states (T, n, H), and the last ones (1, n, H), of sequences that are so long."""
    gates = GATES[net.operator]
    known = {role: g.array(net.values[role]) for role in ("w", "u", "b", "rb") if role in net.values}
    stored = {"W": _ordered(known["w"], gates), "R": _ordered(known["u"], gates)}
    if "b" in known:
        both = (known["b"], known.get("rb", np.zeros_like(known["b"])))
        stored["B"] = np.concatenate([_ordered(bias, gates) for bias in both])
    named = {name: g.constant(array[None], f"{g.prefix}/{name}") for name, array in stored.items()}
    inputs = [x, named["W"], named["R"], named.get("B", ""), lengths, *starts]
    while not inputs[-1]:
        inputs.pop()
    attributes = {"hidden_size": len(known["u"]), **net.attributes, **({"direction": "reverse"} if backwards else {})}
    states, *last = g.several(net.operator, 1 + len(starts), *inputs, **attributes)
    return g.node("Squeeze", states, g.whole_numbers([1])), last


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
