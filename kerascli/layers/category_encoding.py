"""CategoryEncoding: whole numbers as vectors."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example
from kerascli.layer import Context
from kerascli.layers.arguments import _Unmasked
from kerascli.layers.host import Modes, Never, encoded_shape
from kerascli.ops.elementwise import cast, multiply
from kerascli.ops.index import one_hot
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.reduction import max as largest
from kerascli.ops.reduction import sum as total
from kerascli.ops.shape import reshape


def vectors(x: Value, mode: str, depth: int, weights: Value | None = None) -> Value:
    """Whole numbers as vectors; those outside 0 … depth - 1 are zeros."""
    if mode == "one_hot":
        return one_hot(reshape(x, x.shape[:-1]) if x.shape[-1:] == (1,) else x, depth)
    ones = one_hot(x, depth)  # (T, depth)
    if mode == "multi_hot":
        return largest(ones, (0,))
    return total(ones if weights is None else multiply(ones, reshape(weights, (*x.shape, 1))), (0,))


class CategoryEncoding(_Unmasked):
    """Whole numbers as vectors of `num_tokens`: which there are in a sample, how often, or one vector for each.

    Departure from Keras: numbers outside the vector leave no trace on any engine; Keras on TensorFlow refuses them.
    """

    takes_integers: ClassVar[bool] = True
    references: ClassVar[tuple[str, ...]] = ("count_weights",)
    examples = (
        Example({"num_tokens": 4}, inputs=((3,),), dtype="int32", high=4),
        Example({"num_tokens": 4, "output_mode": "one_hot"}, inputs=((1,),), dtype="int32", high=4),
        Example({"num_tokens": 5, "output_mode": "one_hot"}, inputs=((3,),), dtype="int32", high=5),
        Example({"num_tokens": 4, "output_mode": "count"}, inputs=((6,),), dtype="uint8", high=4),
    )

    num_tokens: int = Field(ge=1)
    """Length of a vector: the largest number is num_tokens - 1."""
    output_mode: Annotated[
        Literal["one_hot", "multi_hot", "count"],
        BeforeValidator(lambda mode: Modes.get(mode, mode) if isinstance(mode, str) else mode),
    ] = "multi_hot"
    """`multi_hot`: which numbers there are in a sample; `count`: how often, or how weighty; `one_hot`: a vector for
    each."""
    sparse: Never = False
    """Keras's sparse tensors; always false here."""
    count_weights: str | None = None
    """Name of the layer that gives the weight of each number for `output_mode: count`."""

    @model_validator(mode="after")
    def _weights_are_counted(self) -> Self:
        if self.count_weights is not None and self.output_mode != "count":
            raise PydanticCustomError("count_weights", "`count_weights` needs `output_mode: count`")
        return self

    def infer_shape(self, shape: Shape, count_weights: Shape | None = None) -> Shape:
        if count_weights not in (None, shape):
            raise ShapeError(f"`count_weights` are {count_weights}, the numbers {shape}", "there must be one for each")
        return encoded_shape(shape, self.output_mode, self.num_tokens)

    def call(self, context: Context, w: Mapping[str, Value], x: Value, count_weights: Value | None = None) -> Value:
        ids = cast(x, "int32") if x.dtype == "float" else x
        weights = None if count_weights is None else cast(count_weights, "float")
        return vectors(ids, self.output_mode, self.num_tokens, weights)

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {}
