"""SpectralNormalization."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example
from kerascli.initializers import TruncatedNormal
from kerascli.layer import Context, Layer, WeightSpec
from kerascli.ops.elementwise import divide, equal, maximum, multiply, sqrt, square, where
from kerascli.ops.ir import Shape, Value
from kerascli.ops.linear import matmul, transpose_matrix
from kerascli.ops.reduction import sum
from kerascli.ops.shape import reshape
from kerascli.ops.spectral import replacement

FUZZ = 1e-7
"""Keras's epsilon: no vector is divided by a shorter length."""


class SpectralNormalization(Layer):
    """A layer whose kernel is divided, in every step of training, by its largest singular value, or nearly so.

    v ← u Wᵀ / ‖u Wᵀ‖, u ← v W / ‖v W‖, `power_iterations` times; σ = v W uᵀ, W ← W / σ; u is kept from step to step.
    Shapes: those of `layer`. W is the kernel as a matrix, with the last axis as columns. Source: Miyato et al., 2018.
    The divided kernel takes the kernel's place before the optimizer's step, as in Keras on TensorFlow and PyTorch.
    Departures: Keras on JAX keeps the kernel undivided, so that its predictions are those of another net than was
    trained; a regularizer of the kernel sees it as it was before the division.
    """

    layer: Layer
    """The layer with the kernel: Dense, a convolution, EinsumDense."""
    power_iterations: int = Field(1, ge=1)
    """How often the vectors are multiplied by the kernel in a step."""

    examples = (
        Example({"layer": {"type": "Dense", "units": 3}}, ((4,),)),
        Example({"layer": {"type": "Dense", "units": 3, "use_bias": False}, "power_iterations": 2}, ((3, 4),)),
        Example({"layer": {"type": "Conv2D", "filters": 2, "kernel_size": 2, "activation": "tanh"}}, ((4, 3, 2),)),
    )

    @field_validator("layer")
    @classmethod
    def _has_kernel(cls, layer: Layer) -> Layer:
        kind = type(layer).__name__
        if kind not in KERNELS:
            message = "{kind} has no kernel to normalise; there is one in {kinds}"
            raise PydanticCustomError("spectral", message, {"kind": kind, "kinds": ", ".join(sorted(KERNELS))})
        if layer.inputs is not None:
            raise PydanticCustomError("spectral", "reads what SpectralNormalization reads: leave out its `inputs`")
        return layer

    def infer_shape(self, shape: Shape) -> Shape:
        return self.layer.infer_shape(shape)

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        own = []
        for spec in self.layer.declare(shape):
            trainable = spec.trainable and self.layer.trainable
            own.append(replace(spec, group="layer", also="" if spec.name == "kernel" else None, trainable=trainable))
        kernel = next(spec for spec in own if spec.name == "kernel")
        vector = WeightSpec("vector_u", (1, kernel.shape[-1]), TruncatedNormal(stddev=0.02), False)
        return kernel, vector, *(spec for spec in own if spec is not kernel)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if context.training:
            kernel, vector = self._normalised(w["kernel"], w["vector_u"])
            context.updates |= {"kernel": kernel, "vector_u": vector}
            w = {**w, "kernel": kernel}
        return self.layer.call(context, w, x)

    def _normalised(self, kernel: Value, u: Value) -> tuple[Value, Value]:
        """The kernel divided by σ, and the new u; a kernel of zeros stays as it is."""
        matrix = reshape(kernel, (kernel.size // kernel.shape[-1], kernel.shape[-1]))
        turned = transpose_matrix(matrix)
        vector = u
        for _ in range(self.power_iterations):
            other = _unit(matmul(vector, turned))
            vector = _unit(matmul(other, matrix))
        sigma = sum(multiply(matmul(other, matrix), vector))
        none = equal(sum(square(matrix)), 0.0)
        return replacement(kernel, where(none, 1.0, sigma)), where(none, u, vector)

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return self.layer.mask(context, *xs)

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"layer": self.layer, "power_iterations": self.power_iterations}


KERNELS = {"Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D"}
KERNELS |= {"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"}
"""Layers with a weight called `kernel`."""


def _unit(x: Value) -> Value:
    """x / ‖x‖."""
    return divide(x, maximum(sqrt(sum(square(x))), FUZZ))
