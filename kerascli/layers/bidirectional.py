"""Bidirectional."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, snake_case
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.rnn_base import _Walking
from kerascli.ops.elementwise import add, multiply
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.recurrent import reverse
from kerascli.ops.shape import concatenate


class Bidirectional(Layer):
    """Two recurrent layers, one reading from the start and one from the end, and their outputs merged step by step.

    Shapes: (T, E) → those of `layer`, the last axis twice as long where they are joined. Further outputs with
    `return_state`: the last states of `layer`, then those of the other. With `return_sequences`, masked steps give
    zeros, as Keras has it.
    """

    references = ("initial_state",)

    layer: Layer
    """The first recurrent layer, which reads forwards unless it has `go_backwards: true`."""
    merge_mode: Literal["concat", "sum", "mul", "ave"] | None = "concat"
    """How the outputs become one: joined, added, multiplied, averaged; null leaves two, the second read as `name:1`."""
    backward_layer: Layer | None = None
    """The layer that reads the other way; by default one like `layer`, with its own weights."""
    initial_state: list[str] | None = None
    """Names of the layers that give the states before the first step: those of `layer`, then those of the other."""

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
        Example({"layer": {"type": "ConvLSTM1D", "filters": 2, "kernel_size": 2}}, ((3, 4, 2),)),
    )

    @field_validator("layer", "backward_layer")
    @classmethod
    def _recurrent(cls, layer: Layer | None) -> Layer | None:
        if layer is not None and not isinstance(layer, _Walking):
            raise PydanticCustomError("bidirectional", "must be a recurrent layer, such as LSTM, RNN or ConvLSTM2D")
        for key in ("inputs", "initial_state"):
            if layer is not None and getattr(layer, key) is not None:
                message = "reads what Bidirectional reads: leave out its `{key}`"
                raise PydanticCustomError("bidirectional", message, {"key": key})
        return layer

    @model_validator(mode="after")
    def _opposite(self) -> Self:
        forward, backward = self.pair()
        if forward.go_backwards == backward.go_backwards:
            raise PydanticCustomError("bidirectional", "`layer` and `backward_layer` must differ in `go_backwards`")
        for key in ("stateful", "return_sequences", "return_state"):
            if getattr(forward, key) != getattr(backward, key):
                message = "`layer` and `backward_layer` must agree in `{key}`"
                raise PydanticCustomError("bidirectional", message, {"key": key})
        return self

    def pair(self) -> tuple[_Walking, _Walking]:
        """Both layers."""
        assert isinstance(self.layer, _Walking)
        assert self.backward_layer is None or isinstance(self.backward_layer, _Walking)
        return self.layer, self.backward_layer or self.layer.model_copy(
            update={"go_backwards": not self.layer.go_backwards}
        )

    def infer_shape(self, *shapes: Shape, initial_state: tuple[Shape, ...] = ()) -> Shape:
        forward, backward = self.pair()
        given = (*shapes[1:], *initial_state)
        count = forward.state_count
        both = count + backward.state_count
        if len(given) not in (0, both):
            raise ShapeError(f"it takes {both} initial states, those of both directions, not {len(given)}")
        one = forward.infer_shape(shapes[0], *given[:count])
        other = backward.infer_shape(shapes[0], *given[count:])
        if self.merge_mode is not None and one[:-1] != other[:-1]:
            raise ShapeError(f"the outputs of both ways must have one shape, not {one} and {other}")
        if self.merge_mode == "concat":
            return (*one[:-1], one[-1] + other[-1])
        if self.merge_mode is not None and one != other:
            raise ShapeError(
                f"`merge_mode: {self.merge_mode}` wants as many units both ways, not {one[-1]} and {other[-1]}"
            )
        return one

    def infer_further(self, *shapes: Shape, **_: Any) -> tuple[Shape, ...]:
        forward, backward = self.pair()
        other = (backward.infer_shape(shapes[0]),) if self.merge_mode is None else ()
        return (*other, *forward.infer_further(shapes[0]), *backward.infer_further(shapes[0]))

    def carry(self, *shapes: Shape) -> dict[str, Shape]:
        ways = zip(("forward", "backward"), self.pair(), strict=True)
        return {f"{way}_{key}": shape for way, layer in ways for key, shape in layer.carry(shapes[0]).items()}

    def nested(self, states: Sequence[Any]) -> list[Any]:
        forward, backward = self.pair()
        count = forward.state_count
        return [*forward.nested(states[:count]), *backward.nested(states[count:])]

    def declare(self, *shapes: Shape, **_: Any) -> tuple[WeightSpec, ...]:
        specs = []
        for way, layer in zip(("forward", "backward"), self.pair(), strict=True):
            for spec in layer.declare(shapes[0]):
                trainable = spec.trainable and layer.trainable
                specs.append(
                    replace(spec, name=f"{way}_{spec.name}", group=f"{way}_layer/{spec.group}", trainable=trainable)
                )
        return tuple(specs)

    def call(
        self, context: Context, w: Mapping[str, Value], *xs: Value, initial_state: tuple[Value, ...] = ()
    ) -> Value:
        x, *given = (*xs, *initial_state)
        forward, backward = self.pair()
        count = forward.state_count
        outputs: list[Value] = []
        last: list[Value] = []
        for way, layer, states in (("forward_", forward, given[:count]), ("backward_", backward, given[count:])):
            own = {name.removeprefix(way): value for name, value in w.items() if name.startswith(way)}
            y, ends = layer.walk(context, own, x, states, way, zero=layer.return_sequences)
            outputs.append(reverse(y) if forward.go_backwards and forward.return_sequences else y)
            last += ends if layer.return_state else ()
        context.further += [*outputs[1:], *last] if self.merge_mode is None else last
        return self._merged(*outputs)

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
            case None:
                return one

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
