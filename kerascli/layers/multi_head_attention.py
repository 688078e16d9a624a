"""MultiHeadAttention."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from kerascli.component import Example, tuple_of
from kerascli.layers.attention_heads import LETTERS, Heads, _Headed
from kerascli.ops.ir import Shape, ShapeError


class MultiHeadAttention(_Headed):
    """y = concat(softmax(Qₕ Kₕᵀ / √key_dim) Vₕ) W, with projections Qₕ, Kₕ and Vₕ for every head h.

    Inputs: query (T, E), value (S, E') and key (S, E''); without a key the value is the key, and one input alone is
    all three. Source: Vaswani et al., 2017.
    """

    ends_masks = True
    examples = (
        Example({"num_heads": 2, "key_dim": 3}, inputs=((4, 6),)),
        Example(
            {"num_heads": 2, "key_dim": 3, "value_dim": 2, "output_shape": 5, "dropout": 0.1},
            inputs=((4, 6), (3, 5), (3, 2)),
        ),
        Example({"num_heads": 3, "key_dim": 2, "use_causal_mask": True, "use_gate": True}, inputs=((4, 3), (5, 4))),
        Example({"num_heads": 2, "key_dim": 2, "dropout": 0.3, "use_bias": False, "seed": 3}, inputs=((4, 3),)),
        Example(
            {
                "num_heads": 2,
                "key_dim": 2,
                "sliding_window": 2,
                "activity_regularizer": "l2",
                "kernel_regularizer": "l1",
            },
            inputs=((4, 3),),
        ),
        Example({"num_heads": 2, "key_dim": 3, "attention_axes": 2, "output_shape": [2, 4]}, inputs=((2, 3, 4),)),
        Example({"num_heads": 2, "key_dim": 3, "bias_initializer": "ones"}, inputs=((2, 3, 4), (3, 2, 4))),
    )

    num_heads: int = Field(ge=1)
    """Number of heads."""
    key_dim: int = Field(ge=1)
    """Features of a query and a key in each head."""
    value_dim: int | None = Field(None, ge=1)
    """Features of a value in each head; by default as many as `key_dim`."""
    output_shape: (
        Annotated[
            tuple[Annotated[int, Field(ge=1)], ...],
            Field(min_length=1, max_length=len(LETTERS)),
            BeforeValidator(tuple_of(1), json_schema_input_type=int | list[int]),
        ]
        | None
    ) = None
    """Features of the output; by default those of the query."""
    attention_axes: (
        Annotated[
            tuple[int, ...],
            Field(min_length=1),
            BeforeValidator(tuple_of(1), json_schema_input_type=int | list[int]),
        ]
        | None
    ) = None
    """Axes that attention goes over, the batch being axis 0; by default all but the features."""

    def _heads(self) -> Heads:
        return Heads(self.num_heads, self.num_heads, self.key_dim, self.value_dim or self.key_dim)

    def _axes(self, query: Shape) -> tuple[int, ...]:
        rank = len(query) - 1
        if self.attention_axes is None:
            return tuple(range(rank))
        found = []
        for axis in self.attention_axes:
            place = axis - 1 if axis >= 0 else rank + 1 + axis
            if not 0 <= place < rank or place in found:
                raise ShapeError(
                    f"axis {axis} is not one of the {rank} axes of {query} that attention can go over",
                    "axes count from 1 (0 is the batch) or from the end: -2, the last being the features",
                )
            found.append(place)
        return tuple(found)

    def _output(self, query: Shape) -> Shape:
        return self.output_shape or query[-1:]

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        axes = [axis + 1 for axis in self._axes(shapes[0])]
        return {"value_dim": self.value_dim or self.key_dim, "attention_axes": axes}
