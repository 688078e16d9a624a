"""The intermediate representation: array values, the ops that make them, and the trace that records them.

A program works on blocks of samples. Every value has a scope:

- WEIGHT: there before the step begins (weights, constants, variables such as the step number);
- STEP:   computed once per training step, for example a batch statistic or the gradient of a weight;
- BLOCK:  one array per block of samples. Its `shape` leaves the batch axis out; the array itself has the block's
          row count at `batch_axis`: shape (3, 5) and batch_axis 1 is an array (3, n, 5). A *folded* value has
          `times` rows a sample: the steps of a sequence, taken for rows of their own (fold.py).

An op that `contracts` reads blocks and sums over the samples, so its result has scope STEP.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import prod
from typing import Any, ClassVar, NamedTuple, Self, dataclass_transform

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Call = Callable[[], object]


class Scope(IntEnum):
    WEIGHT = 0
    STEP = 1
    BLOCK = 2


class Type(NamedTuple):
    """Shape (without the batch axis in scope BLOCK), dtype, and where the batch axis goes.

    dtype is a NumPy name, or "float" for the program's own precision (float32, or float64 in gradient checks).
    """

    shape: Shape
    dtype: str = "float"
    batch_axis: int = 0
    times: int = 1
    """Rows a sample has; the trace finds it from an op's inputs."""


@dataclass(slots=True)
class Site:
    """What an op knows when its calls are bound to arrays."""

    rows: int
    """Rows in this block (1 in scope STEP): its samples, times the rows of each."""
    dtype: np.dtype[Any]
    """The program's float type."""
    scratch: list[Array] = field(default_factory=list)
    aux: list[Array] = field(default_factory=list)
    """The arrays of the value's further outputs."""
    row: Array | None = None
    """int64[2]: number of the block's first sample in the batch, and of the step: the counters of random streams."""
    seed: int = 0
    constants: dict[tuple[float, str], Array] = field(default_factory=dict)

    def constant(self, value: float, shape: Shape, dtype: Any = None) -> Array:
        """A read-only array filled with `value`. NumPy's maximum with a scalar is three times slower than with this."""
        kind = np.dtype(dtype or self.dtype)
        key, size = (value, kind.str), prod(shape)
        if key not in self.constants or self.constants[key].size < size:
            self.constants[key] = np.full(size, value, kind)
        return self.constants[key][:size].reshape(shape)


