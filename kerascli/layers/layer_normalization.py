"""LayerNormalization: every sample, or every position of it, brought to mean 0 and variance 1."""

from collections.abc import Mapping

from pydantic import Field

from kerascli.component import Example
from kerascli.constraints import Constraint
from kerascli.initializers import Initializer, Ones, Zeros
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import sample_axes, trimmed
from kerascli.ops.elementwise import add, multiply
from kerascli.ops.ir import Shape, Value
from kerascli.ops.layer_norm import standardise
from kerascli.ops.shape import reshape, with_last
from kerascli.regularizers import Regularizer


class _Rescaled(Layer):
    """γ y + β, where y is x brought to mean 0 and variance 1 within each sample."""

    axis: int | list[int] = -1
    """Axis, or axes, that γ and β lie along; the batch is axis 0."""
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
    beta_regularizer: Regularizer | None = None
    """Penalty on β."""
    gamma_regularizer: Regularizer | None = None
    """Penalty on γ."""
    beta_constraint: Constraint | None = None
    """Rule that β obeys."""
    gamma_constraint: Constraint | None = None
    """Rule that γ obeys."""

    def infer_shape(self, shape: Shape) -> Shape:
        sample_axes(self.axis, shape)
        return shape

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        own = tuple(shape[k] for k in sample_axes(self.axis, shape))
        return (*(self._trained("gamma", own),) * self.scale, *(self._trained("beta", own),) * self.center)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        axes = sample_axes(self.axis, x.shape)
        wide = trimmed(tuple(n if k in axes else 1 for k, n in enumerate(x.shape)))
        y = self._standardised(x, axes)
        if self.scale:
            y = multiply(y, reshape(w["gamma"], wide))
        return add(y, reshape(w["beta"], wide)) if self.center else y

    def _standardised(self, x: Value, axes: tuple[int, ...]) -> Value:
        """x with mean 0 and variance 1; `axes` are those of γ and β."""
        raise NotImplementedError


class LayerNormalization(_Rescaled):
    """y = γ (x - μ) / √(σ² + ε) + β, with mean and variance over `axis` of each sample alone.

    γ and β have the shape of those axes. Source: Ba, Kiros and Hinton, 2016.
    """

    examples = (
        Example(inputs=((6,),)),
        Example({"axis": -1, "epsilon": 1e-5, "beta_initializer": "ones"}, inputs=((3, 5),)),
        Example({"axis": [1, 2], "gamma_initializer": {"type": "Constant", "value": 2.0}}, inputs=((3, 4),)),
        Example({"axis": 1, "center": False}, inputs=((4, 3),)),
        Example({"axis": [1, 3], "scale": False}, inputs=((2, 3, 4),)),
    )

    axis: int | list[int] = -1
    """Axis, or axes, that mean and variance are taken over; the batch is axis 0."""

    def _standardised(self, x: Value, axes: tuple[int, ...]) -> Value:
        return with_last(x, axes, lambda moved: standardise(moved, len(axes), self.epsilon))
