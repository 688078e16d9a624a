"""ConvLSTM1D, ConvLSTM2D and ConvLSTM3D: an LSTM whose products are convolutions.

Legend: T time steps, E C extents and channels of a step's input, A extents of the state, F filters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from kerascli.activations import Sigmoid, Tanh
from kerascli.component import Example
from kerascli.constraints import Constraint
from kerascli.initializers import Initializer, Orthogonal
from kerascli.layer import Context, WeightSpec
from kerascli.layers.arguments import (
    Function,
    Padding,
    Size1,
    Size2,
    Size3,
    _Affine,
    activated,
    activated_shape,
    penalise,
    rank,
)
from kerascli.layers.rnn_base import _Walking, counting
from kerascli.layers.rnn_lstm import _ForgetOne
from kerascli.layers.windows import AXES, outputs, strides_or_dilation
from kerascli.ops.convolution import conv
from kerascli.ops.elementwise import add, multiply, where
from kerascli.ops.fold import fold, stack, unfold, unstack
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.linear import bias_add
from kerascli.ops.random import keep_mask
from kerascli.ops.recurrent import step_order
from kerascli.ops.shape import concatenate, permute, reshape, split
from kerascli.regularizers import Regularizer

Weights = Mapping[str, Value]
"""The declared weights by name."""


class _ConvLSTM(_Affine, _Walking):
    """i, f, o = recurrent_activation(x ∗ W + h ∗ U + b), g = activation(x ∗ W + h ∗ U + b), c ← f c + i g,
    h ← o activation(c); W, U and b hold i, f, g, o one after the other.

    Strides, padding and dilation are those of the convolution of the input; that of the state keeps its extents. All
    steps' inputs are convolved in one call. Source: Shi et al., 2015.

    Departure from Keras: on JAX, unless unrolled, Keras lines a mask up with a wrong axis of the state, or fails.
    """

    axes: ClassVar[int]
    """Axes that a window slides over."""

    initial_state: list[str] | None = None
    """Names of the layers that give the first h and c; zeros by default."""
    filters: int = Field(ge=1)
    """Channels of the state and of the output."""
    kernel_size: Size1 | Size2 | Size3
    """Extent of the windows, on the input and on the state."""
    strides: Size1 | Size2 | Size3
    """Steps between windows on the input."""
    padding: Padding = "valid"
    """`valid`: windows lie inside the input; `same`: zeros around it give ceil(input / stride) outputs."""
    data_format: Literal["channels_last", "channels_first"] | None = None
    """Which axis of a step holds the channels: the last (`channels_last`, the default) or the first."""
    dilation_rate: Size1 | Size2 | Size3
    """Distance between the inputs that a window reads."""
    activation: Function = Tanh()
    """Function of the candidate state and of the output; none (linear) if null."""
    recurrent_activation: Function = Sigmoid()
    """Function of the gates; none (linear) if null."""
    recurrent_initializer: Initializer = Orthogonal()
    """First values of the state's kernel."""
    unit_forget_bias: bool = True
    """Whether the forget gate's bias starts at 1."""
    recurrent_regularizer: Regularizer | None = None
    """Penalty on the state's kernel."""
    recurrent_constraint: Constraint | None = None
    """Rule that the state's kernel obeys."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the inputs dropped in training, for every gate others, the same ones at every step."""
    recurrent_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the state dropped in training where it is convolved, for every gate others, the same at every step."""
    seed: int | None = None
    """Seed of the dropout; by default it follows from the spec's."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        strides_or_dilation(self.strides, self.dilation_rate)
        return self

    # ------------------------------------------------------------ shapes
    def infer_shape(self, shape: Shape, *states: Shape, initial_state: tuple[Shape, ...] = ()) -> Shape:
        rank(shape, self.axes + 2, f"time, {AXES[self.axes]}", "put Reshape before it, or use LSTM for vectors")
        state = self._state_shape(shape)
        for function in (self.activation, self.recurrent_activation):
            if activated_shape(function, state) != state:
                raise ShapeError("its activations must keep the number of filters")
        given = (*states, *initial_state)
        if len(given) not in (0, 2):
            raise ShapeError(f"it takes 2 initial states, h and c, not {len(given)}")
        for other in given:
            if other != state:
                raise ShapeError(f"an initial state is {state}, as the output of a step is, not {other}")
        return (shape[0], *state) if self.return_sequences else state

    @property
    def state_count(self) -> int:
        return 2

    def state_shapes(self, sequence: Shape) -> tuple[Shape, ...]:
        return (self._state_shape(sequence),) * 2

    def _state_shape(self, shape: Shape) -> Shape:
        """Of h and c, as the spec sees them."""
        _, *sizes = self._last(shape, 1)[:-1]
        geometry = self.kernel_size, self.strides, self.dilation_rate, self.padding
        extents = outputs(tuple(sizes), *geometry, "kernel_size")
        return (self.filters, *extents) if self._first else (*extents, self.filters)

    @property
    def _first(self) -> bool:
        return self.data_format == "channels_first"

    def _last(self, axes: Shape, before: int) -> Shape:
        """Axes in the order with channels last; the first `before` of them stay."""
        return (*axes[:before], *axes[before + 1 :], axes[before]) if self._first else axes

    def declare(self, shape: Shape, *states: Shape, **_: Any) -> tuple[WeightSpec, ...]:
        channels, wide = self._last(shape, 1)[-1], 4 * self.filters
        recurrent = self._trained("recurrent_kernel", (*self.kernel_size, self.filters, wide), "recurrent")
        kernel, *bias = self._kernel_and_bias((*self.kernel_size, channels, wide), wide)
        if self.unit_forget_bias:
            bias = [replace(spec, initializer=_ForgetOne(others=spec.initializer)) for spec in bias]
        return tuple(replace(spec, group="cell") for spec in (kernel, recurrent, *bias))

    # ------------------------------------------------------------ numbers
    def walk(
        self, context: Context, w: Weights, x: Value, initial: Sequence[Value], way: str = "", zero: bool | None = None
    ) -> tuple[Value, tuple[Value, ...]]:
        mask = None if initial else counting(context.masks[0])
        start = [*initial] or [context.carried[way + key] for key in self.carry(x.shape)]
        z = self._projected(context, w, permute(x, self._last(tuple(range(len(x.shape))), 1)))
        given = [permute(s, self._last(tuple(range(len(s.shape))), 0)) for s in start]
        zeroed = (self.zero_output_for_mask if zero is None else zero) and not self.unroll  # as Keras has it
        y, ends = self._run(context, w, z, (given[0], given[1]) if given else None, mask, zeroed)
        last = [self._channels_back(each) for each in ends]
        context.updates.update(zip((way + key for key in self.carry(x.shape)), last, strict=False))
        if self.return_state:
            last = [penalise(context, self.activity_regularizer, each) for each in last]
        return penalise(context, self.activity_regularizer, self._channels_back(y)), tuple(last)

    def _projected(self, context: Context, w: Weights, x: Value) -> Value:
        """The inputs' share of all gates at all steps: (T, E, C) → (T, A, 4F)."""
        kernels, rows = [w["kernel"]], [fold(x)]
        if context.training and self.dropout:
            kernels = split(w["kernel"], 4)
            keeps = [keep_mask(x.trace, x.shape[1:], self.dropout, self.seed) for _ in kernels]
            rows = [fold(multiply(x, keep)) for keep in keeps]
        pairs = zip(rows, kernels, strict=True)
        z = concatenate([conv(r, k, self.strides, self.padding, self.dilation_rate) for r, k in pairs])
        return unfold(bias_add(z, w["bias"]) if self.use_bias else z, x.shape[0])

    def _run(
        self,
        context: Context,
        w: Weights,
        z: Value,
        state: tuple[Value, Value] | None,
        mask: Value | None,
        zeroed: bool,
    ) -> tuple[Value, tuple[Value, Value]]:
        """The output, and the last h and c; no state is one of zeros."""
        drops: list[Value] = []
        if context.training and self.recurrent_dropout:
            drops = [self._drop(z) for _ in range(4)]
        steps = unstack(z)
        kept = None if mask is None else [reshape(each, (1,) * (len(z.shape) - 1)) for each in unstack(mask)]
        found: dict[int, Value] = {}
        for t in step_order(len(steps), self.go_backwards):
            new = self._step(w, steps[t], state, drops)
            y = new[0]
            if kept is not None:
                before = state or (0.0, 0.0)
                new = where(kept[t], new[0], before[0]), where(kept[t], new[1], before[1])
                y = where(kept[t], y, 0.0) if zeroed else new[0]
            state, found[t] = new, y
        assert state is not None
        return stack([found[t] for t in range(len(steps))]) if self.return_sequences else y, state

    def _step(self, w: Weights, z: Value, state: tuple[Value, Value] | None, drops: list[Value]) -> tuple[Value, Value]:
        """h and c after a step, from its projected input (A, 4F) and those before it."""
        gate = self.recurrent_activation
        if state is not None:
            z = add(z, self._recurrent(w["recurrent_kernel"], state[0], drops))
        i, f, g, o = split(z, 4)
        c = multiply(activated(gate, i), activated(self.activation, g))
        if state is not None:
            c = add(multiply(activated(gate, f), state[1]), c)
        return multiply(activated(gate, o), activated(self.activation, c)), c

    def _recurrent(self, kernel: Value, h: Value, drops: list[Value]) -> Value:
        """The state's share of the gates; every gate drops its own of it."""
        ones = (1,) * self.axes
        if not drops:
            return conv(h, kernel, ones, "same", ones)
        pairs = zip(drops, split(kernel, 4), strict=True)
        return concatenate([conv(multiply(h, keep), part, ones, "same", ones) for keep, part in pairs])

    def _drop(self, z: Value) -> Value:
        return keep_mask(z.trace, (*z.shape[1:-1], self.filters), self.recurrent_dropout, self.seed)

    def _channels_back(self, y: Value) -> Value:
        """The spec's order of axes, given channels last."""
        if not self._first:
            return y
        axes = range(len(y.shape))
        before = len(axes) - 1 - self.axes
        return permute(y, (*axes[:before], axes[-1], *axes[before:-1]))

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"data_format": self.data_format or "channels_last"}


