"""Arguments that several layers share, and the checks and sums that go with them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from kerascli.activations import Activation
from kerascli.component import Pair, Single, Triple
from kerascli.layer import Context, Layer
from kerascli.ops.elementwise import multiply
from kerascli.ops.ir import Scope, Shape, ShapeError, Value, Variable
from kerascli.regularizers import Regularizer


def _channels_last(value: str | None) -> str | None:
    if value == "channels_first":
        raise PydanticCustomError(
            "channels_first",
            "must be `channels_last`: kerascli keeps channels in the last axis (put Permute before the layer)",
        )
    return value


def _positive(values: tuple[int, ...]) -> tuple[int, ...]:
    if min(values) < 1:
        raise PydanticCustomError("positive", "must be at least 1, not {least}", {"least": min(values)})
    return values


def _function(value: Any) -> Any:
    return None if value == "linear" else value


DataFormat = Annotated[Literal["channels_last", "channels_first"] | None, AfterValidator(_channels_last)]
"""Where the channels are; null means `channels_last`, and Keras's other choice is refused."""
Padding = Literal["valid", "same"]
Size1 = Annotated[Single, AfterValidator(_positive)]
"""One positive integer."""
Size2 = Annotated[Pair, AfterValidator(_positive)]
"""Two positive integers, or one for both."""
Size3 = Annotated[Triple, AfterValidator(_positive)]
"""Three positive integers, or one for all."""
Rate = Annotated[float, Field(ge=0, le=1)]
Function = Annotated[Activation | None, BeforeValidator(_function)]
"""An activation; null and `linear` mean none."""


class _Unmasked(Layer):
    """A layer without support for masks: a mask ends at it, as in Keras."""

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return None


def rank(shape: Shape, wanted: int, axes: str, help: str = "") -> None:
    """Raise ShapeError unless a sample has `wanted` axes, called `axes`."""
    if len(shape) != wanted:
        raise ShapeError(f"expected samples of {wanted} axes ({axes}), found {len(shape)}: {shape}", help)


def activated(activation: Activation | None, x: Value) -> Value:
    """The activation of x, or x."""
    return x if activation is None else activation.apply(x)


def activated_shape(activation: Activation | None, shape: Shape) -> Shape:
    """The shape after the activation; `glu` halves an axis."""
    return shape if activation is None else activation.infer_shape(shape)


def penalise(context: Context, regularizer: Regularizer | None, y: Value) -> Value:
    """Give y back, after its activity regularizer's penalty was added: a mean over the batch, as in Keras."""
    if regularizer is not None:
        inverse_batch = context.trace.add(Variable("inverse_batch"), scope=Scope.WEIGHT)
        context.penalties.append(multiply(regularizer.penalty(y), inverse_batch))
    return y


def sample_axes(axes: int | tuple[int, ...], shape: Shape) -> tuple[int, ...]:
    """Keras's axes, which count the batch as 0, as sorted axes of a sample of that shape."""
    count = len(shape)
    found = set()
    for axis in (axes,) if isinstance(axes, int) else axes:
        if axis == 0 or not -count <= axis <= count:
            raise ShapeError(
                f"axis {axis} is not one of the {count} axes of a sample {shape}",
                "axes count from 1 (0 is the batch) or from the end: -1",
            )
        found.add(axis - 1 if axis > 0 else axis + count)
    return tuple(sorted(found))
