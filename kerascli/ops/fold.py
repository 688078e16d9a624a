"""The steps of a sequence as rows of their own, so that every op works on all of them in one call.

A batch-major array (n, T, ...) is, seen otherwise, n·T rows (...). Folding changes how the memory is seen and nothing
else: the value then has `times` = T rows a sample, and so has all that is made of it until it is unfolded.

Legend: n samples, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kerascli.ops.ir import ShapeError, Type, Value
from kerascli.ops.shape import _View, batch_major, concatenate, cut, reshape


class Fold(_View):
    """A sample (T, ...) as T rows (...)."""

    refolds = True

    def infer(self, x: Value) -> Type:
        return Type(x.shape[1:], x.dtype, times=x.times * x.shape[0])

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (unfold(dy, y.inputs[0].shape[0]),)


class Unfold(_View):
    """Every `steps` rows (...) as one (steps, ...): the inverse of Fold."""

    steps: int
    refolds = True

    def infer(self, x: Value) -> Type:
        if x.times % self.steps:
            raise ShapeError(f"{x.times} rows a sample do not make sequences of {self.steps} steps")
        return Type((self.steps, *x.shape), x.dtype, times=x.times // self.steps)

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (fold(dy),)


def fold(x: Value) -> Value:
    """x (T, ...) as T rows (...)."""
    x = batch_major(x)
    if isinstance(x.op, Unfold) and x.op.steps == x.shape[0]:
        return x.inputs[0]
    return x.trace.add(Fold(), x)


def unfold(x: Value, steps: int) -> Value:
    """Rows (...) as sequences (steps, ...)."""
    x = batch_major(x)
    if isinstance(x.op, Fold) and x.inputs[0].shape[0] == steps:
        return x.inputs[0]
    return x.trace.add(Unfold(steps), x)


@contextmanager
def rows_like(x: Value) -> Iterator[None]:
    """Random numbers made meanwhile are drawn for every row of x."""
    trace, before = x.trace, x.trace.times
    trace.times = x.times
    try:
        yield
    finally:
        trace.times = before


def unstack(x: Value) -> list[Value]:
    """The T steps (...) of x (T, ...)."""
    return [reshape(cut(x, t, t + 1, axis=0), x.shape[1:]) for t in range(x.shape[0])]


def stack(values: Sequence[Value]) -> Value:
    """Values (...) as the steps of a sequence (T, ...): the inverse of `unstack`."""
    return concatenate([reshape(x, (1, *x.shape)) for x in values], axis=0)
