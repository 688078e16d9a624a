"""What a layer is: shape rule, weights, and a forward pass written with ops. No layer writes a backward pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from kerascli.component import Component, snake_case
from kerascli.constraints import Constraint
from kerascli.initializers import Initializer
from kerascli.ops.ir import Shape, Trace, Value
from kerascli.regularizers import Regularizer

Item = TypeVar("Item")

MASKED = {"RNN", "SimpleRNN", "LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional"}
MASKED |= {"TimeDistributed", "BatchNormalization", "GlobalAveragePooling1D", "Softmax"}
"""Layers whose `call` in Keras takes the mask of its input: Keras writes it into the graph, and reads it there."""


@dataclass(frozen=True)
class WeightSpec:
    """One variable of a layer, declared in Keras's order."""

    name: str
    shape: Shape
    initializer: Initializer
    trainable: bool = True
    regularizer: Regularizer | None = None
    constraint: Constraint | None = None
    dtype: str = "float"
    group: str = ""
    """Where Keras's weight file keeps it below the layer: `` for `vars/0`, `cell` for `cell/vars/0`"""
    also: str | None = None
    """Where it keeps it a second time."""


@dataclass
class Context:
    """What a layer's call may ask for beside its inputs and weights."""

    trace: Trace
    training: bool
    masks: tuple[Value | None, ...]
    """The mask of each input and reference: a boolean value of the sample's leading axes, such as (T,), or None."""
    name: str
    """The node's name: weights and state live under it."""
    updates: dict[str, Value]
    """New values of non-trainable weights by weight name (moving averages), filled by the call."""
    penalties: list[Value]
    """Scalar losses added by the call (activity regularizers), per batch."""
    further: list[Value] = field(default_factory=list)
    """The outputs after the first, where the call has several (`return_state`): as `infer_further` says."""
    carried: dict[str, Value] = field(default_factory=dict)
    """What the batch before handed on, by the names of `carry`; the call puts the new values into `updates`."""


class Layer(Component):
    """A layer of the network.

    Members name the inputs that their methods take; `*xs: Any, **_: Any` is how mypy is told that they may.
    """

    family = "layer"
    takes_integers: ClassVar = False
    """Reads integer inputs as they are (Embedding, Rescaling, shape layers); others get them cast to float."""
    differentiable: ClassVar = True
    """Whether gradients go through it, back to layers that are trained."""

    references: ClassVar = tuple[str, ...]()
    """Fields that name more layers to read, one or a list: `call` and the shape rules take them by that keyword."""
    call_arguments: ClassVar = tuple[str, ...]()
    """Fields that Keras takes when the layer is called, and writes into the graph: `use_causal_mask`."""
    ends_masks: ClassVar = False
    """Whether what it reads has no mask for the layers after it, as behind Keras's MultiHeadAttention."""

    name: str | None = None
    """Name of the layer; by default Keras's automatic one, such as `conv2d_1`."""
    inputs: str | list[str] | None = None
    """Name or names of the layers it reads; by default the layer before it."""
    trainable: bool = True
    """Whether training changes its weights."""

    def infer_shape(self, *shapes: Any, **_: Any) -> Shape:
        """Shape of one sample of the output, given those of the inputs; raises ShapeError where they do not fit."""
        first: Shape = shapes[0]
        return first

    def infer_further(self, *shapes: Any, **_: Any) -> tuple[Shape, ...]:
        """Shapes of the outputs after the first, which a spec reads as `name:1`, `name:2`; all are floats."""
        return ()

    def infer_dtype(self, *dtypes: Any, **_: Any) -> str:
        """`float`, or an integer type for layers that pass integers on."""
        return "float"

    def declare(self, *shapes: Any, **_: Any) -> tuple[WeightSpec, ...]:
        """The weights, in Keras's variable order."""
        return ()

    def call(self, context: Context, w: Mapping[str, Value], *xs: Any, **_: Any) -> Value:
        """The forward pass in ops; `w` holds the declared weights by name."""
        raise NotImplementedError

    def mask(self, context: Context, *xs: Value) -> Value | None:
        """The output's mask; by default the first input's is passed on, as Keras does with `supports_masking`."""
        return context.masks[0] if context.masks else None

    def carry(self, *shapes: Any) -> dict[str, Shape]:
        """Shapes of what each sample of a batch hands on to the same sample of the next (`stateful`)."""
        return {}

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        """Extra or differing entries of Keras's own config; most layers have none."""
        return {}

    def keras_groups(self) -> dict[str, str]:
        """Groups below the layer's in Keras's weight files that hold its inner layers, and what these are called."""
        return {}

    def _trained(self, name: str, shape: Shape, rules: str = "") -> WeightSpec:
        """A weight with the `…_initializer`, `…_regularizer` and `…_constraint` of `rules`, by default its name."""
        fields = (f"{rules or name}_{kind}" for kind in ("initializer", "regularizer", "constraint"))
        initializer, regularizer, constraint = (getattr(self, field) for field in fields)
        return WeightSpec(name, shape, initializer, True, regularizer, constraint)

    @classmethod
    def keras_name(cls) -> str:
        """Keras's automatic name, which is also that of the layer's group in weight files."""
        return snake_case(cls.__name__)

    def wrapped_shapes(self, *shapes: Shape) -> tuple[Shape, ...]:
        """Shapes of what a layer held by this one reads, given those that this one reads."""
        return shapes

    def nested(self, states: Sequence[Item]) -> list[Any]:
        """Initial states as Keras nests them: by cell, where there are several cells."""
        return list(states)

    def arguments(self, items: Sequence[Item]) -> tuple[tuple[Item, ...], dict[str, Any]]:
        """Of one item for each layer it reads (shapes, values): those of `inputs`, and those of `references` by field.

        A field that holds a list gets a tuple of items.
        """
        named: dict[str, Any] = {}
        rest = list(items)
        for key in reversed(self.references):
            given = getattr(self, key)
            if isinstance(given, str):
                named[key] = rest.pop()
            elif given is not None:
                start = len(rest) - len(given)
                named[key] = tuple(rest[start:])
                del rest[start:]
        return tuple(rest), dict(reversed(named.items()))
