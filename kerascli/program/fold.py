"""Factors and shifts of whole channels, folded into the matrix and the bias of the product that they follow.

(x @ w + b) · s + t = x @ (w · s) + (b · s + t): a normalisation by moving averages then costs no pass over the samples.
"""

from __future__ import annotations

from collections import Counter

from kerascli.ops.elementwise import Add, Multiply, add, multiply
from kerascli.ops.ir import Further, Scope, Trace, Value
from kerascli.ops.linear import BiasAdd, MatMul, Tile, bias_add
from kerascli.program.plan import reachable


def fold(wanted: list[Value]) -> dict[Value, Value]:
    """A new trace with the wanted values: maps the old ones to the new ones."""
    folder = Folder(wanted)
    return {value: folder.done[value] for value in wanted}


class Folder:
    def __init__(self, wanted: list[Value]) -> None:
        self.trace = Trace()
        self.done: dict[Value, Value] = {}
        values = reachable(wanted)
        self.readers = Counter([source for value in values for source in value.inputs] + wanted)
        for value in values:
            self.done[value] = self._rebuild(value)

    def _rebuild(self, value: Value) -> Value:
        op = value.op
        if isinstance(op, Further):
            return self.done[value.inputs[0]].further[op.index]
        if isinstance(op, (Add, Multiply)):
            for x, vector in (value.inputs, value.inputs[::-1]):
                if x.scope == Scope.BLOCK != vector.scope and vector.shape == x.shape[-1:] and vector.dtype == "float":
                    merge = self._scaled if isinstance(op, Multiply) else self._shifted
                    if (merged := merge(x, self.done[vector])) is not None:
                        return merged
        return self.trace.add(op, *(self.done[i] for i in value.inputs), scope=value.scope)

    def _scaled(self, x: Value, factor: Value) -> Value | None:
        """x · factor, where x is a product, or one with a bias, that nobody else reads."""
        if self.readers[x] > 1:
            return None
        if isinstance(x.op, MatMul) and x.inputs[1].scope != Scope.BLOCK:
            rows, matrix = (self.done[i] for i in x.inputs)
            return self.trace.add(x.op, rows, multiply(matrix, factor))
        if isinstance(x.op, BiasAdd):
            product = self._scaled(x.inputs[0], factor)
            return product and bias_add(product, multiply(_untiled(self.done[x.inputs[1]]), factor))
        return None

    def _shifted(self, x: Value, shift: Value) -> Value | None:
        """x + shift, where x is a product, or one with a bias."""
        found = self.done[x]
        if isinstance(found.op, BiasAdd):
            return bias_add(found.inputs[0], add(_untiled(found.inputs[1]), shift))
        return bias_add(found, shift) if isinstance(found.op, MatMul) else None


def _untiled(bias: Value) -> Value:
    return bias.inputs[0] if isinstance(bias.op, Tile) else bias