@dataclass_transform(frozen_default=True)
class Op:
    """One array operation: shape rule, NumPy kernel, derivative rule and cost.

    A subclass annotates its fields, and is then like a frozen dataclass; real ones would cost every command's start
    a millisecond a class. Equal ops on equal inputs are recorded once, so an op with an effect or a random stream
    carries a distinguishing field.
    """

    contracts: ClassVar[bool] = False
    """Reads blocks, sums over their samples; the result has scope STEP."""
    whole_batch: ClassVar[bool] = False
    """Reads blocks like an op that contracts, but all of the batch at once, after its blocks are done."""
    mixes: ClassVar[bool] = False
    """Makes a value for each sample from all samples of the batch: done for all at once, between block stages."""
    in_place: ClassVar[tuple[int, ...]] = ()
    """Inputs whose memory the output may take when nobody reads them later (same shape and dtype)."""
    cheap: ClassVar[bool] = True
    """Redone in a later phase rather than kept for the whole batch."""
    monotone: ClassVar[bool] = False
    """Works on every element alone and never decreases: a maximum may be taken before it."""
    stepwise: ClassVar[bool] = False
    """Walks through its arrays a time step at a time: a step's part, not the whole, has to fit the cache."""
    view: ClassVar[bool] = False
    """The output is the input's memory seen in another shape; no call is made."""
    refolds: ClassVar[bool] = False
    """The result's `times` is what the op infers, not that of its inputs."""

    fields: ClassVar[tuple[str, ...]] = ()
    """Names of what it is made of, in order; annotations as ClassVar are no fields."""

    def __init_subclass__(cls) -> None:
        own = [n for n, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)]
        cls.fields = (*(n for n in cls.fields if n not in own), *own)

    def __init__(self, *values: Any, **named: Any) -> None:
        given = dict(zip(self.fields, values, strict=False)) | named
        if len(values) > len(self.fields) or not given.keys() <= set(self.fields):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.fields) or 'nothing'}")
        self.__dict__.update({name: given[name] if name in given else getattr(self, name) for name in self.fields})

    def but(self, **changes: Any) -> Self:
        """The same op with other fields."""
        return type(self)(**(self.__dict__ | changes))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"

    def infer(self, *inputs: Any, **_: Any) -> Type:
        """The result's type, given the input values, which subclasses name; ShapeError where they do not fit."""
        raise NotImplementedError

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        """Types of outputs beside the first (saved values that the derivative wants)."""
        return ()

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        """Whole shapes and dtypes of the temporary arrays a block of `rows` rows needs."""
        return ()

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        """The calls that compute `out`. They run many times: no allocation, no test inside."""
        raise NotImplementedError

    def strips(self, site: Site, count: int, out: Array, *inputs: Array) -> list[Sequence[Call]]:
        """The same calls cut into at most `count` independent parts, for lanes to share. Used in scope STEP."""
        return [self.bind(site, out, *inputs)]

    def slices(self, y: Value) -> int:
        """Equal slices, along its leading axes, of a sum over samples that can each be made alone; 1 where none can."""
        return 1

    def slice(self, first: int, end: int, out: Array, *inputs: Array) -> tuple[Array, ...]:
        """What `bind` takes for some of the slices: views of the result and of the inputs."""
        raise NotImplementedError(f"{type(self).__name__} is made whole")

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        """Gradients of the inputs of `y`, given that of `y`, emitted as ops; None where there is none."""
        raise NotImplementedError(f"{type(self).__name__} has no derivative")

    def gradients(self, y: Value, *dys: Value | None) -> Sequence[Value | None]:
        """The same for an op whose further outputs are differentiated too; None for an output that nobody reads."""
        assert dys[0] is not None and not any(dys[1:])
        return self.gradient(y, dys[0])

    def at_once(self, y: Value) -> bool:
        """Whether a BLOCK value is better made for the whole batch, between stages, if the batch must wait anyway."""
        return False

    def awaited(self, y: Value) -> bool:
        """Whether it is so much better that the batch waits for it."""
        return False

    def flops(self, y: Value, rows: int) -> int:
        return y.size * (rows if y.scope == Scope.BLOCK else 1)


@dataclass(eq=False, slots=True)
class Value:
    op: Op
    inputs: tuple[Value, ...]
    type: Type
    scope: Scope
    trace: Trace
    number: int
    further: tuple[Value, ...] = ()

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def batch_axis(self) -> int:
        return self.type.batch_axis

    @property
    def times(self) -> int:
        """Rows a sample."""
        return self.type.times

    @property
    def work_times(self) -> int:
        """Rows a sample that the op works on: where the result is a sum over them, those of its inputs."""
        return max(v.type.times for v in (self, *self.inputs))

    @property
    def rank(self) -> int:
        """Axes of the array, the batch axis included."""
        return len(self.shape) + (self.scope == Scope.BLOCK)

    @property
    def size(self) -> int:
        """Elements a row (BLOCK) or in all."""
        return prod(self.shape)

    @property
    def sample_size(self) -> int:
        """Elements a sample (BLOCK) or in all."""
        return self.size * self.times

    def whole(self, rows: int) -> Shape:
        """The array's shape for a block of `rows` rows."""
        k = self.batch_axis
        return (*self.shape[:k], rows, *self.shape[k:]) if self.scope == Scope.BLOCK else self.shape

    def __repr__(self) -> str:
        args = ", ".join(f"%{i.number}" for i in self.inputs)
        return f"%{self.number} = {self.op}({args}) {self.scope.name.lower()}{list(self.shape)} {self.dtype}"


