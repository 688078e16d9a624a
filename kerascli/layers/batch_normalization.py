"""BatchNormalization: every channel brought to mean 0 and variance 1 over the batch and all positions."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kerascli.component import Example
from kerascli.constraints import Constraint
from kerascli.initializers import Initializer, Ones, Zeros
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import sample_axes
from kerascli.ops.batch_norm import batch_norm
from kerascli.ops.elementwise import add, cast, divide, maximum, minimum, multiply, sqrt, square, subtract, where
from kerascli.ops.ir import Array, Shape, ShapeError, Value, constant
from kerascli.ops.linear import batch_sum
from kerascli.ops.reduction import sum
from kerascli.ops.shape import cut, reshape, with_last
from kerascli.regularizers import Regularizer

FUZZ = 1e-7
"""Keras's epsilon, added to the number of samples that a mask leaves."""


class RenormClipping(BaseModel):
    """Bounds of batch renormalisation's corrections."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rmax: float | None = None
    """Largest factor."""
    rmin: float | None = None
    """Smallest factor."""
    dmax: float | None = Field(None, ge=0)
    """Largest shift either way."""


class _SquareRoot(Initializer):
    """The square root of what another rule draws."""

    of: Initializer
    """The other rule."""

    def draw(self, shape: Shape, rng: "np.random.Generator") -> Array:
        return np.sqrt(self.of.draw(shape, rng))


class BatchNormalization(Layer):
    """y = γ (x - μ) / √(σ² + ε) + β for each channel.

    In training μ and σ² are those of the batch (biased), and move the averages: average · momentum + batch · (1 -
    momentum). In inference, or where `trainable` is false, they are the averages. A mask leaves its steps out of μ
    and σ². With `renorm` the result is corrected towards averages of its own (Ioffe 2017). Source: Ioffe and Szegedy,
    2015.
    """

    examples = (
        Example(inputs=((6,),)),
        Example({"momentum": 0.9, "epsilon": 1e-2}, inputs=((3, 4, 5),)),
        Example({"center": False, "gamma_initializer": {"type": "Constant", "value": 1.5}}, inputs=((4, 3),)),
        Example({"scale": False, "axis": 1, "moving_mean_initializer": "ones"}, inputs=((3, 4),)),
        Example({"scale": False, "center": False, "gamma_regularizer": "l2"}, inputs=((5,),)),
        Example({"renorm": True, "renorm_clipping": {"rmax": 1.2, "rmin": 0.8, "dmax": 0.3}}, inputs=((3, 4),)),
    )

    axis: int = -1
    """Axis of the channels; the batch is axis 0."""
    momentum: float = 0.99
    """How slowly the averages move."""
    epsilon: float = Field(1e-3, ge=0)
    """Added to the variance."""
    center: bool = True
    """Whether β is added."""
    scale: bool = True
    """Whether the result is multiplied by γ."""
    beta_initializer: Initializer = Zeros()
    """First values of β."""
    gamma_initializer: Initializer = Ones()
    """First values of γ."""
    moving_mean_initializer: Initializer = Zeros()
    """First values of the average mean."""
    moving_variance_initializer: Initializer = Ones()
    """First values of the average variance."""
    beta_regularizer: Regularizer | None = None
    """Penalty on β."""
    gamma_regularizer: Regularizer | None = None
    """Penalty on γ."""
    beta_constraint: Constraint | None = None
    """Rule that β obeys."""
    gamma_constraint: Constraint | None = None
    """Rule that γ obeys."""
    renorm: bool = False
    """Whether to use batch renormalisation, which brings training and inference closer together."""
    renorm_clipping: RenormClipping | None = None
    """Bounds of renormalisation's corrections; none by default."""
    renorm_momentum: float = 0.99
    """How slowly renormalisation's own averages move."""
    synchronized: Literal[False] = False
    """Whether several machines share their statistics; here there is one."""

    def infer_shape(self, shape: Shape) -> Shape:
        sample_axes(self.axis, shape)
        return shape

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        own = (shape[sample_axes(self.axis, shape)[0]],)
        deviation = _SquareRoot(of=self.moving_variance_initializer)
        kept = [("moving_mean", self.moving_mean_initializer), ("moving_variance", self.moving_variance_initializer)]
        if self.renorm:
            kept += [("moving_stddev", deviation), ("renorm_mean", self.moving_mean_initializer)]
            kept += [("renorm_stddev", deviation)]
        averages = (WeightSpec(name, own, rule, False) for name, rule in kept)
        return (*(self._trained("gamma", own),) * self.scale, *(self._trained("beta", own),) * self.center, *averages)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return with_last(x, sample_axes(self.axis, x.shape), lambda moved: self._normalise(context, w, moved))

    def _normalise(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        gamma = w["gamma"] if self.scale else constant(x.trace, np.ones(x.shape[-1]))
        beta = w["beta"] if self.center else constant(x.trace, np.zeros(x.shape[-1]))
        if not (context.training and self.trainable):
            factor = divide(gamma, sqrt(add(w["moving_variance"], self.epsilon)))
            return add(multiply(x, factor), subtract(beta, multiply(w["moving_mean"], factor)))
        if context.masks[0] is not None:
            y, mean, variance = self._masked(x, context.masks[0], gamma, beta)
        else:
            y, mean, variance = self._whole(w, x, gamma, beta)
        if self.renorm:
            self._move_renormed(context, w, mean, variance)
        else:
            self._move(context, w, "moving_mean", mean, self.momentum)
            self._move(context, w, "moving_variance", variance, self.momentum)
        return y

    def _whole(self, w: Mapping[str, Value], x: Value, gamma: Value, beta: Value) -> tuple[Value, Value, Value]:
        """The result, and mean and variance of the batch."""
        ones, zeros = (constant(x.trace, np.full(x.shape[-1], v)) for v in (1.0, 0.0))
        y, moments = batch_norm(x, *((ones, zeros) if self.renorm else (gamma, beta)), self.epsilon)
        mean, variance = (cast(reshape(cut(moments, k, k + 1, axis=0), gamma.shape), "float") for k in (0, 1))
        if self.renorm:
            factor, shift = self._corrections(w, mean, variance)
            y = add(multiply(y, multiply(factor, gamma)), add(multiply(shift, gamma), beta))
        return y, mean, variance

    def _masked(self, x: Value, mask: Value, gamma: Value, beta: Value) -> tuple[Value, Value, Value]:
        """The same with the mean and variance of what the mask leaves."""
        if self.renorm:
            raise ShapeError("`renorm` does not work on masked inputs")
        there = reshape(mask, (*mask.shape, 1))
        axes = tuple(range(len(x.shape) - 1))
        count = add(batch_sum(sum(cast(there, "float"))), FUZZ)
        mean = divide(batch_sum(sum(where(there, x, 0.0), axes)), count)
        off = where(there, subtract(x, mean), 0.0)
        variance = divide(batch_sum(sum(square(off), axes)), count)
        factor = divide(gamma, sqrt(add(variance, self.epsilon)))
        return add(multiply(subtract(x, mean), factor), beta), mean, variance

    def _corrections(self, w: Mapping[str, Value], mean: Value, variance: Value) -> tuple[Value, Value]:
        """Renormalisation's factor and shift; no gradient goes through them, since none goes through the moments."""
        deviation = sqrt(add(variance, self.epsilon))
        average = maximum(w["renorm_stddev"], self.epsilon**0.5)
        factor = divide(deviation, average)
        shift = divide(subtract(mean, w["renorm_mean"]), average)
        bounds = self.renorm_clipping or RenormClipping()
        if bounds.rmin is not None:
            factor = maximum(factor, bounds.rmin)
        if bounds.rmax is not None:
            factor = minimum(factor, bounds.rmax)
        if bounds.dmax is not None:
            shift = maximum(minimum(shift, bounds.dmax), -bounds.dmax)
        return factor, shift

    def _move_renormed(self, context: Context, w: Mapping[str, Value], mean: Value, variance: Value) -> None:
        deviation = sqrt(add(variance, self.epsilon))
        self._move(context, w, "renorm_mean", mean, self.renorm_momentum)
        self._move(context, w, "renorm_stddev", deviation, self.renorm_momentum)
        self._move(context, w, "moving_mean", mean, self.momentum)
        moved = self._move(context, w, "moving_stddev", deviation, self.momentum)
        context.updates["moving_variance"] = maximum(subtract(square(moved), self.epsilon), 0.0)

    def _move(self, context: Context, w: Mapping[str, Value], name: str, value: Value, momentum: float) -> Value:
        """Average · momentum + value · (1 - momentum), which the engine stores after the step."""
        moved = add(multiply(w[name], momentum), multiply(value, 1 - momentum))
        context.updates[name] = moved
        return moved
