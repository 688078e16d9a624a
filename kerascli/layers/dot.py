"""Dot: sums of products of two inputs."""

from collections.abc import Mapping
from math import prod
from typing import Annotated

from pydantic import BeforeValidator

from kerascli.component import Example, as_tuple
from kerascli.layer import Context
from kerascli.layers.arguments import _Unmasked, sample_axes
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.row_norm import unit_normalise
from kerascli.ops.sample_product import sample_product
from kerascli.ops.shape import permute, reshape, with_last


class Dot(_Unmasked):
    """Σ of the products of two inputs along an axis of each: (A, K), (B, K) → (A, B) with `axes: 2`."""

    examples = (
        Example({"axes": 1}, inputs=((4,), (4,))),
        Example({"axes": [2, 1]}, inputs=((3, 4), (4, 2))),
        Example({"axes": -1, "normalize": True}, inputs=((3, 4), (2, 4))),
        Example({"axes": [1, 2]}, inputs=((4, 3), (2, 4, 3))),
        Example({"axes": 1, "normalize": True}, inputs=((4,), (4, 2))),
    )

    axes: Annotated[int | tuple[int, int], BeforeValidator(as_tuple)]
    """The axis that is summed over, or one for each input; the batch is axis 0."""
    normalize: bool = False
    """Whether both inputs first get length 1 along their axis: the result is then their cosine."""

    def infer_shape(self, *shapes: Shape) -> Shape:
        if len(shapes) != 2:
            raise ShapeError(f"expected 2 inputs, found {len(shapes)}")
        (one, other), (j, k) = shapes, self._axes(*shapes)
        if one[j] != other[k]:
            raise ShapeError(f"axis {j + 1} of {one} and axis {k + 1} of {other} differ in length")
        return (*one[:j], *one[j + 1 :], *other[:k], *other[k + 1 :]) or (1,)

    def call(self, context: Context, w: Mapping[str, Value], *xs: Value) -> Value:
        shapes = (xs[0].shape, xs[1].shape)
        one, other = (self._matrix(x, k) for x, k in zip(xs, self._axes(*shapes), strict=True))
        return reshape(sample_product(one, other, right=True), self.infer_shape(*shapes))

    def _axes(self, one: Shape, other: Shape) -> tuple[int, int]:
        first, second = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        return sample_axes(first, one)[0], sample_axes(second, other)[0]

    def _matrix(self, x: Value, axis: int) -> Value:
        """x as (everything else, the axis)."""
        if self.normalize:
            x = with_last(x, (axis,), lambda moved: unit_normalise(moved, 1, 1e-7))
        others = tuple(k for k in range(len(x.shape)) if k != axis)
        return reshape(permute(x, (*others, axis)), (prod(x.shape[k] for k in others), x.shape[axis]))
