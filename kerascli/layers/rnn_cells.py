"""What SimpleRNN, LSTM and GRU are made of: cells, which say what one step does, and how a whole sequence is walked.

Legend: T time steps, n rows of a block, E features, H units, G gates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from kerascli.activations import Activation, Tanh
from kerascli.component import snake_case
from kerascli.constraints import Constraint
from kerascli.initializers import GlorotUniform, Initializer, Orthogonal, Zeros
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import Function, activated_shape
from kerascli.ops.elementwise import multiply
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.linear import bias_add, matmul
from kerascli.ops.random import keep_mask
from kerascli.ops.recurrent import SequenceOp
from kerascli.ops.shape import batch_major, concatenate, reshape, split, time_major
from kerascli.ops.unrolled import Loop, States, unroll, zeros
from kerascli.regularizers import Regularizer

Weights = Mapping[str, Value]


class _Cell(Layer):
    """One step of a recurrent layer. It is no layer by itself: RNN, or the layer of the same name, walks it."""

    gates: ClassVar[int] = 1
    """Columns of the weights are `gates` times the units."""
    state_names: ClassVar[tuple[str, ...]] = ("h0",)
    """Roles of the states before a step."""

    units: int = Field(gt=0)
    """Size of the state and of the output."""
    activation: Function = Tanh()
    """Function of the candidate state; none (linear) if null."""
    use_bias: bool = True
    """Whether a bias is added."""
    kernel_initializer: Initializer = GlorotUniform()
    """First values of the weights of the inputs."""
    recurrent_initializer: Initializer = Orthogonal()
    """First values of the weights of the state."""
    bias_initializer: Initializer = Zeros()
    """First values of the bias."""
    kernel_regularizer: Regularizer | None = None
    """Penalty on the weights of the inputs."""
    recurrent_regularizer: Regularizer | None = None
    """Penalty on the weights of the state."""
    bias_regularizer: Regularizer | None = None
    """Penalty on the bias."""
    kernel_constraint: Constraint | None = None
    """Rule that the weights of the inputs obey."""
    recurrent_constraint: Constraint | None = None
    """Rule that the weights of the state obey."""
    bias_constraint: Constraint | None = None
    """Rule that the bias obeys."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the inputs dropped in training, the same ones at every step of a sequence."""
    recurrent_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the state dropped in training where it meets the weights, the same units at every step."""
    seed: int | None = None
    """Seed of the dropout; by default it follows from the spec's."""

    def infer_shape(self, *shapes: Shape, initial_state: Shape | tuple[Shape, ...] = ()) -> Shape:
        raise _alone(self)

    def check(self) -> None:
        """Raise ShapeError where the activations change the number of units."""
        for function in self._functions():
            if activated_shape(function, (self.units,)) != (self.units,):
                raise ShapeError("its activations must keep the number of units")

    def variables(self, features: int, group: str) -> tuple[WeightSpec, ...]:
        """The weights on inputs of so many features, in Keras's order."""
        wide = self.gates * self.units
        specs = [
            self._trained("kernel", (features, wide)),
            self._trained("recurrent_kernel", (self.units, wide), "recurrent"),
        ]
        if self.use_bias:
            specs.append(replace(self._trained("bias", self._bias_shape()), initializer=self._bias_rule()))
        return tuple(replace(spec, trainable=self.trainable, group=group) for spec in specs)

    def sequence(
        self,
        context: Context,
        w: Weights,
        x: Value,
        mask: Value | None,
        initial: Sequence[Value],
        backwards: bool,
        sequences: bool,
        state: bool,
    ) -> tuple[Value, tuple[Value, ...]]:
        """The output at every time, at its place whichever way the sequence is read, or the last; and the last states.

        x is (T, n, E), time first. A step that the mask leaves out keeps the states before it.
        """
        values = self._projection(context, w, time_major(x))
        values |= dict(zip(self.state_names, map(batch_major, initial), strict=False))
        if mask is not None:
            values["mask"] = time_major(mask)
        if not self._is_standard():
            return self._unrolled(values, backwards, sequences)
        y = self._fused(values, backwards, sequences, state)
        assert isinstance(y.op, SequenceOp)
        return y, y.op.last_states(y) if state else ()

    # ------------------------------------------------------------ what a cell fills in
    def _bias_shape(self) -> Shape:
        return (self.gates * self.units,)

    def _bias_rule(self) -> Initializer:
        return self.bias_initializer

    def _biases(self, w: Weights) -> dict[str, Value]:
        """The biases by role."""
        return {"b": w["bias"]} if self.use_bias else {}

    def _functions(self) -> tuple[Activation | None, ...]:
        """The activations: of the candidate state, then of the gates."""
        return (self.activation,)

    def _is_standard(self) -> bool:
        """Whether the coarse op computes this cell."""
        return isinstance(self.activation, Tanh)

    def _fused(self, values: dict[str, Value], backwards: bool, sequences: bool, state: bool) -> Value:
        """The whole sequence by the coarse op."""
        raise NotImplementedError

    def _step(self, values: Mapping[str, Value], z: Value, states: States) -> States:
        """One step in plain ops."""
        raise NotImplementedError

    # ------------------------------------------------------------ how it is done
    def _projection(self, context: Context, w: Weights, x: Value) -> dict[str, Value]:
        """The inputs of the recurrence by role, dropped as Keras does.

        With recurrent dropout every gate drops its own inputs and states, else one set of inputs serves all gates.
        """
        values = {"u": w["recurrent_kernel"]}
        recurrent = self.recurrent_dropout if context.training else 0.0
        if recurrent:
            values["drop"] = keep_mask(x.trace, (self.gates * self.units,), recurrent, self.seed)
        if not (self.dropout and context.training):
            return {"x": x, "w": w["kernel"], **values, **self._biases(w)}
        if not recurrent or self.gates == 1:
            return {"x": self._dropped(x, 1)[0], "w": w["kernel"], **values, **self._biases(w)}
        biases = self._biases(w)
        parts = zip(self._dropped(x, self.gates), split(w["kernel"], self.gates), strict=True)
        z = concatenate([matmul(part, kernel) for part, kernel in parts])
        if "b" in biases:
            z = bias_add(z, biases.pop("b"))
        return {"z": z, **values, **biases}

    def _dropped(self, x: Value, times: int) -> list[Value]:
        """x (T, E) with features dropped, `times` over independently."""
        features = x.shape[-1]
        keep = keep_mask(x.trace, (times * features,), self.dropout, self.seed)
        return [multiply(x, reshape(part, (1, features))) for part in split(keep, times)]

    def _unrolled(self, values: dict[str, Value], backwards: bool, sequences: bool) -> tuple[Value, tuple[Value, ...]]:
        z = values["z"] if "z" in values else matmul(values["x"], values["w"])
        if "b" in values:
            z = bias_add(z, values["b"])
        initial = tuple(values[r] if r in values else zeros(self.units, z) for r in self.state_names)
        y, last = unroll(
            lambda z, states: self._step(values, z, states), z, initial, values.get("mask"), backwards, sequences
        )
        loop = Loop(self, values, backwards, sequences, (y, *last))
        y.trace.loops.update(dict.fromkeys(loop.results, loop))
        return y, last


