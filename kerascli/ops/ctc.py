"""Connectionist temporal classification: the loss of a sequence of logits against labels that nobody aligned.

A path says one class at every step; without repetitions, then without blanks (class 0), it spells the labels. The loss
is -log of the sum of the probabilities of all paths that do. Sums go over states: blank, label, blank, label, …, blank.
From one step to the next a path stays, goes on by one state, or leaves out the blank between two different labels.

forward   α(t, s) = x(t, s) + log(e^α(t-1, s) + e^α(t-1, s-1) + e^α(t-1, s-2))
backward  β(t, s) = log(e^(β + x)(t+1, s) + e^(β + x)(t+1, s+1) + e^(β + x)(t+1, s+2))
gradient  of a logit: its probability less that of the paths being in its class, e^(α(t, s) + β(t, s) - log p)

x are log-probabilities. Sums are made in float64, for logarithms of long sequences are large numbers. What cannot be
costs 1e5 rather than infinity, as in Keras on JAX: labels that are too long give a large loss and no NaN.

Legend: n samples of a block, T steps, C classes, L labels at most, S = 2L + 1 states. Source: Graves et al., 2006.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from kerascli.ops.elementwise import cast
from kerascli.ops.ir import Array, Call, Op, Shape, ShapeError, Site, Type, Value
from kerascli.ops.shape import batch_major

NEVER = -1e5
"""Log-probability of what cannot be."""
Room = tuple[tuple[Shape, str], ...]


class CtcLoss(Op):
    """-log p of the labels. Inputs: logits (T, C) and labels (L,). Labels out of range mean the nearest class.

    Further outputs: the log-probabilities (T, C), those of each state's class (T, S), and α (T + 1, S), whose first row
    is before the first step. In the last two, time is the first axis of the array.
    """

    stepwise = True
    cheap = False

    def infer(self, x: Value, labels: Value) -> Type:
        return Type(())

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        steps, states = inputs[0].shape[0], _states(inputs[1])
        return inputs[0].type, Type((steps, states), "float64", 1), Type((steps + 1, states), "float64", 1)

    def scratch(self, rows: int, *inputs: Value) -> Room:
        steps, states = inputs[0].shape[0], _states(inputs[1])
        own = ((rows, steps), "float"), ((rows, steps), "float"), ((rows, states), "float64"), ((2, rows), "float64")
        return *own, *_places_room(rows, steps, states), *_lattice_room(rows, states)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x, labels), (logs, emitted, alpha) = inputs, site.aux
        high, total, skipped, ends = site.scratch[:4]
        places, found = site.scratch[4:6]
        lattice = _Lattice(*site.scratch[6:])
        calls: list[Call] = [
            *_log_softmax(x, high, total, logs),
            *lattice.read(site, labels, x.shape[2]),
            partial(np.add, _first_places(x), lattice.classes, places),
            partial(logs.take, places, None, found, "clip"),
            partial(np.copyto, emitted, found),
            partial(alpha[0].fill, NEVER),
            partial(alpha[0, :, 0].fill, 0),
        ]
        for a, b, chances in zip(alpha, alpha[1:], emitted, strict=False):
            calls += [
                partial(np.copyto, b, a),
                partial(np.logaddexp, a[:, 1:], a[:, :-1], b[:, 1:]),
                partial(np.add, a[:, :-2], lattice.skip, skipped[:, 2:]),
                partial(np.logaddexp, b[:, 2:], skipped[:, 2:], b[:, 2:]),
                partial(np.add, b, chances, b),
            ]
        return [*calls, *lattice.finish(alpha[-1], ends, out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return y.trace.add(CtcGradient(), *y.further, y.inputs[1], dy), None

    def flops(self, y: Value, rows: int) -> int:
        return 60 * rows * y.inputs[0].shape[0] * _states(y.inputs[1])


class CtcGradient(Op):
    """(softmax(x) - probability of being in the class) · dy. Inputs: the loss's further outputs, the labels, dy."""

    stepwise = True
    cheap = False

    def infer(self, logs: Value, *inputs: Value) -> Type:
        return logs.type

    def scratch(self, rows: int, *inputs: Value) -> Room:
        steps, states = inputs[0].shape[0], _states(inputs[3])
        own = *(((rows, states), "float64"),) * 4, ((2, rows), "float64"), ((rows,), "float64")
        return *own, *_places_room(rows, steps, states), *_lattice_room(rows, states)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        logs, emitted, alpha, labels, dy = inputs
        beta, ahead, skipped, seen, ends, loss = site.scratch[:6]
        places, within = site.scratch[6:8]
        lattice = _Lattice(*site.scratch[8:])
        calls: list[Call] = [
            *lattice.read(site, labels, logs.shape[2]),
            partial(np.add, _first_places(logs), lattice.classes, places),
            *lattice.finish(alpha[-1], ends, loss),
            partial(beta.fill, -np.inf),
            partial(beta.put, lattice.final, 0, "clip"),
            partial(beta.put, lattice.before, 0, "clip"),
        ]
        for a, share, chances in zip(alpha[:0:-1], within[::-1], emitted[::-1], strict=True):
            calls += [
                partial(np.add, a, beta, seen),
                partial(np.add, seen, loss[:, None], seen),
                partial(np.exp, seen, seen),
                partial(np.copyto, share, seen, "same_kind"),
                partial(np.add, beta, chances, ahead),
                partial(np.copyto, beta, ahead),
                partial(np.logaddexp, ahead[:, :-1], ahead[:, 1:], beta[:, :-1]),
                partial(np.add, ahead[:, 2:], lattice.skip, skipped[:, 2:]),
                partial(np.logaddexp, beta[:, :-2], skipped[:, 2:], beta[:, :-2]),
            ]
        return [
            *calls,
            partial(np.exp, logs, out),
            partial(np.subtract.at, out.reshape(-1), places.reshape(-1), within.reshape(-1)),
            partial(np.multiply, out, dy[:, None, None], out),
        ]

    def flops(self, y: Value, rows: int) -> int:
        return 100 * rows * y.shape[0] * _states(y.inputs[3])


