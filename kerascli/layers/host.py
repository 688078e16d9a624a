"""Layers that NumPy computes on whole arrays where samples are fed, because the engine knows numbers alone.

They are deterministic, so that a split that is in memory passes through them once. What they learn (a vocabulary,
boundaries) is learnt from the training split before the graph is built: shapes may depend on it.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from kerascli.layer import Context, Layer
from kerascli.learned import Learned
from kerascli.ops.ir import Array, Shape, ShapeError, Value

INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "bool")
Modes = {"binary": "multi_hot", "tf-idf": "tf_idf"}
"""Keras's older names of output modes."""
Mode = Annotated[
    Literal["int", "one_hot", "multi_hot", "count", "tf_idf"],
    BeforeValidator(lambda mode: Modes.get(mode, mode) if isinstance(mode, str) else mode),
]


def _dense(value: bool) -> bool:
    if value:
        raise PydanticCustomError("sparse", "must be false: arrays are dense and of fixed shape here")
    return value


Never = Annotated[bool, AfterValidator(_dense)]
"""`sparse` and `ragged`."""


class _Host(Layer):
    """A layer that NumPy computes where samples are fed."""

    takes_integers: ClassVar[bool] = True
    in_engine: ClassVar[bool] = False
    """Whether the engine can compute it too; it does so unless another such layer reads it."""
    reads: ClassVar[tuple[str, ...]] = ("string", *INTEGERS)
    """Types that layers of this class read."""

    @property
    def readable(self) -> tuple[str, ...]:
        """Types that it reads, with the arguments that it has."""
        return self.reads

    @property
    def lacks(self) -> bool:
        """Whether it has to learn something before it works."""
        return False

    def learn(self, see: Callable[[], Iterator[Array]]) -> Learned:
        """What it learns; `see` gives the training split's samples, some at a time."""
        raise NotImplementedError

    def learnt(self, found: Learned) -> Self:
        """The layer as it is after learning: its arguments say what was learnt."""
        return self.model_copy(update=found.model_dump(exclude_none=True))

    def apply(self, *xs: Any) -> Array:
        """The output for whole arrays, the batch axis first."""
        raise NotImplementedError

    def keras_variables(self) -> dict[str, Array]:
        """What Keras keeps in its weight file under a name of its own, by the path below the layer."""
        return {}

    def mask(self, context: Context, *xs: Value) -> Value | None:
        return None


def encoded_shape(shape: Shape, mode: str, depth: int) -> Shape:
    """Shape of one sample after `encoded`."""
    if mode == "int":
        return shape
    if mode == "one_hot":
        return (*(shape[:-1] if shape[-1:] == (1,) else shape), depth)
    if len(shape) != 1:
        help = "use `output_mode: one_hot`, or Reshape before it"
        raise ShapeError(f"`output_mode: {mode}` takes samples of one axis, the tokens, found {shape}", help)
    return (depth,)


def encoded(ids: Array, mode: str, depth: int) -> Array:
    """Numbers as they are, or as vectors of `depth`; numbers outside 0 … depth - 1 leave no trace."""
    if mode == "int":
        return ids.astype(np.int32)
    if mode == "one_hot":
        ids = ids[..., 0] if ids.ndim > 1 and ids.shape[-1] == 1 else ids
        return spread(np.arange(ids.size), ids.reshape(-1), ids.size, depth, mode).reshape(*ids.shape, depth)
    rows = np.repeat(np.arange(len(ids)), ids.shape[1])
    return spread(rows, ids.reshape(-1), len(ids), depth, mode)


def spread(rows: Array, ids: Array, count: int, depth: int, mode: str) -> Array:
    """(count, depth) zeros, with ones (or how many there are) where `rows` and `ids` say."""
    found = np.zeros((count, depth), np.float32)
    inside = (ids >= 0) & (ids < depth)
    if mode in ("count", "tf_idf"):
        np.add.at(found, (rows[inside], ids[inside]), 1)
    else:
        found[rows[inside], ids[inside]] = 1
    return found


def texts(x: Array) -> list[str]:
    """The elements of an array of texts."""
    return [str(text) for text in x.reshape(-1).tolist()]
