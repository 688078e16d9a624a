"""Dense: a matrix product, a bias and an activation."""

from collections.abc import Mapping

from pydantic import Field

from kerascli.component import Example
from kerascli.layer import Context, WeightSpec
from kerascli.layers.arguments import _Affine, activated_shape
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.linear import matmul


class Dense(_Affine):
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

    def infer_shape(self, shape: Shape) -> Shape:
        if not shape:
            raise ShapeError("expected samples of at least 1 axis (features), found single numbers: ()")
        return activated_shape(self.activation, (*shape[:-1], self.units))

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return self._kernel_and_bias((shape[-1], self.units), self.units)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return self._finish(context, w, matmul(x, w["kernel"]))
