"""Rewrites of the forward pass that keep its meaning and make it faster. Derivatives follow from what is left.

- Factors and shifts of whole channels go into the weights before them (fold.py).
- 3×3 convolutions of many channels run as Winograd's (unless `exact`). Their outputs are tiled; what works on every
  element or channel alone is done on the tiles, so that chains of convolutions never go back to natural order.
- A maximum pool commutes with a bias and with activations that never decrease: pooling first leaves p·q times less
  work.
- Outputs of a convolution that the pool drops are never computed, and its rows are ordered by pooling phase, so that
  the inputs of every window lie in contiguous planes.
- Dead values fall away, because only what the wanted values need is rebuilt.
"""

from __future__ import annotations

from collections import defaultdict

from kerascli.ops.batch_norm import ChannelSums, ScaleShift
from kerascli.ops.elementwise import Add, Multiply, Subtract
from kerascli.ops.ir import Further, Op, Scope, Trace, Value
from kerascli.ops.linear import BiasAdd, Tile, bias_add
from kerascli.ops.pooling import MaxPool
from kerascli.ops.shape import reshape
from kerascli.ops.window import ConvolutionProduct, Im2Col, Pad, Unphase, phase, unphase
from kerascli.ops.winograd import TILE, patch_convolution, tile_convolution
from kerascli.program.fold import fold
from kerascli.program.plan import reachable

WINOGRAD_CHANNELS, WINOGRAD_FILTERS = 16, 4
"""Channels and filters from which Winograd's convolution is faster (measured): its transforms need products to pay."""
WINOGRAD_GAIN = 2.5
"""Direct products for each of Winograd's from which it is faster. It is 4 where tiles fit, less where they overhang."""
TILED = (TILE, TILE)
CHANNELWISE = (BiasAdd, ChannelSums, ScaleShift, Add, Subtract, Multiply)
"""Ops that treat all positions alike and the channels, if at all, by vectors along the last axis."""


def simplify(wanted: list[Value], exact: bool = False) -> dict[Value, Value]:
    """A new trace with the wanted values, simplified: maps the old wanted values to the new ones."""
    folded = fold(wanted)
    rewriter = Rewriter([folded[value] for value in wanted], exact)
    return {value: rewriter.done[folded[value]] for value in wanted}


