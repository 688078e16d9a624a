"""A recurrent net written out step by step in plain ops: slower than a coarse op, but any cell goes.

Legend: T steps, n rows of a block, H units, G gates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kerascli.ops.elementwise import multiply, where
from kerascli.ops.ir import Value, constant
from kerascli.ops.linear import SpreadOverBatch, matmul
from kerascli.ops.recurrent import step_order
from kerascli.ops.shape import batch_major, concatenate, cut, reshape, split

States = tuple[Value, ...]
Cell = Callable[[Value, States], States]
"""From a step's projected input (G·H,) and the states (H,) before it, to those after it; the first is the output."""


@dataclass(frozen=True, eq=False)
class Loop:
    """A sequence that was written out step by step, for those who have one word for it. The trace knows it."""

    cell: object
    """The layer that says what a step does."""
    values: Mapping[str, Value]
    """The inputs by role, as those of the coarse ops: see ops/recurrent.py."""
    backwards: bool
    sequences: bool
    results: tuple[Value, ...]
    """The output at every time, or after the last step; and the states after the last step."""


def unroll(
    cell: Cell, z: Value, states: States, mask: Value | None, backwards: bool, sequences: bool
) -> tuple[Value, States]:
    """The output (T, H) at every time, or (H,) after the last step, from the projected sequence z (T, G·H).

    And the states after the last step.
    """
    steps = _steps(batch_major(z))
    kept = None if mask is None else _steps(batch_major(mask))
    outputs: dict[int, Value] = {}
    for t in step_order(len(steps), backwards):
        new = cell(steps[t], states)
        if kept is not None:
            new = tuple(where(kept[t], after, before) for after, before in zip(new, states, strict=True))
        states = new
        outputs[t] = states[0]
    if not sequences:
        return states[0], states
    return concatenate([reshape(outputs[t], (1, *outputs[t].shape)) for t in range(len(steps))], axis=0), states


def _steps(x: Value) -> list[Value]:
    """x (T, ...) taken apart. By halves: the gradient of a slice is as big as what it was cut from."""
    if x.shape[0] == 1:
        return [reshape(x, x.shape[1:])]
    middle = x.shape[0] // 2
    return [*_steps(cut(x, 0, middle, axis=0)), *_steps(cut(x, middle, x.shape[0], axis=0))]


def zeros(units: int, like: Value) -> Value:
    """A state (H,) of zeros for every sample of `like`."""
    return like.trace.add(SpreadOverBatch(0), constant(like.trace, [0.0] * units), like)


def state_product(h: Value, u: Value, drop: Value | None) -> Value:
    """h @ u, every gate's part from its own dropped h where `drop` (G·H,) says so."""
    if drop is None:
        return matmul(h, u)
    gates = u.shape[1] // u.shape[0]
    parts = zip(split(u, gates), split(drop, gates), strict=True)
    return concatenate([matmul(multiply(h, keep), part) for part, keep in parts])
