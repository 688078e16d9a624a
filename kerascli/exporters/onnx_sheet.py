"""The sheet that nodes of an ONNX graph are put on, one after another; plain data until the file is written.

ONNX wants channels before the extent, Keras has them behind it. So `transpose` is only noted: two that undo each other
vanish, and elementwise nodes are put before it. Whatever else reads such a tensor gets it in the order that was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from kerascli.ops.ir import Array, Value

Attribute = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]
Order = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One node: what it is called is `name`, what it does `kind`."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]


def element(dtype: str) -> type[np.generic]:
    """NumPy's type for one of the engine's."""
    return np.float32 if dtype == "float" else np.dtype(dtype).type


def inverse(perm: Order) -> Order:
    return tuple(int(k) for k in np.argsort(perm))


@dataclass
class Sheet:
    array: Callable[[Value], Array]
    """The array of a value that depends on weights and constants alone."""
    taken: set[str] = field(default_factory=set)
    """Names that are given."""
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    """Stored tensors by name."""
    prefix: str = ""
    """Begins the names of nodes: the layer that they are written for."""
    _moved: dict[str, tuple[str, Order]] = field(default_factory=dict)
    _made: dict[str, str] = field(default_factory=dict)
    _same: dict[tuple[bytes, str, tuple[int, ...]], str] = field(default_factory=dict)
    _wanted: dict[str, str] = field(default_factory=dict)

    _reshaped: dict[str, str] = field(default_factory=dict)

    # ---- nodes

    def node(self, kind: str, *inputs: str, **attributes: Attribute) -> str:
        """Put down a node with one output; returns its name. An input left out is an empty name."""
        return self.several(kind, 1, *inputs, **attributes)[0]

    def several(self, kind: str, count: int, *inputs: str, **attributes: Attribute) -> tuple[str, ...]:
        """Put down a node with so many outputs."""
        read = tuple(self.settled(x) for x in inputs)
        name = self.name(f"{self.prefix}/{kind}")
        outputs = (name,) if count == 1 else tuple(self.name(f"{name}:{k}") for k in range(count))
        self.nodes.append(Node(kind, name, read, outputs, attributes))
        return outputs

    def elementwise(self, kind: str, *inputs: str, **attributes: Attribute) -> str:
        """A node that treats all elements alike, so that the order of axes may wait; constants are put in order."""
        perms = {self._moved[x][1] for x in inputs if x in self._moved}
        if len(perms) != 1 or not all(x in self._moved or self._small(x, *perms) for x in inputs):
            return self.node(kind, *inputs, **attributes)
        (perm,) = perms
        sources = [self._moved[x][0] if x in self._moved else self._ordered(x, perm) for x in inputs]
        return self.transpose(self.node(kind, *sources, **attributes), perm)

    def transpose(self, x: str, perm: Order) -> str:
        """The axes in another order: axis k of the result is axis perm[k] of x."""
        if x in self._moved:
            x, before = self._moved[x]
            perm = tuple(before[k] for k in perm)
        if perm == tuple(range(len(perm))):
            return x
        if x in self.constants:
            return self.constant(self.constants[x].transpose(perm), x)
        alias = f"{x} by {perm}"
        self._moved[alias] = (x, perm)
        return alias

    def settled(self, x: str) -> str:
        """The name of a tensor that is really there."""
        if x not in self._moved:
            return x
        if x not in self._made:
            source, perm = self._moved[x]
            name = self.name(f"{self.prefix}/Transpose")
            self.nodes.append(Node("Transpose", name, (source,), (name,), {"perm": perm}))
            self._made[x] = name
        return self._made[x]

    def moved(self, x: str) -> tuple[str, Order] | None:
        """The tensor behind one whose axes wait to be put in order, and that order."""
        return self._moved.get(x)

    # ---- stored tensors

    def constant(self, array: npt.ArrayLike, wanted: str = "constant") -> str:
        """A stored tensor; equal ones are one."""
        whole = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (blake2b(whole.tobytes()).digest(), whole.dtype.str, whole.shape)
        if key not in self._same:
            name = self._same[key] = self.name(wanted)
            self.constants[name] = whole
            self._wanted[name] = self._wanted.get(wanted, wanted)
        return self._same[key]

    def shortest(self, used: Iterable[str]) -> dict[str, str]:
        """New names for those of the stored tensors that are used: what stands behind one that is not, is its."""
        self.taken -= self.constants.keys()
        return {name: self.name(self._wanted[name]) for name in used}

    def number(self, value: float, dtype: str = "float") -> str:
        """A number of one of the engine's types."""
        return self.constant(np.asarray(value, element(dtype)))

    def whole_numbers(self, values: Sequence[int]) -> str:
        """A list of sizes, axes or places."""
        return self.constant(np.asarray(values, np.int64))

    # ---- what many need

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """The same numbers in the same order; of shapes one after another the last counts."""
        source = self._reshaped.get(x, x)
        y = self.node("Reshape", source, self.whole_numbers(shape))
        self._reshaped[y] = source
        return y

    def cast(self, x: str, dtype: str) -> str:
        """As another of the engine's types; the file's writer knows their numbers."""
        return self.elementwise("Cast", x, to=element(dtype).__name__)

    def slice(self, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        return self.node("Slice", x, *(self.whole_numbers([k]) for k in (start, stop, axis, step)))

    def size(self, x: str, axis: int = 0) -> str:
        """How long an axis is, as a list of one: the rows of a batch are not known before."""
        return self.node("Shape", x, start=axis, end=axis + 1)

    def full(self, x: str, shape: Sequence[int], rows: str, axis: int = 0) -> str:
        """x repeated to the shape, of which `axis` has as many places as `rows` says."""
        before, after = ([self.whole_numbers(part)] if part else [] for part in (shape[:axis], shape[axis + 1 :]))
        sizes = [*before, rows, *after]
        return self.node("Expand", x, self.node("Concat", *sizes, axis=0) if len(sizes) > 1 else rows)

    def name(self, wanted: str) -> str:
        """A name that no other has."""
        found, count = wanted, 1
        while found in self.taken:
            count += 1
            found = f"{wanted}_{count}"
        self.taken.add(found)
        return found

    def _small(self, x: str, perm: Order) -> bool:
        return x in self.constants and self.constants[x].ndim <= len(perm)

    def _ordered(self, x: str, perm: Order) -> str:
        """A constant as it meets the elements before their axes are put in order."""
        array = self.constants[x]
        if array.ndim == 0:
            return x
        return self.constant(array.reshape((1,) * (len(perm) - array.ndim) + array.shape).transpose(inverse(perm)), x)
