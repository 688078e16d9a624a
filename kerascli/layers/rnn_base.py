"""What SimpleRNN, LSTM and GRU share: arguments, weights, dropout, masks and the order of the steps.

Legend: T time steps, E features, H units, G gates.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from kerascli.activations import Activation, Tanh
from kerascli.constraints import Constraint
from kerascli.initializers import GlorotUniform, Initializer, Orthogonal, Zeros
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import Function, activated_shape, penalise
from kerascli.ops.elementwise import multiply, where
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.linear import bias_add, matmul
from kerascli.ops.random import keep_mask
from kerascli.ops.recurrent import reverse
from kerascli.ops.shape import batch_major, concatenate, cut, reshape, split, time_major
from kerascli.ops.unrolled import States, unroll, zeros
from kerascli.regularizers import Regularizer

Weights = Mapping[str, Value]


class _Recurrent(Layer):
    """A recurrent layer: reads a sequence (T, E) step by step and gives its state, the last or that of every step."""

    gates: ClassVar[int] = 1
    """Columns of the weights are `gates` times the units."""
    state_names: ClassVar[tuple[str, ...]] = ("h0",)
    """Roles of the initial states."""

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
    activity_regularizer: Regularizer | None = None
    """Penalty on the output, per sample of the batch."""
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
    return_sequences: bool = False
    """Whether the output is the state at every step, in the order they are read, rather than the last one."""
    return_state: bool = False
    """Whether the last states are outputs too (not supported: a layer has one output)."""
    go_backwards: bool = False
    """Whether the sequence is read from its end."""
    stateful: bool = False
    """Whether a batch goes on with the states of the one before (not supported)."""
    unroll: bool = False
    """Accepted for Keras's sake: steps are always laid out one by one before training starts."""
    zero_output_for_mask: bool = False
    """Whether a masked step gives zeros rather than the state before it."""

    @field_validator("stateful", "return_state")
    @classmethod
    def _unsupported(cls, value: bool) -> bool:
        if value:
            raise PydanticCustomError("unsupported", "is not supported")
        return value

    def infer_shape(self, *shapes: Shape) -> Shape:
        sequence, *states = shapes
        if len(sequence) != 2:
            raise ShapeError(
                f"a recurrent layer reads sequences of vectors, (time, features), not {sequence}",
                "put Embedding before it for tokens, or Reshape for one number a step",
            )
        for function in self._functions():
            if activated_shape(function, (self.units,)) != (self.units,):
                raise ShapeError("its activations must keep the number of units")
        wanted = len(self.state_names)
        if states and len(states) != wanted:
            raise ShapeError(f"it takes {wanted} initial state{'s' * (wanted > 1)}, not {len(states)}")
        for state in states:
            if state != (self.units,):
                raise ShapeError(f"an initial state is ({self.units},), one number a unit, not {state}")
        return (sequence[0], self.units) if self.return_sequences else (self.units,)

    def declare(self, *shapes: Shape) -> tuple[WeightSpec, ...]:
        wide = self.gates * self.units

        def weight(name: str, shape: Shape, kind: str) -> WeightSpec:
            initializer = self._bias_rule() if kind == "bias" else getattr(self, f"{kind}_initializer")
            regularizer, constraint = getattr(self, f"{kind}_regularizer"), getattr(self, f"{kind}_constraint")
            return WeightSpec(name, shape, initializer, True, regularizer, constraint, group="cell")

        specs = [
            weight("kernel", (shapes[0][-1], wide), "kernel"),
            weight("recurrent_kernel", (self.units, wide), "recurrent"),
        ]
        if self.use_bias:
            specs.append(weight("bias", self._bias_shape(), "bias"))
        return tuple(specs)

    def call(self, context: Context, w: Weights, *xs: Value) -> Value:
        y = self.states(context, w, *xs)
        if self.return_sequences and self.go_backwards:
            y = reverse(y)
        return penalise(context, self.activity_regularizer, y)

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return context.masks[0] if self.return_sequences else None

    def states(self, context: Context, w: Weights, *xs: Value, zero_masked: bool | None = None) -> Value:
        """The states at every time, at the place of that time whichever way the sequence is read; or the last."""
        x, *initial = xs
        given = context.masks[0]
        mask = None if given is None else time_major(given)
        values = self._projection(context, w, time_major(x))
        values |= dict(zip(self.state_names, map(batch_major, initial), strict=False))
        if mask is not None:
            values["mask"] = mask
        y = self._fused(w, values) if self._is_standard() else self._unrolled(w, values)
        zero = self.zero_output_for_mask if zero_masked is None else zero_masked
        return batch_major(self._zeroed(y, given) if zero and given is not None else y)

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

    def _fused(self, w: Weights, values: dict[str, Value]) -> Value:
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

    def _unrolled(self, w: Weights, values: dict[str, Value]) -> Value:
        z = values["z"] if "z" in values else matmul(values["x"], values["w"])
        if "b" in values:
            z = bias_add(z, values["b"])
        initial = tuple(values[r] if r in values else zeros(self.units, z) for r in self.state_names)
        return unroll(
            lambda z, states: self._step(values, z, states),
            z,
            initial,
            values.get("mask"),
            self.go_backwards,
            self.return_sequences,
        )

    def _zeroed(self, y: Value, mask: Value) -> Value:
        """Zeros where the step of an output is masked."""
        mask = batch_major(mask)
        if self.return_sequences:
            return where(reshape(mask, (*mask.shape, 1)), y, 0.0)
        last = 0 if self.go_backwards else mask.shape[0] - 1
        return where(cut(mask, last, last + 1, axis=0), y, 0.0)
