"""Attention and AdditiveAttention: one head, without projections; and what all attention layers share."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from kerascli.component import Example
from kerascli.initializers import GlorotUniform, Ones
from kerascli.layer import Context, Item, Layer, WeightSpec
from kerascli.ops import reduction
from kerascli.ops.activation import tanh
from kerascli.ops.attention import attend, causal
from kerascli.ops.elementwise import add, logical_and, multiply, subtract, where
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.random import keep_mask
from kerascli.ops.sample_product import sample_product
from kerascli.ops.shape import reshape
from kerascli.ops.softmax import softmax

FAR = 1e9
"""What Keras subtracts from scores that do not count."""


def both(one: Value | None, other: Value | None) -> Value | None:
    """What both masks leave."""
    return logical_and(one, other) if one is not None and other is not None else one if other is None else other


def all_three(query: Item, value: Item | None, key: Item | None) -> tuple[Item, Item, Item]:
    """Query, value and key: a query alone is all of them, and a value is the key too where none is given."""
    value = query if value is None else value
    return query, value, value if key is None else key


class _OneHead(Layer):
    """Queries (T, D) read values (S, F) by their keys (S, D): (T, F)."""

    call_arguments: ClassVar[tuple[str, ...]] = ("use_causal_mask", "return_attention_scores")

    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the weights dropped in training."""
    seed: int | None = None
    """Seed of the dropout; by default it follows from the spec's."""
    use_causal_mask: bool = False
    """Whether step i reads no step after i (an argument of Keras's call)."""
    return_attention_scores: bool = False
    """Whether the weights (T, S) are a second output, read as `name:1` (an argument of Keras's call)."""

    def infer_shape(self, query: Shape, value: Shape | None = None, key: Shape | None = None) -> Shape:
        query, value, key = all_three(query, value, key)
        for shape in (query, value, key):
            if len(shape) != 2:
                raise ShapeError(f"expected sequences of vectors, (steps, features), found {shape}")
        if query[1] != key[1]:
            raise ShapeError(f"queries have {query[1]} features and keys {key[1]}")
        if value[0] != key[0]:
            raise ShapeError(f"there are {value[0]} values and {key[0]} keys")
        return query[0], value[1]

    def infer_further(self, query: Shape, value: Shape | None = None, key: Shape | None = None) -> tuple[Shape, ...]:
        return ((query[0], (value or query)[0]),) if self.return_attention_scores else ()

    def call(
        self,
        context: Context,
        w: Mapping[str, Value],
        query: Value,
        value: Value | None = None,
        key: Value | None = None,
    ) -> Value:
        query, value, key = all_three(query, value, key)
        size = (query.shape[0], value.shape[0])
        asked, read = context.masks[0], context.masks[min(1, len(context.masks) - 1)]
        mask = None if read is None else reshape(read, (1, size[1]))
        if self.use_causal_mask:
            mask = both(mask, causal(query.trace, *size))
        drop = None
        if self.dropout and context.training:
            drop = keep_mask(query.trace, size, self.dropout, self.seed)
        y = self._read(context, w, query, value, key, mask, drop)
        return y if asked is None else where(reshape(asked, (size[0], 1)), y, 0.0)

    def _read(
        self,
        context: Context,
        w: Mapping[str, Value],
        query: Value,
        value: Value,
        key: Value,
        mask: Value | None,
        drop: Value | None,
    ) -> Value:
        scores = self._scores(w, query, key)
        if mask is not None:
            scores = where(mask, scores, subtract(scores, FAR))
        weights = softmax(scores)
        if drop is not None:
            weights = multiply(weights, drop)
        if self.return_attention_scores:
            context.further.append(weights)
        return sample_product(weights, value)

    def _scores(self, w: Mapping[str, Value], query: Value, key: Value) -> Value:
        """(T, S)"""
        raise NotImplementedError

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return context.masks[0]


def _sums(query: Value, key: Value) -> Value:
    """Every query plus every key, (T, S, D)."""
    (steps, dim), keys = query.shape, key.shape[0]
    return add(reshape(query, (steps, 1, dim)), reshape(key, (1, keys, dim)))


class Attention(_OneHead):
    """y = softmax(Q Kᵀ) V: every query's mean of the values, weighted by how well their keys match it.

    Inputs: query (T, D), value (S, F) and key (S, D); without a key the value is the key, and one input alone is all.
    With `score_mode: concat` the scores are w Σ tanh(Q + K). Source: Luong et al., 2015.
    """

    examples = (
        Example(inputs=((3, 4), (5, 4))),
        Example({"use_scale": True, "use_causal_mask": True}, inputs=((4, 3), (4, 2), (4, 3))),
        Example({"score_mode": "concat", "use_scale": True}, inputs=((3, 4), (2, 4))),
        Example({"score_mode": "concat", "dropout": 0.3, "seed": 4}, inputs=((3, 4), (2, 4))),
        Example({"dropout": 0.4}, inputs=((3, 4),)),
    )

    use_scale: bool = False
    """Whether the scores are multiplied by a trained number (before the tanh, with `score_mode: concat`)."""
    score_mode: Literal["dot", "concat"] = "dot"
    """How a query and a key are compared: by their product, or by the tanh of their sum."""

    def declare(self, *shapes: Shape) -> tuple[WeightSpec, ...]:
        names = ["scale"] * self.use_scale + ["concat_score_weight"] * (self.score_mode == "concat")
        return tuple(WeightSpec(name, (), Ones()) for name in names)

    def _read(
        self,
        context: Context,
        w: Mapping[str, Value],
        query: Value,
        value: Value,
        key: Value,
        mask: Value | None,
        drop: Value | None,
    ) -> Value:
        if self.score_mode != "dot" or self.return_attention_scores:
            return super()._read(context, w, query, value, key, mask, drop)
        if self.use_scale:
            query = multiply(query, w["scale"])
        heads = [reshape(x, (x.shape[0], 1, x.shape[1])) for x in (query, key, value)]
        wide = [None if x is None else reshape(x, (1, *x.shape)) for x in (mask, drop)]
        return attend(heads[0], heads[1], heads[2], wide[0], wide[1])

    def _scores(self, w: Mapping[str, Value], query: Value, key: Value) -> Value:
        if self.score_mode == "dot":
            scores = sample_product(query, key, right=True)
            return multiply(scores, w["scale"]) if self.use_scale else scores
        sums = _sums(query, key)
        if self.use_scale:
            sums = multiply(sums, w["scale"])
        return multiply(reduction.sum(tanh(sums), -1), w["concat_score_weight"])


class AdditiveAttention(_OneHead):
    """y = softmax(Σ scale ∘ tanh(Q + K)) V, the sum over the features.

    Inputs: query (T, D), value (S, F) and key (S, D); without a key the value is the key, and one input alone is all.
    Source: Bahdanau et al., 2015.
    """

    examples = (
        Example(inputs=((3, 4), (5, 4))),
        Example({"use_scale": False, "use_causal_mask": True}, inputs=((4, 3), (4, 2), (4, 3))),
        Example({"dropout": 0.4}, inputs=((3, 4),)),
    )

    use_scale: bool = True
    """Whether every feature of the sum has a trained factor."""

    def declare(self, query: Shape, *shapes: Shape) -> tuple[WeightSpec, ...]:
        return (WeightSpec("scale", query[1:], GlorotUniform()),) if self.use_scale else ()

    def _scores(self, w: Mapping[str, Value], query: Value, key: Value) -> Value:
        terms = tanh(_sums(query, key))
        return reduction.sum(multiply(terms, w["scale"]) if self.use_scale else terms, -1)
