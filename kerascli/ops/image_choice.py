"""One of several ways to change images, chosen anew for each batch: only the chosen one is worked out.

Every way is a small trace of its own from a placeholder to a result. Its arrays lie in scratch memory that all ways
share, one after the other; they are found when the op is bound, so that a step only runs the calls of the way it took.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod

import numpy as np

from kerascli.ops.ir import Array, Call, Constant, Input, Op, Scope, Shape, Site, Trace, Type, Value
from kerascli.ops.shape import batch_major

ALIGNMENT = 16
"""Arrays begin at multiples of so many floats."""


@dataclass(frozen=True, eq=False)
class Way:
    """From an image to an image, as a trace of its own."""

    name: str
    image: Value
    result: Value = field(repr=False)

    def values(self) -> list[Value]:
        """What has to be worked out, in order."""
        found: set[Value] = set()
        todo = [self.result]
        while todo:
            value = todo.pop()
            if value not in found and value is not self.image:
                found.add(value)
                todo += value.inputs
        return sorted(found, key=lambda value: value.number)

    def floats(self, rows: int) -> int:
        """Scratch memory in floats of the program; integers of 8 bytes take two, in any precision."""
        return sum(_floats(shape, kind) for value in self.values() for shape, kind in _arrays(value, rows))

    def calls(self, site: Site, memory: Array, image: Array, out: Array) -> list[Call]:
        """The calls that change `image` into `out`."""
        arrays = {self.image: image}
        calls: list[Call] = []
        start = 0
        for value in self.values():
            room = []
            for shape, kind in _arrays(value, site.rows):
                stop = start + _floats(shape, kind)
                room.append(_seen(memory[start:stop], shape, site.dtype if kind == "float" else np.dtype(kind)))
                start = stop
            if isinstance(value.op, Constant):
                arrays[value] = value.op.array(site.dtype)
                continue
            inputs = [arrays[source] for source in value.inputs]
            if value.op.view:
                arrays[value] = inputs[0].reshape(value.whole(site.rows))
                continue
            arrays[value] = room[0]
            own = Site(site.rows, site.dtype, room[1:], [], site.row, site.seed, site.constants)
            calls += value.op.bind(own, room[0], *inputs)
        return [*calls, partial(np.copyto, out, arrays[self.result])]


def _arrays(value: Value, rows: int) -> list[tuple[Shape, str]]:
    """The arrays that one value needs: its own and its op's temporary ones."""
    if value.op.view or isinstance(value.op, Constant):
        return []
    return [(value.whole(rows), value.dtype), *value.op.scratch(rows, *value.inputs)]


def _floats(shape: Shape, kind: str) -> int:
    size = prod(shape) * (2 if kind in ("int64", "uint64") else 1)
    return -(-size // ALIGNMENT) * ALIGNMENT


def _seen(memory: Array, shape: Shape, kind: np.dtype[np.generic]) -> Array:
    return memory.view(np.uint8)[: prod(shape) * kind.itemsize].view(kind).reshape(shape)


class Choice(Op):
    """The image changed in way number `number`, a number of the step."""

    ways: tuple[Way, ...]
    cheap = False

    def infer(self, image: Value, number: Value) -> Type:
        return Type(image.shape)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return (((max(way.floats(rows) for way in self.ways) + ALIGNMENT,), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        image, number = inputs
        ways = [way.calls(site, site.scratch[0], image, out) for way in self.ways]
        return [partial(_run, ways, number)]

    def flops(self, y: Value, rows: int) -> int:
        return 20 * super().flops(y, rows)


def _run(ways: list[list[Call]], number: Array) -> None:
    for call in ways[int(number)]:
        call()


def way(name: str, outer: Trace, shape: Shape, change: Callable[[Value], Value]) -> Way:
    """What `change` makes of an image; its random streams are counted with those of the whole program."""
    trace = Trace()
    trace.streams, trace.times = outer.streams, outer.times
    image = trace.add(Input(f"image:{name}", Type(shape, times=outer.times)), scope=Scope.BLOCK)
    result = batch_major(change(image))
    outer.streams = trace.streams
    return Way(name, image, result)


def choose(image: Value, number: Value, ways: Sequence[Way]) -> Value:
    """The image changed in one of the ways, the same for the whole batch."""
    return image.trace.add(Choice(tuple(ways)), batch_major(image), number)
