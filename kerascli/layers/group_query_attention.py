"""GroupQueryAttention."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example
from kerascli.layers.attention_heads import Heads, _Headed
from kerascli.ops.ir import Shape, ShapeError


class GroupQueryAttention(_Headed):
    """Attention of several heads, groups of which share their keys and values.

    Inputs: query (T, E), value (S, E) and key (S, E'); without a key the value is the key, and one input alone is all
    three. Source: Ainslie et al., 2023.
    """

    aliases = ("GroupedQueryAttention",)
    underscore = "_"
    examples = (
        Example({"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}, inputs=((4, 6),)),
        Example(
            {"head_dim": 2, "num_query_heads": 6, "num_key_value_heads": 2, "use_gate": True, "use_causal_mask": True},
            inputs=((4, 6), (3, 6), (3, 2)),
        ),
        Example(
            {"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1, "use_bias": False, "dropout": 0.2},
            inputs=((4, 3), (5, 3)),
        ),
    )

    head_dim: int = Field(ge=1)
    """Features of each head."""
    num_query_heads: int = Field(ge=1)
    """Heads of the queries, a multiple of `num_key_value_heads`."""
    num_key_value_heads: int = Field(ge=1)
    """Heads of keys and values."""

    @classmethod
    def keras_name(cls) -> str:
        return "grouped_query_attention"

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.num_query_heads % self.num_key_value_heads:
            raise PydanticCustomError("heads", "`num_query_heads` must be a multiple of `num_key_value_heads`")
        return self

    def _heads(self) -> Heads:
        return Heads(self.num_query_heads, self.num_key_value_heads, self.head_dim, self.head_dim)

    def infer_shape(
        self,
        query: Shape,
        value: Shape | None = None,
        key: Shape | None = None,
        *,
        attention_mask: Shape | None = None,
    ) -> Shape:
        if len(query) != 2:
            raise ShapeError(f"expected sequences of vectors, (steps, features), found {query}")
        if value is not None and query[-1] != value[-1]:
            raise ShapeError(f"queries have {query[-1]} features and values {value[-1]}: Keras wants them alike")
        return super().infer_shape(query, value, key, attention_mask=attention_mask)
