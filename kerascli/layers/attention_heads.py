"""What MultiHeadAttention and GroupQueryAttention share: projections, masks, dropout and the gate.

Legend: T steps of the queries, S of keys and values, E features, H heads, G heads of keys and values, D features of a
head, F of its values. Where a sample has further axes, those without attention are further heads.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import ClassVar, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.activations import Sigmoid
from kerascli.constraints import Constraint
from kerascli.initializers import GlorotUniform, Initializer, Zeros
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import activated, penalise
from kerascli.layers.attention import all_three, both
from kerascli.layers.einsum_dense import EinsumDense
from kerascli.ops.attention import attend, attend_packed, causal
from kerascli.ops.broadcast import broadcast_to
from kerascli.ops.elementwise import multiply, not_equal, where
from kerascli.ops.ir import Shape, ShapeError, Value, constant
from kerascli.ops.linear import bias_add, matmul
from kerascli.ops.random import keep_mask
from kerascli.ops.sample_product import sample_product
from kerascli.ops.shape import concatenate, permute, reshape
from kerascli.ops.softmax import softmax
from kerascli.regularizers import Regularizer

Weights = Mapping[str, Value]
LETTERS = "uvwxyz"


class Heads(NamedTuple):
    """Sizes of the heads."""

    queries: int
    """H"""
    keys: int
    """G"""
    dim: int
    """D"""
    value_dim: int
    """F"""


class _Headed(Layer):
    """Attention of several heads, each with its own projections of queries, keys and values."""

    references = ("attention_mask",)
    call_arguments: ClassVar[tuple[str, ...]] = ("use_causal_mask", "return_attention_scores")
    underscore: ClassVar[str] = ""
    """What the names of the groups in Keras's weight file begin with."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the attention weights dropped in training."""
    use_bias: bool = True
    """Whether the projections have a bias."""
    sliding_window: int | None = Field(None, ge=1)
    """Steps less than this far apart read each other; null for all."""
    flash_attention: bool | None = None
    """Accepted for Keras's sake: there is one way here, and it keeps no weights of whole batches either."""
    kernel_initializer: Initializer = GlorotUniform()
    """First values of the projections' kernels."""
    bias_initializer: Initializer = Zeros()
    """First values of the projections' biases."""
    kernel_regularizer: Regularizer | None = None
    """Penalty on each kernel."""
    bias_regularizer: Regularizer | None = None
    """Penalty on each bias."""
    activity_regularizer: Regularizer | None = None
    """Penalty on what each projection gives, per sample of the batch."""
    kernel_constraint: Constraint | None = None
    """Rule that each kernel obeys."""
    bias_constraint: Constraint | None = None
    """Rule that each bias obeys."""
    use_gate: bool = False
    """Whether what the heads read is multiplied by the sigmoid of another projection of the queries."""
    seed: int | None = None
    """Seed of the dropout; by default it follows from the spec's."""
    attention_mask: str | None = None
    """Name of a layer or input that says which query may read which key, (T, S) or (H, T, S): 0 for no."""
    use_causal_mask: bool = False
    """Whether step i reads no step after i (an argument of Keras's call)."""
    return_attention_scores: bool = False
    """Whether the weights (H, T, S) are a second output, read as `name:1` (an argument of Keras's call)."""

    @model_validator(mode="after")
    def _possible_in_keras(self) -> Self:
        for name in ("dropout", "return_attention_scores") if self.flash_attention else ():
            if getattr(self, name):
                raise PydanticCustomError("flash", "`flash_attention` does not go with `{name}`", {"name": name})
        return self

    # ------------------------------------------------------------ what a layer fills in
    def _heads(self) -> Heads:
        raise NotImplementedError

    def _axes(self, query: Shape) -> tuple[int, ...]:
        """The axes of a sample that attention goes over."""
        return (0,)

    def _output(self, query: Shape) -> Shape:
        """Features of the output."""
        return query[-1:]

    # ------------------------------------------------------------ shapes and weights
    def infer_shape(
        self,
        query: Shape,
        value: Shape | None = None,
        key: Shape | None = None,
        *,
        attention_mask: Shape | None = None,
    ) -> Shape:
        query, value, key = all_three(query, value, key)
        if len(query) < 2 or not len(query) == len(value) == len(key):
            raise ShapeError(f"expected sequences of vectors, (steps, features), found {query}, {value} and {key}")
        if value[:-1] != key[:-1]:
            raise ShapeError(f"values {value} and keys {key} differ in more than their features")
        axes = self._axes(query)
        others = [k for k in range(len(query) - 1) if k not in axes]
        if any(query[k] != value[k] for k in others):
            raise ShapeError(f"queries {query} and values {value} differ in an axis without attention")
        if (self.use_causal_mask or self.sliding_window) and axes != (0,):
            raise ShapeError("`use_causal_mask` and `sliding_window` need attention over the first axis alone")
        if attention_mask is not None:
            steps, keys = ([shape[k] for k in axes] for shape in (query, value))
            wanted = (*steps, *keys)
            own = attention_mask[-len(wanted) :]
            heads = attention_mask[: -len(wanted)]
            narrow = len(wanted) == 2 and not others
            fits = len(own) == len(wanted) and all(
                n == w or (narrow and n == 1) for n, w in zip(own, wanted, strict=True)
            )
            if not fits or not (heads == () or (narrow and heads in ((1,), (self._heads().queries,)))):
                raise ShapeError(f"`attention_mask` is {attention_mask} and must be {wanted}, queries by keys")
        return (*query[:-1], *self._output(query))

    def infer_further(
        self,
        query: Shape,
        value: Shape | None = None,
        key: Shape | None = None,
        *,
        attention_mask: Shape | None = None,
    ) -> tuple[Shape, ...]:
        if not self.return_attention_scores:
            return ()
        axes = self._axes(query)
        free = tuple(query[k] for k in range(len(query) - 1) if k not in axes)
        sizes = (tuple(shape[k] for k in axes) for shape in (query, value or query))
        return ((*free, self._heads().queries, *next(sizes), *next(sizes)),)

    def declare(
        self,
        query: Shape,
        value: Shape | None = None,
        key: Shape | None = None,
        *,
        attention_mask: Shape | None = None,
    ) -> tuple[WeightSpec, ...]:
        h = self._heads()
        query, value, key = all_three(query, value, key)
        parts: list[tuple[str, Shape, Shape]] = [
            ("query", query[-1:], (h.queries, h.dim)),
            ("key", key[-1:], (h.keys, h.dim)),
            *((("gate", query[-1:], (h.queries, h.value_dim)),) if self.use_gate else ()),
            ("value", value[-1:], (h.keys, h.value_dim)),
            ("output", (h.queries, h.value_dim), self._output(query)),
        ]
        return tuple(spec for part in parts for spec in self._projection(*part))

    def _projection(self, name: str, read: Shape, made: Shape) -> list[WeightSpec]:
        """Kernel and bias of an EinsumDense in Keras."""
        x, y = "abc"[: len(read)], LETTERS[: len(made)]
        dense = EinsumDense(
            equation=f"...{x},{x}{y}->...{y}",
            output_shape=made,
            bias_axes=y if self.use_bias else None,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            kernel_regularizer=self.kernel_regularizer,
            bias_regularizer=self.bias_regularizer,
            kernel_constraint=self.kernel_constraint,
            bias_constraint=self.bias_constraint,
        )
        specs = dense.declare(read)
        return [replace(spec, name=f"{name}_{spec.name}", group=self._group(name)) for spec in specs]

    def _group(self, name: str) -> str:
        return f"{'_' if name == 'gate' else self.underscore}{name}_dense"

    def keras_groups(self) -> dict[str, str]:
        names = ["query", "key", *["gate"] * self.use_gate, "value", "output"]
        found = {self._group(name): "attention_output" if name == "output" else name for name in names}
        return found | {"_softmax": "softmax", "_dropout_layer": "dropout"}

    # ------------------------------------------------------------ the forward pass
    def call(
        self,
        context: Context,
        w: Weights,
        query: Value,
        value: Value | None = None,
        key: Value | None = None,
        *,
        attention_mask: Value | None = None,
    ) -> Value:
        query, value, key = all_three(query, value, key)
        axes, h = self._axes(query.shape), self._heads()
        keep = self._mask(context, query, value, key, attention_mask)
        steps, keys = (prod(x.shape[k] for k in axes) for x in (query, value))
        free = prod(query.shape[:-1]) // steps
        mask = None if keep is None else self._for_heads(keep, free, steps, keys)
        drop = None
        if self.dropout and context.training:
            drop = keep_mask(query.trace, (free * h.queries, steps, keys), self.dropout, self.seed)
        fast = not self.dropout and not self.return_attention_scores and len(query.shape) == 2
        dead = "mean" if fast else "zero"  # in Keras it depends on the way it goes
        plain = self.activity_regularizer is None and not self.return_attention_scores
        if plain and query is value is key and len(query.shape) == 2:
            y = attend_packed(self._packed(w, query), h.queries, h.keys, h.dim, mask, drop, dead)
        else:
            q = multiply(self._projected(context, w, "query", query), h.dim**-0.5)
            k = _apart(self._projected(context, w, "key", key), axes, h.dim)
            v = _apart(self._projected(context, w, "value", value), axes, h.value_dim)
            q = _apart(q, axes, h.dim)
            if self.return_attention_scores:
                y, weights = self._weighed(q, k, v, mask, drop)
                context.further.append(reshape(weights, *self.infer_further(query.shape, value.shape, key.shape)))
            else:
                y = attend(q, k, v, mask, drop, dead)
        y = _together(y, query.shape, axes)
        if self.use_gate:
            gate = activated(Sigmoid(), self._projected(context, w, "gate", query, penalised=False))
            y = multiply(y, penalise(context, self.activity_regularizer, gate))
        return reshape(self._projected(context, w, "output", y), self.infer_shape(query.shape, value.shape, key.shape))

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return context.masks[0]

    def _mask(
        self, context: Context, query: Value, value: Value, key: Value, attention_mask: Value | None
    ) -> Value | None:
        """What queries may read, (T, S) or as `attention_mask` has it; None if everything."""
        inputs = len(context.masks) - (attention_mask is not None)
        asked = context.masks[0]
        reads = [context.masks[1]] if inputs > 1 else [asked]
        reads += [context.masks[2]] if inputs > 2 else []
        found = None if asked is None else reshape(asked, (*asked.shape, 1))
        for read in reads:
            found = both(found, None if read is None else reshape(read, (*read.shape[:-1], 1, read.shape[-1])))
        if self.use_causal_mask or self.sliding_window:
            size = query.shape[0], value.shape[0]
            found = both(found, causal(query.trace, *size, self.sliding_window, self.use_causal_mask))
        return both(None if attention_mask is None else not_equal(attention_mask, 0), found)

    def _for_heads(self, mask: Value, free: int, steps: int, keys: int) -> Value:
        """The mask so that it broadcasts to (heads, T, S)."""
        if len(mask.shape) == 2 or mask.size == steps * keys:
            return reshape(mask, (1, *mask.shape) if len(mask.shape) == 2 else (1, steps, keys))
        asked, read = mask.shape[-2:]
        if free == 1 and (len(mask.shape) > 3 or (asked in (1, steps) and read in (1, keys))):
            return mask
        if mask.size != free * steps * keys:
            times = f"{free} times " if free > 1 else ""
            raise ShapeError(f"a mask of {mask.shape} does not fit {times}{steps} queries and {keys} keys")
        heads = self._heads().queries
        wide = broadcast_to(reshape(mask, (free, 1, steps, keys)), (free, heads, steps, keys))
        return reshape(wide, (free * heads, steps, keys))

    def _packed(self, w: Weights, x: Value) -> Value:
        """Scaled queries, keys, and values with a column of ones in each head: one product, side by side."""
        h = self._heads()
        (query, key, value), biases = zip(*(self._matrix(w, name) for name in ("query", "key", "value")), strict=True)
        zeros = constant(x.trace, np.zeros((h.queries + h.keys) * h.dim))
        first = [multiply(biases[0], h.dim**-0.5), biases[1]] if self.use_bias else [zeros]
        last = biases[2] if self.use_bias else constant(x.trace, np.zeros(h.keys * h.value_dim))
        kernels = [multiply(query, h.dim**-0.5), key, _beside(value, h.value_dim, 0.0)]
        beside = _beside(reshape(last, (1, last.size)), h.value_dim, 1.0)
        return bias_add(matmul(x, concatenate(kernels, 1)), concatenate([*first, reshape(beside, (beside.size,))], 0))

    def _projected(self, context: Context, w: Weights, name: str, x: Value, penalised: bool = True) -> Value:
        """The projection `name` of x, its features in one axis."""
        kernel, bias = self._matrix(w, name)
        y = matmul(x, kernel)
        y = y if bias is None else bias_add(y, bias)
        return penalise(context, self.activity_regularizer, y) if penalised else y

    def _matrix(self, w: Weights, name: str) -> tuple[Value, Value | None]:
        kernel, bias = w[f"{name}_kernel"], w.get(f"{name}_bias")
        rows = prod(kernel.shape[: 2 if name == "output" else 1])
        return reshape(kernel, (rows, kernel.size // rows)), None if bias is None else reshape(bias, (bias.size,))

    def _weighed(self, q: Value, k: Value, v: Value, mask: Value | None, drop: Value | None) -> tuple[Value, Value]:
        """The same in plain ops, and the weights (heads, T, S)."""
        (steps, heads, _), (_, groups, value_dim) = q.shape, v.shape
        q, k, v = (permute(x, (1, 0, 2)) for x in (q, k, v))
        k, v = (_repeated(x, heads // groups) for x in (k, v))
        scores = sample_product(q, k, right=True)
        weights = softmax(scores if mask is None else where(mask, scores, -1e9))
        if mask is not None:
            weights = where(mask, weights, 0.0)
        read = sample_product(weights if drop is None else multiply(weights, drop), v)
        return reshape(permute(read, (1, 0, 2)), (steps, heads * value_dim)), weights


def _beside(matrix: Value, width: int, number: float) -> Value:
    """A column of that number after every `width` columns."""
    rows, columns = matrix.shape
    groups = columns // width
    more = constant(matrix.trace, np.full((rows, groups, 1), number))
    return reshape(concatenate([reshape(matrix, (rows, groups, width)), more], 2), (rows, columns + groups))


def _repeated(x: Value, times: int) -> Value:
    """(G, S, D) with every head `times` over, one after the other."""
    groups, steps, dim = x.shape
    if times == 1:
        return x
    return reshape(
        broadcast_to(reshape(x, (groups, 1, steps, dim)), (groups, times, steps, dim)), (groups * times, steps, dim)
    )


def _apart(x: Value, axes: tuple[int, ...], dim: int) -> Value:
    """(axes…, heads · dim) as (T, heads, dim), axes without attention being further heads in front of the others."""
    *lengths, wide = x.shape
    free = [k for k in range(len(lengths)) if k not in axes]
    x = permute(reshape(x, (*lengths, wide // dim, dim)), (*axes, *free, len(lengths), len(lengths) + 1))
    steps = prod(lengths[k] for k in axes)
    return reshape(x, (steps, x.size // steps // dim, dim))


def _together(y: Value, query: Shape, axes: tuple[int, ...]) -> Value:
    """(T, heads · F) back to the axes of the queries, (axes…, heads · F)."""
    lengths = query[:-1]
    free = tuple(k for k in range(len(lengths)) if k not in axes)
    order = (*axes, *free)
    y = reshape(y, (*(lengths[k] for k in order), y.size // prod(lengths)))
    return permute(y, (*(order.index(k) for k in range(len(order))), len(order)))
