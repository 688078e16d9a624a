"""SimpleRNN."""

from collections.abc import Mapping

from kerascli.component import Example
from kerascli.layers.arguments import activated
from kerascli.layers.rnn_base import Weights, _Recurrent
from kerascli.ops.elementwise import add
from kerascli.ops.ir import Value
from kerascli.ops.simple_rnn import simple_rnn
from kerascli.ops.unrolled import States, state_product


class SimpleRNN(_Recurrent):
    """A fully connected recurrent layer.

    h ← activation(x W + b + h U)

    Shapes: (T, E) → (units,), or (T, units) with `return_sequences`.
    Departure from Keras 3.15, which takes `activity_regularizer` and ignores it: here it counts.
    """

    examples = (
        Example({"units": 3}, ((4, 2),)),
        Example({"units": 3, "return_sequences": True, "go_backwards": True, "use_bias": False}, ((4, 2),)),
        Example({"units": 3, "activation": "sigmoid"}, ((4, 2),)),
        Example({"units": 3}, ((4, 2), (3,))),
    )

    def _fused(self, w: Weights, values: dict[str, Value]) -> Value:
        return simple_rnn(values, self.go_backwards, self.return_sequences)

    def _step(self, values: Mapping[str, Value], z: Value, states: States) -> States:
        (h,) = states
        return (activated(self.activation, add(z, state_product(h, values["u"], values.get("drop")))),)
