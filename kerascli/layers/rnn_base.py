"""What recurrent layers share: their own arguments, states handed in and out, masks and the order of the steps.

Legend: T time steps, E features, H units.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import penalise
from kerascli.layers.rnn_cells import Weights, _Cell
from kerascli.ops import reduction
from kerascli.ops.elementwise import cast, greater, where
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.recurrent import reverse
from kerascli.ops.shape import batch_major, cut, reshape
from kerascli.regularizers import Regularizer


class _Walking(Layer):
    """A layer that reads a sequence step by step, from either end; Bidirectional holds two of them."""

    references = ("initial_state",)

    return_sequences: bool = False
    """Whether the output is the state at every step, in the order they are read, rather than the last one."""
    return_state: bool = False
    """Whether the last states are outputs too, read as `name:1`, `name:2`."""
    go_backwards: bool = False
    """Whether the sequence is read from its end."""
    stateful: bool = False
    """Whether sample i of a batch goes on with the last states of sample i of the batch before."""
    unroll: bool = False
    """Accepted for Keras's sake: steps are always laid out one by one before training starts."""
    zero_output_for_mask: bool = False
    """Whether a masked step gives zeros rather than the state before it."""

    @property
    def state_count(self) -> int:
        """How many states it has."""
        raise NotImplementedError

    def state_shapes(self, sequence: Shape) -> tuple[Shape, ...]:
        """Of its states."""
        raise NotImplementedError

    def walk(
        self, context: Context, w: Weights, x: Value, initial: Sequence[Value], way: str = "", zero: bool | None = None
    ) -> tuple[Value, tuple[Value, ...]]:
        """The outputs at every time, at the place of that time whichever way the sequence is read; or the last one.

        And the last states, where they are asked for. With initial states given, a mask is not heeded: Keras only
        passes it on. `way` goes before the names of what a batch hands on to the next; `zero` instead of
        `zero_output_for_mask`.
        """
        raise NotImplementedError

    def infer_further(self, sequence: Shape, *states: Shape, **_: Any) -> tuple[Shape, ...]:
        return self.state_shapes(sequence) if self.return_state else ()

    def carry(self, sequence: Shape, *states: Shape) -> dict[str, Shape]:
        return {f"state_{k}": s for k, s in enumerate(self.state_shapes(sequence))} if self.stateful else {}

    def call(
        self, context: Context, w: Weights, x: Value, *states: Value, initial_state: Value | tuple[Value, ...] = ()
    ) -> Value:
        given = [initial_state] if isinstance(initial_state, Value) else initial_state
        y, last = self.walk(context, w, x, [*states, *given])
        context.further += last if self.return_state else ()
        return reverse(y) if self.return_sequences and self.go_backwards else y

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return context.masks[0] if self.return_sequences else None


def counting(mask: Value | None) -> Value | None:
    """Whether each step counts, (T,): a step counts where any of its places does, such as the words of a sentence."""
    if mask is None or len(mask.shape) == 1:
        return mask
    return greater(reduction.max(cast(mask, "float"), tuple(range(1, len(mask.shape)))), 0.0)


