"""Bidirectional."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, snake_case
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import penalise
from kerascli.layers.rnn_base import _Recurrent
from kerascli.ops.elementwise import add, multiply
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.recurrent import reverse
from kerascli.ops.shape import concatenate


class Bidirectional(Layer):
    """Two recurrent layers, one reading from the start and one from the end, and their outputs merged step by step.

    Shapes: (T, E) → those of `layer`, the last axis twice as long where they are joined. Further inputs: the initial
    states of `layer`, then those of the other. With `return_sequences`, masked steps give zeros, as Keras has it.
    """

    layer: Layer
    """The recurrent layer that reads forwards."""
    merge_mode: Literal["concat", "sum", "mul", "ave"] = "concat"
    """How the outputs become one: joined, added, multiplied, or averaged."""
    backward_layer: Layer | None = None
    """The layer that reads backwards (`go_backwards: true`); by default one like `layer`, with its own weights."""

    examples = (
        Example({"layer": {"type": "LSTM", "units": 3}}, ((4, 2),)),
        Example({"layer": {"type": "GRU", "units": 3, "return_sequences": True}, "merge_mode": "sum"}, ((4, 2),)),
        Example({"layer": {"type": "SimpleRNN", "units": 3, "return_sequences": True}, "merge_mode": "mul"}, ((4, 2),)),
        Example(
            {
                "layer": {"type": "LSTM", "units": 2, "go_backwards": True},
                "backward_layer": {"type": "GRU", "units": 2},
                "merge_mode": "ave",
            },
            ((4, 2),),
        ),
    )

    @field_validator("layer", "backward_layer")
    @classmethod
    def _recurrent(cls, layer: Layer | None) -> Layer | None:
        if layer is not None and not isinstance(layer, _Recurrent):
            raise PydanticCustomError("bidirectional", "must be a recurrent layer: SimpleRNN, LSTM or GRU")
        if layer is not None and layer.inputs is not None:
            raise PydanticCustomError("bidirectional", "reads what Bidirectional reads: leave out its `inputs`")
        return layer

    @model_validator(mode="after")
    def _opposite(self) -> Self:
        forward, backward = self.pair()
        if forward.go_backwards == backward.go_backwards:
            raise PydanticCustomError("bidirectional", "`layer` and `backward_layer` must differ in `go_backwards`")
        if forward.return_sequences != backward.return_sequences:
            raise PydanticCustomError("bidirectional", "`layer` and `backward_layer` must agree in `return_sequences`")
        return self

    def pair(self) -> tuple[_Recurrent, _Recurrent]:
        """Both layers."""
        assert isinstance(self.layer, _Recurrent)
        assert self.backward_layer is None or isinstance(self.backward_layer, _Recurrent)
        return self.layer, self.backward_layer or self.layer.model_copy(update={"go_backwards": True})

    def infer_shape(self, *shapes: Shape) -> Shape:
        forward, backward = self.pair()
        count = len(forward.state_names)
        if len(shapes) not in (1, 1 + count + len(backward.state_names)):
            both = count + len(backward.state_names)
            raise ShapeError(f"it takes {both} initial states, those of both directions, not {len(shapes) - 1}")
        one = forward.infer_shape(shapes[0], *shapes[1 : 1 + count])
        other = backward.infer_shape(shapes[0], *shapes[1 + count :])
        if self.merge_mode == "concat":
            return (*one[:-1], one[-1] + other[-1])
        if one != other:
            raise ShapeError(
                f"`merge_mode: {self.merge_mode}` wants as many units both ways, not {one[-1]} and {other[-1]}"
            )
        return one

    def declare(self, *shapes: Shape) -> tuple[WeightSpec, ...]:
        specs = []
        for way, layer in zip(("forward", "backward"), self.pair(), strict=True):
            for spec in layer.declare(shapes[0]):
                trainable = spec.trainable and layer.trainable
                specs.append(
                    replace(spec, name=f"{way}_{spec.name}", group=f"{way}_layer/{spec.group}", trainable=trainable)
                )
        return tuple(specs)

    def call(self, context: Context, w: Mapping[str, Value], *xs: Value) -> Value:
        x, *initial = xs
        forward, backward = self.pair()
        count = len(forward.state_names)
        outputs = []
        for way, layer, states in (("forward", forward, initial[:count]), ("backward", backward, initial[count:])):
            own = {name.removeprefix(f"{way}_"): value for name, value in w.items() if name.startswith(f"{way}_")}
            y = layer.states(context, own, x, *states, zero_masked=layer.return_sequences)
            outputs.append(penalise(context, layer.activity_regularizer, y))
        y = self._merged(*outputs)
        return reverse(y) if forward.go_backwards and forward.return_sequences else y

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return self.pair()[0].mask(context, *xs)

    def _merged(self, one: Value, other: Value) -> Value:
        match self.merge_mode:
            case "concat":
                return concatenate([one, other])
            case "sum":
                return add(one, other)
            case "mul":
                return multiply(one, other)
            case "ave":
                return multiply(add(one, other), 0.5)

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        """Keras writes both layers, named after the way they read."""
        forward, backward = self.pair()
        inner = self.layer.name or snake_case(type(self.layer).__name__)
        one = forward.model_copy(update={"name": f"forward_{inner.removeprefix('forward_')}"})
        other = backward.model_copy(update={"name": f"backward_{inner.removeprefix('backward_')}"})
        if self.backward_layer is not None:
            other = backward.model_copy(update={"name": backward.name or snake_case(type(backward).__name__)})
        zeroed = {"zero_output_for_mask": forward.return_sequences}
        return {"layer": one.model_copy(update=zeroed), "backward_layer": other.model_copy(update=zeroed)}