class _Lattice(NamedTuple):
    """Temporary arrays that say what the states are."""

    classes: Array
    """(n, S): the class of each state."""
    skip: Array
    """(n, S - 2): log-probability of leaving out the state after this one."""
    flags: Array
    """(n, L)"""
    final: Array
    """(n,): place of the last blank in a flat array of states."""
    before: Array
    """(n,): place of the last label, or of the blank where there is no label."""
    empty: Array
    """(n,): whether there is no label."""

    def read(self, site: Site, labels: Array, count: int) -> list[Call]:
        """Fill them. A blank cannot be left out before a blank, and between two equal labels only at the price."""
        own, flags = self.classes[:, 1::2], self.flags
        first = np.arange(len(labels)) * self.classes.shape[1]
        return [
            partial(self.classes.fill, 0),
            partial(np.copyto, own, labels),
            partial(np.minimum, own, site.constant(count - 1, own.shape, np.int64), out=own),
            partial(np.maximum, own, site.constant(0, own.shape, np.int64), out=own),
            partial(self.skip.fill, -np.inf),
            partial(np.equal, own[:, 1:], own[:, :-1], flags[:, 1:]),
            partial(np.multiply, flags[:, 1:], NEVER, self.skip[:, 1::2]),
            partial(np.not_equal, labels, 0, flags),
            partial(np.add.reduce, flags, 1, np.int64, self.final),
            partial(np.equal, self.final, 0, self.empty),
            partial(np.multiply, self.final, 2, self.final),
            partial(np.add, self.final, first, self.final),
            partial(np.subtract, self.final, 1, self.before),
            partial(np.add, self.before, self.empty, self.before),
        ]

    def finish(self, alpha: Array, ends: Array, out: Array) -> list[Call]:
        """out = -log p: a path ends in the last blank or, where there is one, in the last label. `ends` is (2, n)."""
        states, (blank, label) = alpha.reshape(-1), ends
        return [
            partial(states.take, self.final, None, blank, "clip"),
            partial(states.take, self.before, None, label, "clip"),
            partial(np.copyto, label, -np.inf, where=self.empty),
            partial(np.logaddexp, blank, label, blank),
            partial(np.negative, blank, out, casting="same_kind"),
        ]


def ctc(labels: Value, logits: Value) -> Value:
    """(n, L) class numbers, ended by zeros, and (n, T, C) logits → (n,)."""
    if len(logits.shape) != 2 or len(labels.shape) != 1:
        raise ShapeError(
            f"CTC compares outputs (steps, classes) with labels (length,), not {logits.shape} with {labels.shape}"
        )
    return logits.trace.add(CtcLoss(), batch_major(logits), cast(batch_major(labels), "int32"))


def _states(labels: Value) -> int:
    return 2 * labels.shape[0] + 1


def _lattice_room(rows: int, states: int) -> Room:
    kinds = ((rows, states), "int64"), ((rows, states - 2), "float64"), ((rows, states // 2), "bool")
    return *kinds, ((rows,), "int64"), ((rows,), "int64"), ((rows,), "bool")


def _places_room(rows: int, steps: int, states: int) -> Room:
    """Places of the states' classes in the flat log-probabilities, and numbers from there or to be taken off there."""
    return ((steps, rows, states), "int64"), ((steps, rows, states), "float")


def _first_places(x: Array) -> Array:
    """(T, n, 1): where each step of each sample begins in the flat array."""
    rows, steps, classes = x.shape
    first: Array = (np.arange(rows)[:, None] * steps + np.arange(steps)[:, None, None]) * classes
    return first


def _log_softmax(x: Array, high: Array, total: Array, out: Array) -> list[Call]:
    return [
        partial(np.maximum.reduce, x, -1, None, high),
        partial(np.subtract, x, high[..., None], out),
        partial(np.exp, out, out),
        partial(np.add.reduce, out, -1, None, total),
        partial(np.log, total, total),
        partial(np.add, total, high, total),
        partial(np.subtract, x, total[..., None], out),
    ]
