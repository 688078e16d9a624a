"""Arguments that several layers share, and the checks and sums that go with them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from kerascli.activations import Activation
from kerascli.component import Pair, Single, Triple
from kerascli.constraints import Constraint
from kerascli.initializers import GlorotUniform, Initializer, Zeros
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.ops.elementwise import multiply
from kerascli.ops.ir import Scope, Shape, ShapeError, Value, Variable
from kerascli.ops.linear import bias_add
from kerascli.ops.shape import permute
from kerascli.regularizers import Regularizer


def _positive(values: tuple[int, ...]) -> tuple[int, ...]:
    if min(values) < 1:
        raise PydanticCustomError("positive", "must be at least 1, not {least}", {"least": min(values)})
    return values


def _function(value: Any) -> Any:
    return None if value == "linear" else value


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


class _Channels(Layer):
    """A layer that must know which axis holds the channels. Members compute with channels in the last axis."""

    data_format: Literal["channels_last", "channels_first"] | None = None
    """Which axis of a sample holds the channels: the last (`channels_last`, the default) or the first."""

    def infer_shape(self, shape: Shape) -> Shape:
        found = self._shape(self._moved(shape))
        return (*found[-1:], *found[:-1]) if self._first else found

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return self._weights(self._moved(shape))

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not self._first or not x.shape:
            return self._output(context, w, x)
        y = self._output(context, w, permute(x, (*range(1, len(x.shape)), 0)))
        last = len(y.shape) - 1
        return permute(y, (last, *range(last)))

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"data_format": self.data_format or "channels_last"}

    @property
    def _first(self) -> bool:
        return self.data_format == "channels_first"

    def _moved(self, shape: Shape) -> Shape:
        """A sample's shape with the channels last."""
        return (*shape[1:], *shape[:1]) if self._first else shape

    def _shape(self, shape: Shape) -> Shape:
        """The output's shape; here and below, channels are last."""
        return shape

    def _weights(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return ()

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        raise NotImplementedError


class _Biased(Layer):
    """y = activation(something of x + bias): what Dense, the convolutions and their like have in common."""

    activation: Function = None
    """Function of the output; none (linear) by default."""
    use_bias: bool = True
    """Whether a bias is added."""
    bias_initializer: Initializer = Zeros()
    """First values of the bias."""
    bias_regularizer: Regularizer | None = None
    """Penalty on the bias."""
    activity_regularizer: Regularizer | None = None
    """Penalty on the output, per sample of the batch."""
    bias_constraint: Constraint | None = None
    """Rule that the bias obeys."""

    def _with_bias(self, size: int, *kernels: WeightSpec) -> tuple[WeightSpec, ...]:
        """The kernels, and a bias of `size` numbers where there is one."""
        return (*kernels, self._trained("bias", (size,))) if self.use_bias else kernels

    def _finish(self, context: Context, w: Mapping[str, Value], y: Value) -> Value:
        """Bias, activation, and the penalty of the activity."""
        if self.use_bias:
            y = bias_add(y, w["bias"])
        return penalise(context, self.activity_regularizer, activated(self.activation, y))


class _Affine(_Biased):
    """y = activation(x · kernel + bias), where the product may be a convolution."""

    kernel_initializer: Initializer = GlorotUniform()
    """First values of the kernel."""
    kernel_regularizer: Regularizer | None = None
    """Penalty on the kernel."""
    kernel_constraint: Constraint | None = None
    """Rule that the kernel obeys."""

    def _kernel_and_bias(self, kernel: Shape, bias: int) -> tuple[WeightSpec, ...]:
        """The weights, given the kernel's shape and the bias's size."""
        return self._with_bias(bias, self._trained("kernel", kernel))


def rank(shape: Shape, wanted: int, axes: str, help: str = "") -> None:
    """Raise ShapeError unless a sample has `wanted` axes, called `axes`."""
    if len(shape) != wanted:
        count = f"{wanted} axes" if wanted > 1 else "1 axis"
        raise ShapeError(f"expected samples of {count} ({axes}), found {len(shape)}: {shape}", help)


def trimmed(shape: Shape) -> Shape:
    """Without leading ones, which broadcasting puts there anyway: sums over the rest then have a fast form."""
    return trimmed(shape[1:]) if shape[:1] == (1,) and len(shape) > 1 else shape


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


def sample_axes(axes: int | Sequence[int], shape: Shape) -> tuple[int, ...]:
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
