"""Products of matrices and attention as ONNX nodes."""

from __future__ import annotations

import string
from collections.abc import Sequence

from kerascli.exporters.onnx_registry import becomes, reads
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.exporters.onnx_windows import convolution, convolved
from kerascli.ops import einsum, linear, sample_product, window
from kerascli.ops.ir import Value


@reads(linear.MatMul, window.ConvolutionProduct)
def _product_reads(v: Value) -> Sequence[Value]:
    found = convolution(v)
    return v.inputs if found is None else (found.source, v.inputs[1])


@becomes(linear.MatMul, window.ConvolutionProduct)
def _product(g: Sheet, v: Value, x: str, w: str) -> str:
    assert isinstance(v.op, linear.MatMul)
    if (found := convolution(v)) is not None:
        return convolved(g, found, x, g.array(v.inputs[1]), w)
    if v.op.columns:
        rank = v.inputs[0].rank
        x = g.transpose(x, (*range(1, rank), 0))
    return g.node("MatMul", x, w)


@reads(linear.BiasAdd)
def _bias_add_reads(v: Value) -> Sequence[Value]:
    """With the product before it, which is then one node with it."""
    x, b = v.inputs
    bias = b.inputs[0] if isinstance(b.op, linear.Tile) else b
    return (*_product_reads(x), bias) if _takes_bias(x) else (x, bias)


@becomes(linear.BiasAdd)
def _bias_add(g: Sheet, v: Value, x: str, *others: str) -> str:
    product = v.inputs[0]
    if not _takes_bias(product):
        return g.elementwise("Add", x, *others)
    w, b = others
    if (found := convolution(product)) is not None:
        return convolved(g, found, x, g.array(product.inputs[1]), w, b)
    return g.node("Gemm", x, w, b)


def _takes_bias(x: Value) -> bool:
    """Whether the value is a convolution, or a product of two plain matrices."""
    if not isinstance(x.op, linear.MatMul):
        return False
    return convolution(x) is not None or (x.rank == 2 and x.batch_axis == 0 and not x.op.columns)


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
