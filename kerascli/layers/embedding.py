"""Embedding: whole numbers become vectors."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from kerascli.component import Example
from kerascli.constraints import Constraint
from kerascli.initializers import Initializer, RandomUniform
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.ops.elementwise import not_equal
from kerascli.ops.index import gather
from kerascli.ops.ir import Shape, Value
from kerascli.regularizers import Regularizer


class Embedding(Layer):
    """A row of a trained table for every number: (T,) → (T, output_dim)."""

    takes_integers: ClassVar[bool] = True
    examples = (
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
        table = (self.input_dim, self.output_dim)
        rules = (self.embeddings_regularizer, self.embeddings_constraint)
        return (WeightSpec("embeddings", table, self.embeddings_initializer, True, *rules),)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return gather(w["embeddings"], x)

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return not_equal(xs[0], 0) if self.mask_zero else None