class _Sequence(_Walking):
    """Walks cells along a sequence (T, E) and gives the state of the last one, at the end or at every step."""

    initial_state: str | list[str] | None = None
    """Name or names of the layers that give the states before the first step; zeros by default."""

    # ------------------------------------------------------------ what a layer fills in
    def named_cells(self) -> dict[str, _Cell]:
        """The cells it walks; the names go before those of their weights."""
        raise NotImplementedError

    def group(self, name: str) -> str:
        """Where Keras's weight files keep a cell."""
        return "cell"

    # ------------------------------------------------------------ shapes
    def infer_shape(self, *shapes: Shape, initial_state: Shape | tuple[Shape, ...] = ()) -> Shape:
        sequence, *states = shapes
        if len(sequence) != 2:
            raise ShapeError(
                f"a recurrent layer reads sequences of vectors, (time, features), not {sequence}",
                "put Embedding before it for tokens, or Reshape for one number a step",
            )
        for cell in self.named_cells().values():
            cell.check()
        given = [initial_state] if isinstance(self.initial_state, str) else initial_state
        self._check_states(sequence, [*states, *given], bool(states and self.initial_state))
        return (sequence[0], self._units()) if self.return_sequences else (self._units(),)

    @property
    def state_count(self) -> int:
        return sum(len(cell.state_names) for cell in self.named_cells().values())

    def state_shapes(self, sequence: Shape) -> tuple[Shape, ...]:
        return tuple((cell.units,) for cell in self.named_cells().values() for _ in cell.state_names)

    def nested(self, states: Sequence[Any]) -> list[Any]:
        cells = list(self.named_cells().values())
        if len(cells) == 1:
            return list(states)
        rest = list(states)
        parts = [[rest.pop(0) for _ in cell.state_names] for cell in cells]
        return [part if len(part) > 1 else part[0] for part in parts]

    def declare(self, *shapes: Shape, **_: Any) -> tuple[WeightSpec, ...]:
        specs, features = [], shapes[0][-1]
        for name, cell in self.named_cells().items():
            for spec in cell.variables(features, self.group(name)):
                specs.append(replace(spec, name=f"{name}_{spec.name}" if name else spec.name))
            features = cell.units
        return tuple(specs)

    # ------------------------------------------------------------ numbers
    def walk(
        self, context: Context, w: Weights, x: Value, initial: Sequence[Value], way: str = "", zero: bool | None = None
    ) -> tuple[Value, tuple[Value, ...]]:
        mask = None if initial else counting(context.masks[0])
        start = list(initial) or [context.carried[way + key] for key in self.carry(x.shape)]
        y = x
        last: tuple[Value, ...] = ()
        cells, state = self.named_cells(), self.return_state or self.stateful
        for number, (name, cell) in enumerate(cells.items()):
            own = {key.removeprefix(f"{name}_"): value for key, value in w.items() if key.startswith(f"{name}_")}
            first, start = start[: len(cell.state_names)], start[len(cell.state_names) :]
            whole = self.return_sequences or number < len(cells) - 1
            y, ends = cell.sequence(
                context,
                own if name else w,
                y,
                mask,
                first,
                self.go_backwards,
                whole,
                state,
            )
            last += ends
        context.updates.update(zip((way + key for key in self.carry(x.shape)), last, strict=False))
        zeroed = self.zero_output_for_mask if zero is None else zero
        if zeroed and mask is not None and not self.unroll:  # Keras's unrolled steps keep the state before
            y = self._zeroed(batch_major(y), batch_major(mask))
        if self.return_state:
            last = tuple(self._penalised(context, state) for state in last)
        return self._penalised(context, batch_major(y)), last

    def _penalised(self, context: Context, y: Value) -> Value:
        """An output, after its penalty was added."""
        return y

    def _zeroed(self, y: Value, mask: Value) -> Value:
        """Zeros where the step of an output is masked."""
        if self.return_sequences:
            return where(reshape(mask, (*mask.shape, 1)), y, 0.0)
        last = 0 if self.go_backwards else mask.shape[0] - 1
        return where(cut(mask, last, last + 1, axis=0), y, 0.0)

    def _units(self) -> int:
        return list(self.named_cells().values())[-1].units

    def _check_states(self, sequence: Shape, states: list[Any], twice: bool) -> None:
        wanted = self.state_shapes(sequence)
        if twice:
            raise ShapeError("its initial states are given twice", "name them in `initial_state` or in `inputs`")
        if states and len(states) != len(wanted):
            raise ShapeError(
                f"it takes {len(wanted)} initial state{'s' * (len(wanted) > 1)}, not {len(states)}",
                f"those of a layer `a` with `return_state: true` are `a:1` to `a:{len(wanted)}`" * (len(wanted) > 1),
            )
        for state, shape in zip(states, wanted, strict=False):
            if state != shape:
                raise ShapeError(f"an initial state is {shape}, one number a unit, not {state}")


class _Recurrent(_Sequence, _Cell):
    """A recurrent layer that is its own cell: it takes the arguments of both."""

    activity_regularizer: Regularizer | None = None
    """Penalty on the outputs, per sample of the batch."""

    def named_cells(self) -> dict[str, _Cell]:
        return {"": self}

    def _penalised(self, context: Context, y: Value) -> Value:
        return penalise(context, self.activity_regularizer, y)