class ConvLSTM1D(_ConvLSTM):
    """LSTM over sequences of sequences: (T, L, C) → (L', filters), or (T, L', filters) with `return_sequences`."""

    axes = 1
    examples = (
        Example({"filters": 3, "kernel_size": 2}, ((3, 5, 2),)),
        Example(
            {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same", "return_sequences": True}, ((3, 6, 2),)
        ),
        Example({"filters": 2, "kernel_size": 2, "dilation_rate": 2, "go_backwards": True}, ((2, 5, 3),)),
        Example({"filters": 2, "kernel_size": 2}, ((3, 4, 1), (3, 2), (3, 2))),
    )

    kernel_size: Size1
    """Places that a window spans, on the input and on the state."""
    strides: Size1 = (1,)
    """Places between windows on the input."""
    dilation_rate: Size1 = (1,)
    """Distance between the places that a window on the input reads."""


class ConvLSTM2D(_ConvLSTM):
    """LSTM over sequences of images: (T, H, W, C) → (H', W', filters), or (T, …) with `return_sequences`."""

    axes = 2
    examples = (
        Example({"filters": 2, "kernel_size": 2}, ((3, 3, 4, 2),)),
        Example(
            {"filters": 2, "kernel_size": [3, 2], "padding": "same", "return_sequences": True, "go_backwards": True},
            ((3, 3, 4, 1),),
        ),
        Example(
            {"filters": 2, "kernel_size": 2, "activation": "relu", "recurrent_activation": "hard_sigmoid"},
            ((2, 3, 3, 2),),
        ),
        Example({"filters": 2, "kernel_size": 2, "use_bias": False, "data_format": "channels_first"}, ((2, 3, 3, 4),)),
        Example({"filters": 2, "kernel_size": 1, "kernel_regularizer": "l2"}, ((2, 2, 3, 1), (2, 3, 2), (2, 3, 2))),
    )

    kernel_size: Size2
    """Rows and columns that a window spans, on the input and on the state."""
    strides: Size2 = (1, 1)
    """Rows and columns between windows on the input."""
    dilation_rate: Size2 = (1, 1)
    """Distance between the rows and columns that a window on the input reads."""


class ConvLSTM3D(_ConvLSTM):
    """LSTM over sequences of volumes: (T, D, H, W, C) → (D', H', W', filters), or (T, …) with `return_sequences`."""

    axes = 3
    examples = (
        Example({"filters": 2, "kernel_size": 2}, ((2, 2, 3, 2, 1),)),
        Example({"filters": 1, "kernel_size": [1, 2, 2], "padding": "same", "strides": 2}, ((2, 2, 3, 4, 2),)),
    )

    kernel_size: Size3
    """Planes, rows and columns that a window spans, on the input and on the state."""
    strides: Size3 = (1, 1, 1)
    """Planes, rows and columns between windows on the input."""
    dilation_rate: Size3 = (1, 1, 1)
    """Distance between the planes, rows and columns that a window on the input reads."""
