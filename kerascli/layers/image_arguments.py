"""What the layers for images share: ranges of random factors, values that images lie between, when they act."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from kerascli.component import as_tuple
from kerascli.layer import Context
from kerascli.layers.arguments import _Channels, _Unmasked, rank
from kerascli.ops.elementwise import add, divide, multiply, subtract
from kerascli.ops.ir import Shape, ShapeError, Value

Both = tuple[float, float]


def _overlapping(low: float, high: float) -> Callable[[float | Both], float | Both]:
    """Keras's rule: a number lies within the bounds, a pair reaches into them."""

    def check(factor: float | Both) -> float | Both:
        first, last = factor if isinstance(factor, tuple) else (factor, factor)
        if isinstance(factor, tuple) and (first > high or last < low):
            raise _out_of(low, high)
        if not isinstance(factor, tuple) and not low <= factor <= high:
            raise _out_of(low, high)
        return factor

    return check


def _between(low: float, high: float, open_below: bool = False) -> Callable[[float | Both], float | Both]:
    """Keras's other rule: the number, or both of the pair, lie within the bounds."""

    def check(factor: float | Both) -> float | Both:
        for number in factor if isinstance(factor, tuple) else (factor,):
            if not low <= number <= high or (open_below and number == low):
                raise _out_of(low, high, open_below)
        return factor

    return check


def _out_of(low: float, high: float, open_below: bool = False) -> PydanticCustomError:
    ends = {"least": f"above {low:g}, up to" if open_below else f"from {low:g} to", "high": f"{high:g}"}
    return PydanticCustomError("factor", "must be a number or two, {least} {high}", ends)


def _increasing(value: Both) -> Both:
    if value[0] >= value[1]:
        raise PydanticCustomError("value_range", "must be the lowest value and then the highest, such as [0, 255]")
    return value


Signed = Annotated[float | Both, BeforeValidator(as_tuple), AfterValidator(_overlapping(-1, 1))]
"""A share up to 1 in both directions, or where it begins and ends."""
Unit = Annotated[float | Both, BeforeValidator(as_tuple), AfterValidator(_overlapping(0, 1))]
"""A share from 0 to 1: from 0 up to this, or where it begins and ends."""
Bits = Annotated[float | Both, BeforeValidator(as_tuple), AfterValidator(_overlapping(1, 8))]
"""A number of bits from 1 to 8: from 1 up to this, or where it begins and ends."""
Shift = Annotated[float | Both, BeforeValidator(as_tuple), AfterValidator(_between(-1, 1))]
"""A share of the side up to 1 in both directions, or where it begins and ends."""
Growth = Annotated[float | Both, BeforeValidator(as_tuple), AfterValidator(_between(-1, 1, True))]
"""A change of size in both directions, more than -1, or where it begins and ends."""
Share = Annotated[float | Both, BeforeValidator(as_tuple), AfterValidator(_between(0, 1))]
"""A number from 0 to 1, or where it begins and ends."""
ValueRange = Annotated[tuple[float, float], BeforeValidator(as_tuple), AfterValidator(_increasing)]
"""The lowest and the highest value of images."""
FillMode = Literal["reflect", "wrap", "constant", "nearest"]
"""How an image goes on beyond its edges."""
Interpolation = Literal["nearest", "bilinear"]
"""How places between pixels are read."""


def ends(factor: float | Both, least: float = -1.0) -> Both:
    """Where a random factor begins and ends: a number f stands for -f … f, as far as that is allowed."""
    if isinstance(factor, tuple):
        return min(factor), max(factor)
    return max(-abs(factor), least), abs(factor)


class _Image(_Channels, _Unmasked):
    """A layer that reads images (H, W, C)."""

    colours: ClassVar[tuple[int, ...]] = ()
    """How many channels it can work with; none: any number."""

    def _shape(self, shape: Shape) -> Shape:
        rank(
            shape, 3, "height, width, channels", "Reshape gives images their axis of channels: target_shape [28, 28, 1]"
        )
        if self.colours and shape[-1] not in self.colours:
            counts = " or ".join(map(str, self.colours))
            raise ShapeError(f"expected images of {counts} channels, found {shape[-1]}")
        return self._size(shape)

    def _size(self, shape: Shape) -> Shape:
        """The output's shape."""
        return shape


class _Augmenting(_Image):
    """A layer that changes images at random in training, and passes them on unchanged otherwise."""

    factors: ClassVar[Mapping[str, float]] = {}
    """Fields that are random factors, and the least of each: Keras writes where they begin and end."""

    seed: int | None = None
    """Seed of the layer's random numbers; by default it follows from the spec's."""

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {**super().keras_config(*shapes), **{name: self._ends(name) for name in self.factors}}

    def _ends(self, factor: str) -> Both:
        return ends(getattr(self, factor), self.factors[factor])

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return self._augment(x) if context.training else x

    def _augment(self, x: Value) -> Value:
        """Images as training sees them."""
        raise NotImplementedError


def rescaled(x: Value, old: Both, new: Both) -> Value:
    """Values of one range as values of another."""
    if old == new:
        return x
    unit = divide(subtract(x, old[0]), old[1] - old[0])
    return add(multiply(unit, new[1] - new[0]), new[0])
