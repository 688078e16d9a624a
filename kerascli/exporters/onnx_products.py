"""Products of matrices and attention as ONNX nodes."""

from __future__ import annotations

import string
from collections.abc import Sequence

from kerascli.exporters.onnx_registry import becomes, reads
from kerascli.exporters.onnx_shapes import in_place, joined, reshape
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.exporters.onnx_windows import convolution, convolved, last_channels
from kerascli.ops import einsum, linear, sample_product, shape, window
from kerascli.ops.ir import Constant, Value


@reads(linear.MatMul, window.ConvolutionProduct)
def _product_reads(v: Value) -> Sequence[Value]:
    found = convolution(v)
    return v.inputs if found is None else (found.windows.source,)


@becomes(linear.MatMul, window.ConvolutionProduct)
def _product(g: Sheet, v: Value, x: str, *matrix: str) -> str:
    assert isinstance(v.op, linear.MatMul)
    if (found := convolution(v)) is not None:
        return convolved(g, found, x)
    if v.op.columns:
        x = g.transpose(x, (*range(1, v.inputs[0].rank), 0))
    return _pointwise(g, v, x) or g.node("MatMul", x, *matrix)


def _pointwise(g: Sheet, v: Value, x: str) -> str:
    """A layer's product of channels that stand in front already, as a convolution of single places; else nothing."""
    size = v.rank - 2
    source, perm = in_place(g, v, x)
    if size < 1 or isinstance(v.inputs[1].op, Constant) or last_channels(g, source, size) != g.transpose(source, perm):
        return ""
    kernel = g.array(v.inputs[1]).T
    w = g.constant(kernel.reshape(*kernel.shape, *(1,) * size), f"{g.prefix}/kernel")
    return last_channels(g, g.node("Conv", source, w, kernel_shape=(1,) * size), size)


@reads(shape.Concatenate)
def _join_reads(v: Value) -> Sequence[Value]:
    """Groups of channels are convolved by one node."""
    found = convolution(v)
    return v.inputs if found is None else (found.windows.source,)


@becomes(shape.Concatenate)
def _join(g: Sheet, v: Value, *parts: str) -> str:
    found = convolution(v)
    return joined(g, v, *parts) if found is None else convolved(g, found, *parts)


@reads(linear.BiasAdd)
def _bias_add_reads(v: Value) -> Sequence[Value]:
    """With the product before it, which is then one node with it."""
    x, b = v.inputs
    bias = b.inputs[0] if isinstance(b.op, linear.Tile) else b
    if (found := convolution(_unshaped(x))) is not None:
        return found.windows.source, bias
    return (*x.inputs, bias) if _plain(x) else (x, bias)


@becomes(linear.BiasAdd)
def _bias_add(g: Sheet, v: Value, *names: str) -> str:
    x = v.inputs[0]
    if (found := convolution(_unshaped(x))) is not None:
        return reshape(g, convolved(g, found, *names), _unshaped(x).whole(-1), v.whole(-1))
    return g.node("Gemm", *names) if _plain(x) else g.elementwise("Add", *names)


def _unshaped(x: Value) -> Value:
    """What is reshaped without touching the channels: a convolution over one axis is one over two."""
    return x.inputs[0] if isinstance(x.op, shape.Reshape) and x.inputs[0].shape[-1:] == x.shape[-1:] else x


def _plain(x: Value) -> bool:
    """Whether the value is a product of two plain matrices."""
    return isinstance(x.op, linear.MatMul) and x.rank == 2 and x.batch_axis == 0 and not x.op.columns


@becomes(linear.TransposeMatrix)
def _transpose_matrix(g: Sheet, v: Value, x: str) -> str:
    return g.transpose(x, (1, 0))


@becomes(einsum.Einsum)
def _einsum(g: Sheet, v: Value, x: str, w: str) -> str:
    assert isinstance(v.op, einsum.Einsum)
    batch = next(letter for letter in string.ascii_letters if letter not in v.op.x + v.op.w + v.op.y)
    return g.node("Einsum", x, w, equation=f"{batch}{v.op.x},{v.op.w}->{batch}{v.op.y}")


@becomes(sample_product.SampleProduct)
def _sample_product(g: Sheet, v: Value, a: str, b: str) -> str:
    assert isinstance(v.op, sample_product.SampleProduct)
    swapped = (*range(v.rank - 2), v.rank - 1, v.rank - 2)
    return g.node("MatMul", g.transpose(a, swapped) if v.op.left else a, g.transpose(b, swapped) if v.op.right else b)
