"""Dense: a matrix product, a bias and an activation."""

from collections.abc import Mapping

from pydantic import Field

from kerascli.component import Example
from kerascli.constraints import Constraint
from kerascli.initializers import GlorotUniform, Initializer, Zeros
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.layers.arguments import Function, activated, activated_shape, penalise
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.linear import bias_add, matmul
from kerascli.regularizers import Regularizer


class Dense(Layer):
    """y = activation(x · kernel + bias) over the last axis: (..., K) → (..., units)."""

    examples = (
        Example({"units": 4}, inputs=((6,),)),
        Example({"units": 5, "activation": "relu", "use_bias": False}, inputs=((3, 4),)),
        Example(
            {
                "units": 3,
                "activation": "tanh",
                "kernel_initializer": "he_normal",
                "bias_initializer": {"type": "Constant", "value": 0.2},
                "kernel_regularizer": "l2",
                "bias_regularizer": {"type": "L1", "l1": 0.02},
                "activity_regularizer": {"type": "L2", "l2": 0.03},
                "kernel_constraint": "max_norm",
                "bias_constraint": "non_neg",
            },
            inputs=((2, 3, 4),),
        ),
        Example({"units": 6, "activation": "softmax"}, inputs=((5,),)),
    )

    units: int = Field(ge=1)
    """Numbers in the output's last axis."""
    activation: Function = None
    """Function of the output; none (linear) by default."""
    use_bias: bool = True
    """Whether a bias is added."""
    kernel_initializer: Initializer = GlorotUniform()
    """First values of the kernel."""
    bias_initializer: Initializer = Zeros()
    """First values of the bias."""
    kernel_regularizer: Regularizer | None = None
    """Penalty on the kernel."""
    bias_regularizer: Regularizer | None = None
    """Penalty on the bias."""
    activity_regularizer: Regularizer | None = None
    """Penalty on the output, per sample of the batch."""
    kernel_constraint: Constraint | None = None
    """Rule that the kernel obeys."""
    bias_constraint: Constraint | None = None
    """Rule that the bias obeys."""

    def infer_shape(self, shape: Shape) -> Shape:
        if not shape:
            raise ShapeError("expected samples of at least 1 axis (features), found single numbers: ()")
        return activated_shape(self.activation, (*shape[:-1], self.units))

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        matrix = (shape[-1], self.units)
        kernel = WeightSpec(
            "kernel", matrix, self.kernel_initializer, True, self.kernel_regularizer, self.kernel_constraint
        )
        bias = WeightSpec(
            "bias", (self.units,), self.bias_initializer, True, self.bias_regularizer, self.bias_constraint
        )
        return (kernel, bias) if self.use_bias else (kernel,)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        y = matmul(x, w["kernel"])
        if self.use_bias:
            y = bias_add(y, w["bias"])
        return penalise(context, self.activity_regularizer, activated(self.activation, y))
