"""EinsumDense: a Dense layer over axes that an equation names."""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, tuple_of
from kerascli.constraints import Constraint
from kerascli.initializers import GlorotUniform, Initializer, Zeros, _Scaled
from kerascli.layer import Context, WeightSpec
from kerascli.layers.arguments import Function, _Unmasked, activated, activated_shape, penalise
from kerascli.ops.einsum import einsum
from kerascli.ops.elementwise import add
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.shape import reshape
from kerascli.regularizers import Regularizer

FORMS = (
    re.compile(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)"),
    re.compile(r"\.\.\.([a-zA-Z]+),([a-zA-Z]+)->\.\.\.([a-zA-Z]+)"),
    re.compile(r"([a-zA-Z]{2,})\.\.\.,([a-zA-Z]+)->([a-zA-Z]+)\.\.\."),
)


@dataclass(frozen=True)
class Axes:
    """The equation with a letter for every axis of a sample, and the length of each."""

    x: str
    w: str
    y: str
    bias: str
    """Letters of the bias; `.` for an axis of length 1."""
    sizes: Mapping[str, int]

    def shape(self, letters: str) -> Shape:
        return tuple(self.sizes.get(letter, 1) for letter in letters)


class EinsumDense(_Unmasked):
    """y = activation(einsum(equation, x, kernel) + bias): (T, K) → (T, O) with `abc,cd->abd`.

    The first letter is the batch's. Dots stand for further axes, at the beginning or the end of input and output.
    """

    examples = (
        Example({"equation": "ab,bc->ac", "output_shape": 4, "bias_axes": "c"}, inputs=((6,),)),
        Example({"equation": "abc,cd->abd", "output_shape": [None, 4], "activation": "relu"}, inputs=((3, 5),)),
        Example(
            {"equation": "abc,cde->abde", "output_shape": [3, 2, 4], "bias_axes": "de", "kernel_regularizer": "l2"},
            inputs=((3, 5),),
        ),
        Example({"equation": "...x,xy->...y", "output_shape": 4, "bias_axes": "y"}, inputs=((2, 3, 5),)),
        Example({"equation": "abcd,bcde->abe", "output_shape": [2, 6], "bias_axes": "be"}, inputs=((2, 3, 4),)),
        Example({"equation": "abc...,bd->acd...", "output_shape": [3, 2], "bias_axes": "d"}, inputs=((4, 3, 2),)),
        Example({"equation": "abc,bd->ad", "output_shape": 3, "activity_regularizer": "l2"}, inputs=((4, 3),)),
    )

    equation: str
    """Letters of the axes of input, kernel and output, such as `abc,cd->abd`."""
    output_shape: Annotated[
        tuple[Annotated[int, Field(ge=1)] | None, ...],
        BeforeValidator(tuple_of(1), json_schema_input_type=int | list[int | None]),
    ]
    """Lengths of the output's axes without the batch and dots; null for those that the input has."""
    activation: Function = None
    """Function of the output; none (linear) by default."""
    bias_axes: str | None = None
    """Letters of the output's axes that the bias has; no bias by default."""
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

    @model_validator(mode="after")
    def _spelt_rightly(self) -> Self:
        x, w, y = self._letters()
        wrong = [part for part in (x, w, y, self.bias_axes or "") if len(set(part)) < len(part)]
        unknown = [c for c in y if c not in x + w] + [c for c in w if c not in x + y]
        unknown += [c for c in self.bias_axes or "" if c not in y]
        plain = not self.equation.startswith("...")
        if wrong or unknown or self.bias_axes == "" or (plain and (x[0] != y[0] or x[0] in w)):
            raise PydanticCustomError(
                "equation",
                "`equation` {equation} does not name each axis of kernel, output and bias once, or not the batch first",
                {"equation": self.equation},
            )
        return self

    def _letters(self) -> tuple[str, str, str]:
        found = next((match for form in FORMS if (match := form.fullmatch(self.equation))), None)
        if found is None:
            raise PydanticCustomError(
                "equation", "`equation` must look like ab,bc->ac, ...ab,bc->...ac or ab...,bc->ac..."
            )
        return found[1], found[2], found[3]

    def _axes(self, shape: Shape) -> Axes:
        x, w, y = self._letters()
        dots = len(shape) + 1 - len(x)
        if dots < 0 or (dots and "..." not in self.equation):
            raise ShapeError(f"`equation` {self.equation} does not fit samples of {len(shape)} axes: {shape}")
        more = "".join(c for c in string.ascii_letters if c not in x + w + y)[:dots]
        first = y.find(next((c for c in y if c in (self.bias_axes or "")), y[0]))
        bias = "".join(c if c in (self.bias_axes or "") else "." for c in y[first:])
        if self.equation.startswith("..."):
            x, y = more + x, more + y
        else:
            x, y, bias = x + more, y + more, bias + "." * dots
        x, y = x[1:], y[1:]  # without the batch
        sizes = dict(zip(x, shape, strict=True))
        named = [c for c in y if c not in more]
        if len(named) != len(self.output_shape):
            raise ShapeError(
                f"`output_shape` {list(self.output_shape)} does not have an axis for each of {''.join(named)}"
            )
        for letter, size in zip(named, self.output_shape, strict=True):
            known = sizes.get(letter)
            if size is None and known is None:
                raise ShapeError(f"`output_shape` must say how long axis {letter} is: the input does not have it")
            if size is not None and known is not None and size != known:
                raise ShapeError(f"axis {letter} is {known} long in the input, {size} in `output_shape`")
            sizes[letter] = known or size or 1
        return Axes(x, w, y, bias, sizes)

    def infer_shape(self, shape: Shape) -> Shape:
        axes = self._axes(shape)
        return activated_shape(self.activation, axes.shape(axes.y))

    def declare(self, shape: Shape) -> tuple[WeightSpec, ...]:
        axes = self._axes(shape)
        kernel = replace(self._trained("kernel", axes.shape(axes.w)), initializer=self._fanned(axes))
        return (kernel, self._trained("bias", axes.shape(axes.bias))) if self.bias_axes else (kernel,)

    def _fanned(self, axes: Axes) -> Initializer:
        """The initializer, told which axes of the kernel are inputs and which outputs."""
        own = self.kernel_initializer
        if not isinstance(own, _Scaled) or (own.input_axes is not None and own.output_axes is not None):
            return own
        outputs = tuple(k for k, letter in enumerate(axes.w) if letter in axes.y)
        inputs = tuple(k for k, letter in enumerate(axes.w) if letter not in axes.y)
        return own.model_copy(update={"input_axes": inputs, "output_axes": outputs})

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        axes = self._axes(x.shape)
        y = einsum(x, w["kernel"], (axes.x, axes.w, axes.y))
        if self.bias_axes:
            bias = w["bias"]
            y = add(y, reshape(bias, bias.shape[-len(y.shape) :]) if len(bias.shape) > len(y.shape) else bias)
        return penalise(context, self.activity_regularizer, activated(self.activation, y))
