"""Embedding: whole numbers become vectors."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from kerascli.component import Example
from kerascli.constraints import Constraint
from kerascli.initializers import Initializer, RandomUniform
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.ops.activation import tanh
from kerascli.ops.elementwise import cast, divide, multiply, not_equal
from kerascli.ops.index import gather
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.linear import matmul, transpose_matrix
from kerascli.regularizers import Regularizer


class Embedding(Layer):
    """A row of a trained table for every number: (T,) → (T, output_dim)."""

    takes_integers: ClassVar[bool] = True
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"input_dim": 10, "output_dim": 4}, inputs=((5,),), dtype="int32"),
        Example(
            {"input_dim": 8, "output_dim": 3, "mask_zero": True, "embeddings_regularizer": "l2"},
            inputs=((6,),),
            dtype="int32",
            high=8,
        ),
        Example({"input_dim": 7, "output_dim": 2}, inputs=((2, 3),), dtype="uint8", high=7),
    )

    input_dim: int = Field(ge=1)
    """Rows of the table: the largest number is input_dim - 1."""
    output_dim: int = Field(ge=1)
    """Numbers in a row."""
    embeddings_initializer: Initializer = RandomUniform()
    """First values of the table."""
    embeddings_regularizer: Regularizer | None = None
    """Penalty on the table."""
    embeddings_constraint: Constraint | None = None
    """Rule that the table obeys."""
    mask_zero: bool = False
    """Whether 0 is padding, which later layers leave out."""

    def infer_shape(self, shape: Shape) -> Shape:
        return (*shape, self.output_dim)

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return (self._trained("embeddings", (self.input_dim, self.output_dim)),)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return gather(w["embeddings"], x)

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return not_equal(xs[0], 0) if self.mask_zero else None


class ReversibleEmbedding(Embedding):
    """An Embedding that is called in reverse too: vectors to a number for each row, (T, output_dim) → (T, input_dim).

    In reverse, y = x Eᵀ, and c tanh(y / c) with a cap c; there is no bias. The usual spec calls it twice:
    `{type: ReversibleEmbedding, name: words, …}` and later `{type: Reuse, layer: words, reverse: true}`. As in Keras,
    a mask goes on from the first call and ends at one in reverse.
    """

    call_arguments: ClassVar[tuple[str, ...]] = ("reverse",)
    examples = (
        Example({"input_dim": 10, "output_dim": 4, "mask_zero": True}, inputs=((5,),), dtype="int32"),
        Example({"input_dim": 6, "output_dim": 3, "reverse": True, "logit_soft_cap": 2.0}, inputs=((4, 3),)),
    )

    tie_weights: bool = True
    """Whether the reverse uses the same table, rather than one of its own."""
    reverse_dtype: Literal["float32"] | None = None
    """Precision of the reverse; it is float32."""
    logit_soft_cap: float | None = Field(None, gt=0)
    """Bound that the numbers of the reverse come near to but do not pass."""
    reverse: bool = False
    """Whether this call is the reverse."""

    def infer_shape(self, shape: Shape) -> Shape:
        if not self.reverse:
            return super().infer_shape(shape)
        if shape[-1:] != (self.output_dim,):
            raise ShapeError(f"the reverse takes vectors of `output_dim` {self.output_dim}, found {shape}")
        return (*shape[:-1], self.input_dim)

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        own = super().declare(shape)
        back = WeightSpec("reverse_embeddings", (self.output_dim, self.input_dim), self.embeddings_initializer)
        return own if self.tie_weights else (*own, back)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if not self.reverse:
            return super().call(context, w, x)
        table = transpose_matrix(w["embeddings"]) if self.tie_weights else w["reverse_embeddings"]
        y = matmul(cast(x, "float"), table)
        cap = self.logit_soft_cap
        return y if cap is None else multiply(tanh(divide(y, cap)), cap)

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return None if self.reverse else super().mask(context, *xs)
