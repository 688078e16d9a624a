"""TimeDistributed."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, snake_case
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.batch_normalization import BatchNormalization
from kerascli.layers.bidirectional import Bidirectional
from kerascli.layers.rnn_base import counting
from kerascli.ops.broadcast import broadcast_to
from kerascli.ops.elementwise import cast
from kerascli.ops.fold import fold, rows_like, stack, unfold, unstack
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.random import is_shared
from kerascli.ops.shape import reshape


class TimeDistributed(Layer):
    """One layer applied to every step of a sequence.

    Shapes: (T, ...) → (T, ...), the rest being what `layer` makes of one step. All steps are worked on at once, as
    rows of one batch. Only where that would give other numbers than Keras's one call a step (batch statistics, whose
    averages move at every step, and noise that samples share) are the steps taken one after the other.
    The mask goes to `layer`, as far as it says more than which steps count, and is passed on. As in Keras, the
    activity regularizer of `layer` itself has no effect.
    """

    takes_integers: ClassVar[bool] = True

    layer: Layer
    """The layer that is applied to every step."""

    examples = (
        Example({"layer": {"type": "Dense", "units": 3, "activation": "tanh"}}, ((4, 2),)),
        Example({"layer": {"type": "Dense", "units": 3, "kernel_regularizer": "l2"}}, ((2, 3, 2),)),
        Example({"layer": {"type": "Conv2D", "filters": 2, "kernel_size": 2}}, ((3, 4, 3, 2),)),
        Example({"layer": {"type": "MaxPooling1D"}}, ((3, 4, 2),)),
        Example({"layer": "Flatten"}, ((3, 2, 2),)),
        Example({"layer": {"type": "TimeDistributed", "layer": "Flatten"}}, ((3, 2, 2, 2),)),
        Example({"layer": {"type": "LSTM", "units": 3}}, ((3, 4, 2),)),
        Example({"layer": {"type": "TimeDistributed", "layer": {"type": "Dense", "units": 3}}}, ((2, 3, 2),)),
        Example({"layer": {"type": "BatchNormalization", "momentum": 0.6}}, ((3, 2),)),
        Example({"layer": {"type": "BatchNormalization", "momentum": 0.6}}, ((3, 2, 2),)),
        Example({"layer": "LayerNormalization"}, ((3, 4),)),
        Example({"layer": {"type": "Embedding", "input_dim": 9, "output_dim": 2}}, ((3, 4),), dtype="int32", high=9),
    )

    @field_validator("layer")
    @classmethod
    def _one_in_one_out(cls, layer: Layer) -> Layer:
        if type(layer).call is Layer.call:
            message = (
                "cannot be applied to steps: name a layer that computes; of several, give each its own TimeDistributed"
            )
            raise PydanticCustomError("time_distributed", message)
        if _takes_several(type(layer)):
            message = "takes several inputs, and a step is one: use it without TimeDistributed"
            raise PydanticCustomError("time_distributed", message)
        for key in ("inputs", *layer.references):
            if getattr(layer, key) is not None:
                message = "reads what TimeDistributed reads: leave out its `{key}`"
                raise PydanticCustomError("time_distributed", message, {"key": key})
        for key in ("return_state", "stateful"):
            if getattr(layer, key, False):
                message = "cannot have `{key}` inside TimeDistributed: a step begins anew and has one output"
                raise PydanticCustomError("time_distributed", message, {"key": key})
        return layer

    def infer_shape(self, shape: Shape) -> Shape:
        if len(shape) < 2:
            raise ShapeError(
                f"expected samples of at least 2 axes (time, features), found {len(shape)}: {shape}",
                f"use {type(self.layer).__name__} without TimeDistributed",
            )
        try:
            inner = self.layer.infer_shape(shape[1:])
            specs = self.layer.declare(shape[1:])
        except ShapeError as error:
            raise ShapeError(f"{type(self.layer).__name__} reads {shape[1:]}: {error}", error.help) from error
        if hasattr(self.layer, "adapt") and specs:
            raise ShapeError(
                f"{type(self.layer).__name__} learns from the data, which it cannot do inside TimeDistributed",
                "put it here without TimeDistributed, or give it its numbers",
            )
        return (shape[0], *inner)

    def infer_dtype(self, dtype: str) -> str:
        return self.layer.infer_dtype(dtype)

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return tuple(
            replace(
                spec,
                group=f"layer/{spec.group}" if spec.group else "layer",
                trainable=spec.trainable and self.layer.trainable,
            )
            for spec in self.layer.declare(shape[1:])
        )

    def keras_groups(self) -> dict[str, str]:
        own = self.layer.name or snake_case(type(self.layer).__name__)
        return {"layer": own} | {f"layer/{group}": name for group, name in self.layer.keras_groups().items()}

    def wrapped_shapes(self, *shapes: Shape) -> tuple[Shape, ...]:
        return tuple(shape[1:] for shape in shapes)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not self.layer.takes_integers:
            x = cast(x, "float")
        mask = self._step_mask(context.masks[0], x.shape)
        rows = fold(x)
        inside = _inside(context, None if mask is None else fold(mask))
        with rows_like(rows):
            y = self.layer.call(inside, w, rows)
        if inside.updates or _mixes(y, (rows, *w.values())):
            return self._step_by_step(context, w, x, mask)
        self._penalise(context, inside)
        return unfold(y, x.shape[0])

    def mask(self, context: Context, *xs: Value) -> Value | None:
        """The input's, where `layer` leaves the axes that it is of; else a step counts that has anything in it."""
        mask, inner = context.masks[0], self.layer.infer_shape(xs[0].shape[1:])
        if mask is None or (len(mask.shape) <= len(inner) and mask.shape[1:] == inner[: len(mask.shape) - 1]):
            return mask
        return counting(mask)

    def _step_by_step(self, context: Context, w: Mapping[str, Value], x: Value, mask: Value | None) -> Value:
        """A call for every step, which finds the state as the one before left it."""
        masks = [None] * x.shape[0] if mask is None else unstack(mask)
        found = []
        for step, kept in zip(unstack(x), masks, strict=True):
            inside = _inside(context, kept)
            found.append(self.layer.call(inside, {**w, **context.updates}, step))
            context.updates.update(inside.updates)
            self._penalise(context, inside)
        return stack(found)

    def _step_mask(self, mask: Value | None, shape: Shape) -> Value | None:
        """The mask for `layer`: one of whole steps says nothing of a step's inside, but batch statistics heed it."""
        if mask is None or not isinstance(self.layer, BatchNormalization):
            return mask if mask is None or len(mask.shape) > 1 else None
        missing = len(shape) - 1 - len(mask.shape)
        return broadcast_to(reshape(mask, (*mask.shape, *(1,) * missing)), shape[:-1])

    def _penalise(self, context: Context, inside: Context) -> None:
        """Keras leaves out the activity regularizer of the layer itself, not those of layers within that."""
        if isinstance(self.layer, Bidirectional):
            context.penalties.extend(inside.penalties)


def _takes_several(kind: type[Layer]) -> bool:
    """Whether a layer joins its inputs, or has them by name (query, value, key)."""
    named = [p for p in inspect.signature(kind.infer_shape).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
    return len(named) > 2 or min((len(example.inputs) for example in kind.examples), default=1) > 1


def _inside(context: Context, mask: Value | None) -> Context:
    return replace(context, masks=(mask,), updates={}, penalties=[], further=[])


def _mixes(y: Value, ends: Iterable[Value]) -> bool:
    """Whether anything between `ends` and y is a matter of all samples together."""
    seen, todo = set(ends), [y]
    while todo:
        value = todo.pop()
        if value in seen:
            continue
        if value.op.contracts or value.op.whole_batch or value.op.mixes or is_shared(value.op):
            return True
        seen.add(value)
        todo.extend(value.inputs)
    return False
