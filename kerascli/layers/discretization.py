"""Discretization: numbers become the bins that they fall into.

With `num_bins`, boundaries are quantiles of the training split, estimated as Keras does it: the sorted values are
thinned to about 1 / epsilon of them, and boundaries interpolated between these.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example
from kerascli.errors import Failure, Problem
from kerascli.layer import Context
from kerascli.layers.category_encoding import vectors
from kerascli.layers.host import INTEGERS, Modes, Never, _Host, encoded, encoded_shape
from kerascli.learned import Learned
from kerascli.ops.digitize import digitize
from kerascli.ops.ir import Array, Shape, Value


class Discretization(_Host):
    """The number of the bin that each value falls into: 0 before the first boundary, each bin with its lower end."""

    takes_integers: ClassVar[bool] = False
    in_engine: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = ("float", *INTEGERS)
    examples = (
        Example({"bin_boundaries": [0.0, 1.0, 2.0]}, inputs=((2, 3),)),
        Example({"bin_boundaries": [-0.7, 0.9], "output_mode": "one_hot"}, inputs=((1,),)),
        Example({"bin_boundaries": [-0.7, 0.9], "output_mode": "one_hot"}, inputs=((3,),)),
        Example({"bin_boundaries": [-0.7, 0.9], "output_mode": "multi_hot"}, inputs=((4,),)),
        Example({"bin_boundaries": [3.0, 7.0], "output_mode": "count"}, inputs=((4,),), dtype="int32"),
    )

    bin_boundaries: list[float] | None = None
    """Where bins end and the next begin, in order; or let `num_bins` learn them."""
    num_bins: int | None = Field(None, ge=2)
    """Bins, whose boundaries are learnt from the training split so that each gets as many values."""
    epsilon: float = Field(0.01, gt=0, lt=1)
    """How exact learnt boundaries are: a smaller number keeps more values."""
    output_mode: Annotated[
        Literal["int", "one_hot", "multi_hot", "count"],
        BeforeValidator(lambda mode: Modes.get(mode, mode) if isinstance(mode, str) else mode),
    ] = "int"
    """`int`: bins; `one_hot`: a vector for each; `multi_hot`: which there are in a sample; `count`: how often."""
    sparse: Never = False
    """Keras's sparse tensors; always false here."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.bin_boundaries is None) == (self.num_bins is None):
            raise PydanticCustomError("discretization", "needs either `bin_boundaries` or `num_bins`")
        if self.bin_boundaries is not None and sorted(self.bin_boundaries) != self.bin_boundaries:
            raise PydanticCustomError("discretization_order", "`bin_boundaries` must be in order")
        return self

    @property
    def lacks(self) -> bool:
        return self.bin_boundaries is None

    @property
    def depth(self) -> int:
        """Length of a vector."""
        return len(self.bin_boundaries or ()) + 1

    def infer_shape(self, shape: Shape) -> Shape:
        return encoded_shape(shape, self.output_mode, self.depth)

    def infer_dtype(self, dtype: str) -> str:
        return "int32" if self.output_mode == "int" else "float"

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        bins = digitize(x, self.bin_boundaries or ())
        return bins if self.output_mode == "int" else vectors(bins, self.output_mode, self.depth)

    def apply(self, x: Array) -> Array:
        boundaries = np.array(self.bin_boundaries, np.float32)
        return encoded(boundaries.searchsorted(x.astype(np.float32), side="right"), self.output_mode, self.depth)

    def learn(self, see: Callable[[], Iterator[Array]]) -> Learned:
        values = np.concatenate([x.astype(np.float32).reshape(-1) for x in see()])
        if not np.isfinite(values).all():
            raise Failure(Problem("E410", "boundaries of bins cannot be learnt from NaN or infinity"))
        summary = _compressed(_thinned(values, self.epsilon), self.epsilon)
        found = _compressed(summary, 1 / (self.num_bins or 2))[0, :-1]
        return Learned(bin_boundaries=[float(boundary) for boundary in found])

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"dtype": "float32"}


def _thinned(values: Array, epsilon: float) -> Array:
    """Every so many-th of the sorted values, and how many each stands for: (2, values kept)."""
    step = max(len(values) / (1 / epsilon), 1)
    kept = np.sort(values)[int(step - 1) :: int(step)]
    return np.stack([kept, np.full_like(kept, step)])


def _compressed(summary: Array, epsilon: float) -> Array:
    """The same with 1 / epsilon values, interpolated over the shares of the whole weight."""
    if summary.shape[1] * epsilon < 1:
        return summary
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    sums = summary[1].cumsum()
    values = np.interp(shares, sums / sums[-1], summary[0])
    reached = np.interp(shares, sums / sums[-1], sums)
    return np.stack([values, np.diff(reached, prepend=0)]).astype(np.float32)
