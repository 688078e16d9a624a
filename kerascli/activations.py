"""Keras's activations: functions applied to a layer's output. Members are named as Keras's functions: `leaky_relu`.

A formula stands in each docstring; where Keras offers no argument the function takes none.
"""

from typing import ClassVar

from pydantic import Field

from kerascli.component import Component, Example, snake_case
from kerascli.ops import activation, softmax
from kerascli.ops import elementwise as e
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.shape import split

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


class Activation(Component):
    """A function of a layer's output."""

    family = "activation"
    snake_names = True
    examples: ClassVar[tuple[Example, ...]] = (Example(),)

    @classmethod
    def type_name(cls) -> str:
        """Keras's name of the function."""
        return snake_case(cls.__name__)

    def infer_shape(self, shape: Shape) -> Shape:
        """Shape of one sample of the result; raises ShapeError where the input does not fit."""
        return shape

    def apply(self, x: Value) -> Value:
        """The activation of `x`."""
        raise NotImplementedError


class _OverAxis(Activation):
    """An activation that treats the numbers along one axis together."""

    axis: int = -1
    """Axis along which the function works, counted with the batch axis as 0; never the batch axis itself."""

    examples = (Example(), Example({"axis": 1}))

    def infer_shape(self, shape: Shape) -> Shape:
        self.sample_axis(shape)
        return shape

    def sample_axis(self, shape: Shape) -> int:
        """The axis counted within a sample, from 0."""
        rank = len(shape)
        if self.axis == 0 or not -rank <= self.axis <= rank:
            raise ShapeError(
                f"axis {self.axis} is not one of the {rank} axes of a sample {shape}",
                "axes count from 1 (0 is the batch) or from the end: -1",
            )
        return self.axis - 1 if self.axis > 0 else self.axis + rank


class Linear(Activation):
    """x"""

    def apply(self, x: Value) -> Value:
        return x


# ---------------------------------------------------------------- rectifiers
class Relu(Activation):
    """max(x, 0); generally negative_slope · (x - threshold) below the threshold, x above it, at most max_value."""

    negative_slope: float = 0.0
    """Slope below the threshold."""
    max_value: float | None = None
    """Largest value the function gives; none by default."""
    threshold: float = 0.0
    """Value below which x is damped or set to zero."""

    examples = (
        Example(),
        Example({"negative_slope": 0.1}),
        Example({"max_value": 1.5}),
        Example({"threshold": 0.4}),
        Example({"negative_slope": 0.2, "max_value": 1.0, "threshold": 0.3}),
    )

    def apply(self, x: Value) -> Value:
        slope, top, threshold = self.negative_slope, self.max_value, self.threshold
        if threshold == 0 and top is None:
            return activation.leaky_relu(x, slope) if slope else activation.relu(x)
        if threshold == 0:
            y = e.clip(x, 0.0, top or 0.0)
        else:
            y = e.where(e.greater(x, threshold), x, 0.0)
            y = y if top is None else e.clip(y, 0.0, top)
        if slope:
            y = e.subtract(y, e.multiply(activation.relu(e.subtract(threshold, x)), slope))
        return y


class LeakyRelu(Activation):
    """x where x > 0, else negative_slope · x."""

    negative_slope: float = 0.2
    """Slope for negative x."""

    examples = (Example(), Example({"negative_slope": 0.01}))

    def apply(self, x: Value) -> Value:
        return activation.leaky_relu(x, self.negative_slope)


class Relu6(Activation):
    """min(max(x, 0), 6)"""

    def apply(self, x: Value) -> Value:
        return e.clip(x, 0.0, 6.0)


class Elu(Activation):
    """x where x > 0, else alpha · (exp(x) - 1)."""

    alpha: float = Field(1.0, ge=0)
    """Height of the step down that negative x approach."""

    examples = (Example(), Example({"alpha": 0.5}))

    def apply(self, x: Value) -> Value:
        return activation.elu(x, self.alpha)


class Selu(Activation):
    """scale · elu(x, alpha) with the two constants that keep mean 0 and variance 1 (Klambauer et al. 2017)."""

    def apply(self, x: Value) -> Value:
        return activation.elu(x, SELU_ALPHA, SELU_SCALE)


class Celu(Activation):
    """x where x > 0, else alpha · (exp(x / alpha) - 1)."""

    alpha: float = Field(1.0, gt=0)
    """Width and height of the curve below zero."""

    examples = (Example(), Example({"alpha": 0.5}))

    def apply(self, x: Value) -> Value:
        return activation.elu(x, self.alpha, width=self.alpha)


class Threshold(Activation):
    """x where x > threshold, else default_value."""

    threshold: float
    """Value that x must exceed to be kept."""
    default_value: float
    """Value that takes the place of x otherwise."""

    examples = (Example({"threshold": 0.4, "default_value": -1.0}), Example({"threshold": -0.3, "default_value": 0.0}))

    def apply(self, x: Value) -> Value:
        return e.where(e.greater(x, self.threshold), x, self.default_value)


class SoftShrink(Activation):
    """x moved towards zero by the threshold, zero where it would cross."""

    threshold: float = Field(0.5, ge=0)
    """How far x moves."""

    examples = (Example(), Example({"threshold": 0.2}))

    def apply(self, x: Value) -> Value:
        return e.subtract(x, e.clip(x, -self.threshold, self.threshold))


