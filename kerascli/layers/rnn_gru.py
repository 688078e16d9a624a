"""GRU."""

from collections.abc import Mapping

from kerascli.activations import Activation, Sigmoid, Tanh
from kerascli.component import Example
from kerascli.layers.arguments import Function, activated
from kerascli.layers.rnn_base import _Recurrent
from kerascli.layers.rnn_cells import Weights, _Cell
from kerascli.ops.elementwise import add, multiply, subtract
from kerascli.ops.gru import gru
from kerascli.ops.ir import Shape, Value
from kerascli.ops.linear import bias_add
from kerascli.ops.shape import cut, reshape, split
from kerascli.ops.unrolled import States, state_product


class GRUCell(_Cell):
    """One step of a GRU, for RNN.

    z, r = recurrent_activation(x W + b + h U + b'), c = activation(x W + b + r (h U + b')), h ← z h + (1 − z) c;
    the columns of W, U and b hold z, r, c. With `reset_after: false`, c = activation(x W + b + (r h) U), without b'.
    """

    gates = 3

    recurrent_activation: Function = Sigmoid()
    """Function of the gates; none (linear) if null."""
    reset_after: bool = True
    """Whether the reset gate works after the product with the weights of the state, or before."""

    def _bias_shape(self) -> Shape:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def _biases(self, w: Weights) -> dict[str, Value]:
        if not (self.use_bias and self.reset_after):
            return super()._biases(w)
        rows = {"b": 0, "rb": 1}
        return {role: reshape(cut(w["bias"], k, k + 1, axis=0), (3 * self.units,)) for role, k in rows.items()}

    def _functions(self) -> tuple[Activation | None, ...]:
        return self.activation, self.recurrent_activation

    def _is_standard(self) -> bool:
        tanh = isinstance(self.activation, Tanh)
        return tanh and isinstance(self.recurrent_activation, Sigmoid) and self.reset_after

    def _fused(self, values: dict[str, Value], backwards: bool, sequences: bool, state: bool) -> Value:
        return gru(values, backwards, sequences, state)

    def _step(self, values: Mapping[str, Value], z: Value, states: States) -> States:
        (h,) = states
        u, drop, gate = values["u"], values.get("drop"), self.recurrent_activation
        zr = 2 * self.units
        first = state_product(h, cut(u, 0, zr), None if drop is None else cut(drop, 0, zr))
        first = bias_add(first, cut(values["rb"], 0, zr)) if "rb" in values else first
        update, reset = split(activated(gate, add(cut(z, 0, zr), first)), 2)
        last, kept = cut(u, zr, zr + self.units), None if drop is None else cut(drop, zr, zr + self.units)
        if self.reset_after:
            inner = state_product(h, last, kept)
            inner = bias_add(inner, cut(values["rb"], zr, zr + self.units)) if "rb" in values else inner
            inner = multiply(reset, inner)
        else:
            inner = state_product(multiply(reset, h), last, kept)
        candidate = activated(self.activation, add(cut(z, zr, zr + self.units), inner))
        return (add(multiply(update, subtract(h, candidate)), candidate),)


class GRU(_Recurrent, GRUCell):
    """Gated recurrent unit: GRUCell along a sequence.

    Shapes: (T, E) → (units,), or (T, units) with `return_sequences`. The state is h.
    Source: Cho et al., 2014.
    """

    examples = (
        Example({"units": 3}, ((4, 2),)),
        Example({"units": 3, "return_sequences": True, "go_backwards": True, "use_bias": False}, ((4, 2),)),
        Example({"units": 3, "reset_after": False}, ((4, 2),)),
        Example({"units": 3, "activation": "softsign"}, ((4, 2),)),
        Example({"units": 3}, ((4, 2), (3,))),
    )
