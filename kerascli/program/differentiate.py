"""Reverse-mode differentiation: every op's derivative rule, applied from the loss back to the weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from kerascli.ops.elementwise import add
from kerascli.ops.ir import Further, Value, constant
from kerascli.ops.shape import Concatenate, Insert


def dependents(trace_values: Iterable[Value], wrt: Iterable[Value]) -> set[Value]:
    """The values that change when one of `wrt` does."""
    found = set(wrt)
    for value in trace_values:
        if any(i in found for i in value.inputs):
            found.add(value)
    return found


def gradients(loss: Value, wrt: Iterable[Value]) -> dict[Value, Value]:
    """Gradients of the scalar `loss` with respect to `wrt`, as new values of the same trace.

    A value of `wrt` that the loss does not depend on is missing from the result.
    """
    wrt = list(wrt)
    forward = loss.trace.values[: loss.number + 1]
    needed = dependents(forward, wrt)
    sums = _Sums()
    sums.add(loss, constant(loss.trace, 1.0))
    for value in reversed(forward):
        if value not in needed or not value.inputs or isinstance(value.op, Further):
            continue
        given = [sums.of(v) for v in (value, *value.further)]
        if not any(given):
            continue
        parts = value.op.gradients(value, *given)
        for source, part in zip(value.inputs, parts, strict=True):
            if part is not None and source in needed:
                sums.add(source, part)
    return {value: found for value in wrt if (found := sums.of(value)) is not None}


class _Sums:
    """What each value's gradient is made of.

    Gradients of slices are as big as what was cut, and nearly all zeros. They wait, so that those of the pieces of one
    whole are put together instead of added up.
    """

    def __init__(self) -> None:
        self.found: dict[Value, Value] = {}
        self.pieces: dict[Value, list[Value]] = defaultdict(list)

    def add(self, value: Value, part: Value) -> None:
        if isinstance(part.op, Insert) and part.op.step == 1:
            self.pieces[value].append(part)
        else:
            self.found[value] = add(self.found[value], part) if value in self.found else part

    def of(self, value: Value) -> Value | None:
        """The sum, once all is there; None where there is nothing."""
        for part in _joined(self.pieces.pop(value, [])):
            self.found[value] = add(self.found[value], part) if value in self.found else part
        return self.found.get(value)


def _joined(pieces: list[Value]) -> list[Value]:
    """The pieces as one value where they fill an axis between them."""
    inserts = sorted(((p.op, p) for p in pieces if isinstance(p.op, Insert)), key=lambda pair: pair[0].start)
    ends = [0, *(op.stop for op, _ in inserts)]
    alike = len({(op.axis, op.size, p.type, p.scope) for op, p in inserts}) == 1
    if len(pieces) < 2 or not alike or [op.start for op, _ in inserts] != ends[:-1] or ends[-1] != inserts[0][0].size:
        return pieces
    return [pieces[0].trace.add(Concatenate(inserts[0][0].axis), *(p.inputs[0] for _, p in inserts))]