class HardShrink(Activation):
    """x where |x| > threshold, else 0."""

    threshold: float = Field(0.5, ge=0)
    """Size that x must exceed to be kept."""

    examples = (Example(), Example({"threshold": 0.2}))

    def apply(self, x: Value) -> Value:
        return e.where(e.greater(e.abs(x), self.threshold), x, 0.0)


class TanhShrink(Activation):
    """x - tanh(x)"""

    def apply(self, x: Value) -> Value:
        return e.subtract(x, activation.tanh(x))


# ---------------------------------------------------------------- smooth rectifiers and gates
class Softplus(Activation):
    """log(1 + exp(x))"""

    def apply(self, x: Value) -> Value:
        return activation.softplus(x)


class Squareplus(Activation):
    """(x + √(x² + b)) / 2 (Barron 2021)"""

    b: float = Field(4, gt=0)
    """How smooth the bend is."""

    examples = (Example(), Example({"b": 1.0}))

    def apply(self, x: Value) -> Value:
        return e.multiply(e.add(x, e.sqrt(e.add(e.square(x), float(self.b)))), 0.5)


class SparsePlus(Activation):
    """0 where x ≤ -1, (x + 1)² / 4 between, x where x ≥ 1."""

    def apply(self, x: Value) -> Value:
        bend = e.multiply(e.square(e.add(e.clip(x, -1.0, 1.0), 1.0)), 0.25)
        return e.add(bend, activation.relu(e.subtract(x, 1.0)))


class Silu(Activation):
    """x · sigmoid(x), also called swish."""

    aliases = ("swish",)

    def apply(self, x: Value) -> Value:
        return activation.silu(x)


class HardSilu(Activation):
    """x · hard_sigmoid(x), also called hard swish."""

    aliases = ("hard_swish",)

    def apply(self, x: Value) -> Value:
        return e.multiply(x, HardSigmoid().apply(x))


class Gelu(Activation):
    """x · Φ(x), Φ being the normal distribution; or nearly so with tanh (Hendrycks, Gimpel 2016)."""

    approximate: bool = False
    """Whether to use the formula with tanh."""

    examples = (Example(), Example({"approximate": True}))

    def apply(self, x: Value) -> Value:
        if not self.approximate:
            return activation.gelu(x)
        bend = e.add(e.multiply(e.square(x), 0.044715), 1.0)
        inner = e.multiply(e.multiply(x, bend), 0.7978845608028654)  # √(2 / π)
        return e.multiply(e.multiply(x, e.add(activation.tanh(inner), 1.0)), 0.5)


class Mish(Activation):
    """x · tanh(softplus(x)) (Misra 2019)"""

    def apply(self, x: Value) -> Value:
        return e.multiply(x, activation.tanh(activation.softplus(x)))


class Glu(_OverAxis):
    """a · sigmoid(b), the input's halves along the axis being a and b (Dauphin et al. 2017); halves the axis."""

    def infer_shape(self, shape: Shape) -> Shape:
        k = self.sample_axis(shape)
        if shape[k] % 2:
            raise ShapeError(f"glu cannot halve the {shape[k]} numbers along axis {self.axis} of {shape}")
        return (*shape[:k], shape[k] // 2, *shape[k + 1 :])

    def apply(self, x: Value) -> Value:
        a, b = split(x, 2, self.sample_axis(x.shape))
        return e.multiply(a, activation.sigmoid(b))


# ---------------------------------------------------------------- steps
class Sigmoid(Activation):
    """1 / (1 + exp(-x))"""

    def apply(self, x: Value) -> Value:
        return activation.sigmoid(x)


class LogSigmoid(Activation):
    """log(sigmoid(x)) = -softplus(-x)"""

    def apply(self, x: Value) -> Value:
        return e.negative(activation.softplus(e.negative(x)))


class HardSigmoid(Activation):
    """x / 6 + 1/2, held between 0 and 1."""

    def apply(self, x: Value) -> Value:
        return e.clip(e.add(e.multiply(x, 1 / 6), 0.5), 0.0, 1.0)


class SparseSigmoid(Activation):
    """(x + 1) / 2, held between 0 and 1."""

    def apply(self, x: Value) -> Value:
        return e.clip(e.multiply(e.add(x, 1.0), 0.5), 0.0, 1.0)


class Tanh(Activation):
    """tanh(x)"""

    def apply(self, x: Value) -> Value:
        return activation.tanh(x)


class HardTanh(Activation):
    """x, held between -1 and 1."""

    def apply(self, x: Value) -> Value:
        return e.clip(x, -1.0, 1.0)


class Softsign(Activation):
    """x / (1 + |x|)"""

    def apply(self, x: Value) -> Value:
        return e.divide(x, e.add(e.abs(x), 1.0))


class Exponential(Activation):
    """exp(x)"""

    def apply(self, x: Value) -> Value:
        return e.exp(x)


# ---------------------------------------------------------------- distributions
class Softmax(_OverAxis):
    """exp(x) / Σ exp(x) along the axis."""

    def apply(self, x: Value) -> Value:
        return softmax.softmax(x, self.sample_axis(x.shape))


class LogSoftmax(_OverAxis):
    """x - log Σ exp(x) along the axis."""

    def apply(self, x: Value) -> Value:
        return softmax.log_softmax(x, self.sample_axis(x.shape))


class Sparsemax(_OverAxis):
    """max(x - τ, 0) along the axis, by Keras's formula for τ (see ops/softmax.py)."""

    def apply(self, x: Value) -> Value:
        return softmax.sparsemax(x, self.sample_axis(x.shape))