class Rewriter:
    """Rebuilds the values in order. A tiled value is recorded together with its Unphase, which dies if nobody asks."""

    def __init__(self, wanted: list[Value], exact: bool) -> None:
        self.trace = Trace()
        self.exact = exact
        self.done: dict[Value, Value] = {}
        self.readers: dict[Value, list[Value | None]] = defaultdict(list)
        values = reachable(wanted)
        for value in values:
            for source in value.inputs:
                self.readers[source].append(value)
        for value in wanted:
            self.readers[value].append(None)
        for value in values:
            self.done[value] = self._rewrite(value)

    def _rewrite(self, value: Value) -> Value:
        op = value.op
        if isinstance(op, Further):
            return self.done[value.inputs[0]].further[op.index]
        if isinstance(op, MaxPool):
            return self._pool(value, op)
        if isinstance(op, ConvolutionProduct) and self._is_winograd(value):
            a, b = _cols(value).extent
            return self._winograd(value, (a, b))
        if isinstance(op, ConvolutionProduct) and self._feeds_winograd(value):
            return self._phased(value, TILED)
        return self._copy(value, *(self.done[i] for i in value.inputs))

    def _copy(self, value: Value, *inputs: Value) -> Value:
        """The same op on new inputs, on tiles where it does not matter in which order the positions come."""
        op = value.op
        if op.monotone or isinstance(op, CHANNELWISE):
            blocks = [x for x in inputs if x.scope == Scope.BLOCK]
            tiles = [t for x in blocks if (t := _tiled(x)) is not None]
            alike = len({x.type for x in blocks}) == len({t.type for t in tiles}) == 1
            if alike and len(tiles) == len(blocks) and all(x in blocks or _along_channels(x, op) for x in inputs):
                result = self.trace.add(op, *(tiles[blocks.index(x)] if x in blocks else x for x in inputs))
                return unphase(result, blocks[0].shape[:2]) if result.scope == Scope.BLOCK else result
        return self.trace.add(op, *inputs, scope=value.scope)

    # ---- pooling

    def _pool(self, value: Value, op: MaxPool) -> Value:
        """Pool before the biases and activations that lie between it and what it pools."""
        between: list[Value] = []
        source = value.inputs[0]
        while len(self.readers[source]) == 1 and (isinstance(source.op, BiasAdd) or source.op.monotone):
            between.append(source)
            source = source.inputs[0]
        y = self._pooled(source, op)
        for step in reversed(between):
            if isinstance(step.op, BiasAdd):
                bias = step.inputs[1]
                y = bias_add(y, self.done[bias.inputs[0] if isinstance(bias.op, Tile) else bias])
            else:
                y = self._copy(step, y)
        return y

    def _pooled(self, source: Value, pool: MaxPool) -> Value:
        """The maxima, of phases where the source is a convolution that nobody else reads, or tiled."""
        x, (p, q) = self.done[source], pool.pool
        lonely = isinstance(source.op, ConvolutionProduct) and len(self.readers[source]) == 1
        if lonely and (p, q) != (1, 1):
            a, b = _cols(source).extent
            extent = (a // p * p, b // q * q)
            if self._is_winograd(source):
                x = self._winograd(source, extent)
            elif min(extent) > 0 and len(self.readers[source.inputs[0]]) == 1:
                return self.trace.add(pool, self._phased(source, (p, q)).inputs[0])
        if isinstance(x.op, Unphase):
            tiles = x.inputs[0]
            if tiles.shape[0] % p == 0 and tiles.shape[1] % q == 0 and tiles.shape[:2] != (p, q):
                return unphase(self.trace.add(pool, tiles), (x.shape[0] // p, x.shape[1] // q))
        return self.trace.add(pool, x)

    # ---- convolutions

    def _phased(self, source: Value, size: tuple[int, int]) -> Value:
        """A convolution by windows whose rows come in phases, as far as these divide its extent; in an Unphase."""
        cols, matrix = source.inputs
        (p, q), (a, b) = size, _cols(source).extent
        ordered = _cols(source).but(extent=(a // p * p, b // q * q), phase=size)
        columns = self.trace.add(ordered, self.done[cols.inputs[0]])
        return self.trace.add(Unphase(), self.trace.add(source.op, columns, self.done[matrix]))

    def _is_winograd(self, value: Value) -> bool:
        """Whether a convolution runs as Winograd's: it depends on shapes alone."""
        if self.exact or not isinstance(value.op, ConvolutionProduct):
            return False
        cols = _cols(value)
        windows, channels, filters = cols.windows, value.inputs[0].inputs[0].shape[-1], value.shape[-1]
        square = (windows.kernel, windows.strides, windows.dilation) == ((3, 3), (1, 1), (1, 1))
        a, b = cols.extent
        gain = 9 * a * b / (36 * -(-a // TILE) * -(-b // TILE))
        return square and channels >= WINOGRAD_CHANNELS and filters >= WINOGRAD_FILTERS and gain >= WINOGRAD_GAIN

    def _winograd(self, value: Value, extent: tuple[int, int]) -> Value:
        """Winograd's convolution for the first outputs, in natural order."""
        cols, matrix = value.inputs
        source = cols.inputs[0]
        kernel = reshape(self.done[matrix], (3, 3, source.shape[-1], value.shape[-1]))
        if isinstance(source.op, Pad) and source.op == Pad(((1, 1), (1, 1), (0, 0))):
            tiles = phase(self.done[source.inputs[0]], TILED)
            return unphase(tile_convolution(tiles, kernel), extent)
        return unphase(patch_convolution(self.done[source], kernel, extent), extent)

    def _feeds_winograd(self, value: Value) -> bool:
        """Whether a convolution's output comes, still in full, to one that wants tiles."""
        a, b, _ = value.shape
        if a % TILE or b % TILE:
            return False
        todo = [value]
        while todo:
            for reader in self.readers[todo.pop()]:
                if reader is None:
                    continue
                if isinstance(reader.op, Pad):
                    ahead = [r for cols in self.readers[reader] if cols for r in self.readers[cols] if r]
                    if any(self._is_winograd(r) for r in ahead):
                        return True
                elif (reader.op.monotone or isinstance(reader.op, CHANNELWISE)) and reader.shape[:2] == (a, b):
                    todo.append(reader)
        return False


def _cols(convolution: Value) -> Im2Col:
    op = convolution.inputs[0].op
    assert isinstance(op, Im2Col)
    return op


def _tiled(x: Value) -> Value | None:
    """The tiles of a value that fills them exactly."""
    return x.inputs[0] if isinstance(x.op, Unphase) and x.op.crop == (0, 0) else None


def _along_channels(x: Value, op: Op) -> bool:
    """A number or a vector that meets every position alike; the ops with vectors of their own see to that."""
    return not isinstance(op, (Add, Subtract, Multiply)) or all(d == 1 for d in x.shape[:-1])
