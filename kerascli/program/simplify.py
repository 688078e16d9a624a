"""Rewrites of the forward pass that keep its meaning and make it faster. Derivatives follow from what is left.

- A maximum pool commutes with a bias and with activations that never decrease: pooling first leaves p·q times less work.
- Outputs of a convolution that the pool drops are never computed, and its rows are ordered by pooling phase, so that
  the inputs of every window lie in contiguous planes.
- Dead values fall away, because only what the wanted values need is rebuilt.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from kerascli.ops.ir import Further, Op, Trace, Value
from kerascli.ops.linear import BiasAdd, Tile, bias_add
from kerascli.ops.pooling import MaxPool
from kerascli.ops.window import ConvolutionProduct, Im2Col
from kerascli.program.plan import reachable


def simplify(trace: Trace, wanted: list[Value], exact: bool = False) -> dict[Value, Value]:
    """A new trace with the wanted values, simplified: maps the old wanted values to the new ones."""
    rewriter = Rewriter(wanted)
    return {value: rewriter.rebuild(value) for value in wanted}


class Rewriter:
    def __init__(self, wanted: list[Value]) -> None:
        self.trace = Trace()
        self.done: dict[Value, Value] = {}
        self.uses = Counter(source for value in reachable(wanted) for source in value.inputs)
        self.uses.update(wanted)
        for value in reachable(wanted):
            self.done[value] = self._rewrite(value)

    def rebuild(self, value: Value) -> Value:
        return self.done[value]

    def _rewrite(self, value: Value) -> Value:
        op = value.op
        if isinstance(op, Further):
            return self.done[value.inputs[0]].further[op.index]
        if isinstance(op, MaxPool):
            return self._pool(value, op)
        return self._copy(op, value, *(self.done[i] for i in value.inputs))

    def _copy(self, op: Op, value: Value, *inputs: Value) -> Value:
        return self.trace.add(op, *inputs, scope=value.scope)

    def _pool(self, value: Value, op: MaxPool) -> Value:
        """Pool before the biases and activations that lie between it and what it pools."""
        between: list[Value] = []
        source = value.inputs[0]
        while self.uses[source] == 1 and (isinstance(source.op, BiasAdd) or source.op.monotone):
            between.append(source)
            source = source.inputs[0]
        y = self.trace.add(op, self._phased(source, op))
        for step in reversed(between):
            if isinstance(step.op, BiasAdd):
                bias = step.inputs[1]
                y = bias_add(y, self.done[bias.inputs[0] if isinstance(bias.op, Tile) else bias])
            else:
                y = self._copy(step.op, step, y)
        return y

    def _phased(self, source: Value, pool: MaxPool) -> Value:
        """The pool's input, its rows ordered by phase where it is a convolution that nobody else reads."""
        op = source.op
        if not isinstance(op, ConvolutionProduct) or self.uses[source] > 1:
            return self.done[source]
        cols, matrix = source.inputs
        assert isinstance(cols.op, Im2Col)
        (p, q), (a, b) = pool.pool, cols.op.extent
        x = self.done[cols.inputs[0]]
        extent = (a // p * p, b // q * q)
        if self.uses[cols] > 1 or min(extent) < 1 or (p, q) == (1, 1):
            return self.done[source]
        ordered = self.trace.add(replace(cols.op, extent=extent, phase=(p, q)), x)
        return self.trace.add(op, ordered, self.done[matrix])
