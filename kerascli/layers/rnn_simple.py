"""SimpleRNN."""

from collections.abc import Mapping

from kerascli.component import Example
from kerascli.layers.arguments import activated
from kerascli.layers.rnn_base import _Recurrent
from kerascli.layers.rnn_cells import _Cell
from kerascli.ops.elementwise import add
from kerascli.ops.ir import Value
from kerascli.ops.simple_rnn import simple_rnn
from kerascli.ops.unrolled import States, state_product


class SimpleRNNCell(_Cell):
    """One step of a SimpleRNN, for RNN: h ← activation(x W + b + h U)."""

    def _fused(self, values: dict[str, Value], backwards: bool, sequences: bool, state: bool) -> Value:
        return simple_rnn(values, backwards, sequences, state)

    def _step(self, values: Mapping[str, Value], z: Value, states: States) -> States:
        (h,) = states
        return (activated(self.activation, add(z, state_product(h, values["u"], values.get("drop")))),)


class SimpleRNN(_Recurrent, SimpleRNNCell):
    """A fully connected recurrent layer: SimpleRNNCell along a sequence.

    Shapes: (T, E) → (units,), or (T, units) with `return_sequences`. The state is h.
    Departure from Keras 3.15, which takes `activity_regularizer` and ignores it: here it counts.
    """

    examples = (
        Example({"units": 3}, ((4, 2),)),
        Example({"units": 3, "return_sequences": True, "go_backwards": True, "use_bias": False}, ((4, 2),)),
        Example({"units": 3, "activation": "sigmoid"}, ((4, 2),)),
        Example({"units": 3}, ((4, 2), (3,))),
    )