def _alone(cell: Layer) -> ShapeError:
    kind = type(cell).__name__
    return ShapeError(f"{kind} is one step, and no layer by itself", f"write {{type: RNN, cell: {{type: {kind}, …}}}}")


def cell_of(cell: Layer) -> Layer:
    """The same, if it is a cell."""
    if (isinstance(cell, _Cell) and type(cell).call is Layer.call) or isinstance(cell, StackedRNNCells):
        if cell.inputs is not None:
            raise PydanticCustomError("rnn_cell", "reads what its layer reads: leave out its `inputs`")
        return cell
    kind = type(cell).__name__
    near = f": did you mean {kind}Cell?" if Layer.find(f"{kind}Cell") else ": SimpleRNNCell, LSTMCell or GRUCell"
    raise PydanticCustomError("rnn_cell", "must be a cell{near}", {"near": near})


Cell = Annotated[Layer, AfterValidator(cell_of)]


class StackedRNNCells(Layer):
    """Cells that work one after the other within each step; the output is that of the last.

    Its states are those of all cells, in their order.
    """

    cells: list[Cell] = Field(min_length=1)
    """The cells."""

    def infer_shape(self, *shapes: Shape, **_: Any) -> Shape:
        raise _alone(self)

    def named(self) -> dict[str, _Cell]:
        """The cells by the names that Keras's weight files give them, counted by their class."""
        found: dict[str, _Cell] = {}
        for cell in self.cells:
            assert isinstance(cell, _Cell)
            base = snake_case(type(cell).__name__)
            count = sum(type(other) is type(cell) for other in found.values())
            found[f"{base}_{count}" if count else base] = cell
        return found

    def wrapped_shapes(self, *shapes: Shape) -> tuple[Shape, ...]:
        """What each cell reads: the state of the one before."""
        return (shapes[0], *((cell.units,) for cell in [*self.named().values()][:-1]))

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"cells": [cell.model_copy(update={"name": cell.name or name}) for name, cell in self.named().items()]}
