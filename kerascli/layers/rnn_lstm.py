"""LSTM."""

from collections.abc import Mapping

import numpy as np

from kerascli.activations import Activation, Sigmoid, Tanh
from kerascli.component import Example
from kerascli.initializers import Initializer
from kerascli.layers.arguments import Function, activated
from kerascli.layers.rnn_base import _Recurrent
from kerascli.layers.rnn_cells import _Cell
from kerascli.ops.elementwise import add, multiply
from kerascli.ops.ir import Array, Shape, Value
from kerascli.ops.lstm import lstm
from kerascli.ops.shape import split
from kerascli.ops.unrolled import States, state_product


class _ForgetOne(Initializer):
    """Another rule's values, with ones for the forget gate, the second quarter."""

    others: Initializer
    """Rule of the other gates."""

    def check(self, shape: Shape) -> None:
        self.others.check((shape[0] // 4,))

    def draw(self, shape: Shape, rng: "np.random.Generator") -> Array:
        units = shape[0] // 4
        first, last = self.others.draw((units,), rng), self.others.draw((2 * units,), rng)
        return np.concatenate([first, np.ones(units, first.dtype), last])


class LSTMCell(_Cell):
    """One step of an LSTM, for RNN.

    i, f, o = recurrent_activation(x W + h U + b), g = activation(x W + h U + b), c ← f c + i g, h ← o activation(c);
    the columns of W, U and b hold i, f, g, o.
    """

    gates = 4
    state_names = ("h0", "c0")

    recurrent_activation: Function = Sigmoid()
    """Function of the gates; none (linear) if null."""
    unit_forget_bias: bool = True
    """Whether the forget gate's bias starts at 1."""

    def _bias_rule(self) -> Initializer:
        return _ForgetOne(others=self.bias_initializer) if self.unit_forget_bias else self.bias_initializer

    def _functions(self) -> tuple[Activation | None, ...]:
        return self.activation, self.recurrent_activation

    def _is_standard(self) -> bool:
        return isinstance(self.activation, Tanh) and isinstance(self.recurrent_activation, Sigmoid)

    def _fused(self, values: dict[str, Value], backwards: bool, sequences: bool, state: bool) -> Value:
        return lstm(values, backwards, sequences, state)

    def _step(self, values: Mapping[str, Value], z: Value, states: States) -> States:
        h, c = states
        i, f, g, o = split(add(z, state_product(h, values["u"], values.get("drop"))), 4)
        gate = self.recurrent_activation
        c = add(multiply(activated(gate, f), c), multiply(activated(gate, i), activated(self.activation, g)))
        return multiply(activated(gate, o), activated(self.activation, c)), c


class LSTM(_Recurrent, LSTMCell):
    """Long short-term memory: LSTMCell along a sequence.

    Shapes: (T, E) → (units,), or (T, units) with `return_sequences`. The states are h and c.
    Source: Hochreiter & Schmidhuber, 1997.
    """

    examples = (
        Example({"units": 3}, ((4, 2),)),
        Example({"units": 3, "return_sequences": True, "go_backwards": True, "use_bias": False}, ((4, 2),)),
        Example({"units": 3, "activation": "softsign", "recurrent_activation": "hard_sigmoid"}, ((4, 2),)),
        Example({"units": 3}, ((4, 2), (3,), (3,))),
    )