class ShapeError(ValueError):
    """The inputs of an op or a layer do not fit. The graph stage turns it into a located Problem."""

    def __init__(self, message: str, help: str = "") -> None:
        super().__init__(message)
        self.help = help


class Trace:
    """Records values in the order they are made, which is an order they can be computed in."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.streams = 0
        self.times = 1
        """Rows a sample of the values that are being made from nothing: random numbers."""
        self.loops: dict[Value, object] = {}
        """What was written out step by step, by its results: see ops/unrolled.py."""
        self._known: dict[tuple[Op, tuple[int, ...]], Value] = {}

    def add(self, op: Op, *inputs: Value, scope: Scope | None = None) -> Value:
        key = (op, tuple(i.number for i in inputs))
        if key in self._known:
            return self._known[key]
        if scope is None:
            blocks = any(i.scope == Scope.BLOCK for i in inputs)
            scope = Scope.BLOCK if blocks and not (op.contracts or op.whole_batch) else Scope.STEP
        kinds = [op.infer(*inputs), *op.further(*inputs)]
        if inputs and not op.refolds:
            times = _common_times(inputs) if scope == Scope.BLOCK else 1
            kinds = [kind if kind.times == times else kind._replace(times=times) for kind in kinds]
        value = self._record(op, inputs, kinds[0], scope)
        value.further = tuple(self._record(Further(k), (value,), kind, scope) for k, kind in enumerate(kinds[1:]))
        self._known[key] = value
        return value

    def stream(self) -> int:
        """A number for the next random op: its stream of random numbers is keyed by it."""
        self.streams += 1
        return self.streams - 1

    def _record(self, op: Op, inputs: tuple[Value, ...], kind: Type, scope: Scope) -> Value:
        value = Value(op, inputs, kind, scope, self, len(self.values))
        self.values.append(value)
        return value


def _common_times(inputs: Sequence[Value]) -> int:
    """Rows a sample of the blocks among the inputs."""
    found = {i.type.times for i in inputs if i.scope == Scope.BLOCK}
    if len(found) > 1:
        raise ShapeError(f"cannot combine values of {' and '.join(map(str, sorted(found)))} rows a sample")
    return found.pop() if found else 1


class Further(Op):
    """Output number `index` + 2 of the op that makes its input."""

    index: int


class Input(Op):
    """Rows of a data array, gathered block by block: inputs, targets, weights of the samples."""

    name: str
    type: Type

    def infer(self) -> Type:
        return self.type


class Carried(Input):
    """What each sample of the batch before left for the same sample of this one, by its path: `lstm/state_0`."""


class Weight(Op):
    """A weight or a state variable of the model, by its path, such as `conv2d/kernel`."""

    path: str
    shape: Shape
    trainable: bool = True
    dtype: str = "float"

    def infer(self) -> Type:
        return Type(self.shape, self.dtype)


class Variable(Op):
    """A number the engine sets before each step: `inverse_batch` (1 / samples in the batch)."""

    name: str
    dtype: str = "float"

    def infer(self) -> Type:
        return Type((), self.dtype)


class Constant(Op):
    """An array of numbers that never change, kept as nested bytes so that equal constants are one value."""

    data: bytes
    shape: Shape
    dtype: str = "float64"

    def infer(self) -> Type:
        return Type(self.shape, "float" if self.dtype == "float64" else self.dtype)

    def array(self, dtype: np.dtype[Any]) -> Array:
        values = np.frombuffer(self.data, self.dtype).reshape(self.shape)
        return values.astype(dtype) if self.dtype == "float64" else values


LEAVES = (Input, Weight, Variable, Constant)


def constant(trace: Trace, values: npt.ArrayLike) -> Value:
    """A constant of the program's float type (or of an integer type, for integers)."""
    array = np.asarray(values)
    kind = "float64" if array.dtype.kind == "f" else array.dtype.name
    return trace.add(Constant(array.astype(kind).tobytes(), array.shape, kind), scope=Scope.WEIGHT)
