"""Reverse-mode differentiation: every op's derivative rule, applied from the loss back to the weights."""

from __future__ import annotations

from collections.abc import Iterable

from kerascli.ops.elementwise import add
from kerascli.ops.ir import Further, Value, constant


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
    trace, wrt = loss.trace, list(wrt)
    forward = trace.values[: loss.number + 1]
    needed = dependents(forward, wrt)
    found: dict[Value, Value] = {loss: constant(trace, 1.0)}
    for value in reversed(forward):
        if value not in needed or not value.inputs or isinstance(value.op, Further):
            continue
        given = [found.get(v) for v in (value, *value.further)]
        if not any(given):
            continue
        parts = value.op.gradients(value, *given)
        for source, part in zip(value.inputs, parts, strict=True):
            if part is not None and source in needed:
                found[source] = add(found[source], part) if source in found else part
    return {value: found[value] for value in wrt if value in found}
