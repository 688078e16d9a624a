"""What shapes the graph rather than the numbers: inputs, shared layers, nested models, repetition and residuals.

The graph stage replaces all but Input by the layers they stand for.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, as_tuple
from kerascli.layer import Layer
from kerascli.ops.ir import Shape


class Input(Layer):
    """An input of the model, fed by the dataset's input of the same name (or by its only one).

    Optional where the dataset has one input.
    """

    takes_integers: ClassVar[bool] = True
    aliases = ("InputLayer",)
    examples = (Example({"shape": [4]}, inputs=((4,),)),)

    shape: Annotated[tuple[Annotated[int, Field(ge=1)] | None, ...], BeforeValidator(as_tuple)] | None = None
    """Shape of one sample; `null` axes, or all of it by default, are as the dataset has them."""
    dtype: (
        Literal["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool", "string"] | None
    ) = None
    """Type of the values; by default that of the dataset. `string`, or integers, take a table's column as it stands."""

    @model_validator(mode="after")
    def _reads_nothing(self) -> Self:
        if self.inputs is not None:
            raise PydanticCustomError("input_inputs", "takes no `inputs`: it is fed by the dataset")
        return self

    def infer_dtype(self, *dtypes: str) -> str:
        return dtypes[0]

    def infer_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]


class Reuse(Layer):
    """Another layer once more, on other inputs and with the same weights."""

    layer: str
    """Name of the layer whose weights are shared."""
    reverse: bool = False
    """Whether a ReversibleEmbedding is called in reverse, from its vectors to a number for each of its rows."""


class _Part(Layer):
    """An output after the first of a layer that has several, read as `name:1`, `name:2`. Only the graph makes these."""

    takes_integers: ClassVar[bool] = True

    number: int
    """Which output; the first is 0, and the layer itself."""

    @classmethod
    def type_name(cls) -> str:
        return "output"


class Model(Layer):
    """A graph of its own that is one layer of the model, as Keras nests models; `Reuse` of it shares all its weights.

    Its layers read each other and its own Inputs alone, so a name inside may stand outside too. An Input is optional
    where it reads one layer. Its outputs after the first are read as `name:1`, `name:2`.
    """

    layers: list[Layer] = Field(min_length=1)
    """The layers inside: a stack, or a graph; several Inputs are fed in their order by `inputs: [a, b]`."""
    outputs: list[str] | None = Field(None, min_length=1)
    """Names of the layers inside whose outputs are the model's; by default the last one."""


class _Entry(Layer):
    """An input of a nested model. Only the graph makes these."""

    takes_integers: ClassVar[bool] = True

    number: int
    """Which of the nested model's inputs."""
    declared: Input
    """The Input as the spec has it."""

    @classmethod
    def type_name(cls) -> str:
        return "Input"


class _Exit(Layer):
    """An output of a nested model. Only the graph makes these."""

    takes_integers: ClassVar[bool] = True

    number: int
    """Which of the outputs; the first, 0, has the model's own name."""
    count: int
    """How many outputs there are."""
    model: str
    """Name of the call that it ends: the model's, or the Reuse's."""

    @classmethod
    def type_name(cls) -> str:
        return "Model"


class Repeat(Layer):
    """A stack of layers, written out several times in a row; each time has weights of its own.

    Names inside get a number from the second time on, and refer to the same time first.
    """

    times: int = Field(ge=1, le=1000)
    """How many times."""
    layers: list[Layer] = Field(min_length=1)
    """The layers of one time."""


class Residual(Layer):
    """A stack of layers whose output is added to its input: y = x + layers(x). Its own name is that of the sum."""

    layers: list[Layer] = Field(min_length=1)
    """The layers whose output is added."""


PSEUDO = (_Part, _Entry, _Exit)
"""What passes values on in the graph without being a layer: outputs after the first, ends of nested models."""
