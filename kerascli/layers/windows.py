"""What layers with windows share: names of the axes, and how many windows there are."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

from kerascli.ops.ir import Shape, ShapeError

AXES = {1: "steps, channels", 2: "height, width, channels", 3: "depth, height, width, channels"}
"""Names of a sample's axes, by the number of axes that a window slides along."""


def strides_or_dilation(strides: Shape, dilation_rate: Shape) -> None:
    """Refuse a layer in which both are above 1, as Keras does."""
    if max(strides) > 1 and max(dilation_rate) > 1:
        raise PydanticCustomError(
            "strides_dilation", "either `strides` or `dilation_rate` may be above 1, not both (as in Keras)"
        )


def outputs(sizes: Shape, windows: Shape, strides: Shape, dilation: Shape, padding: str, window: str) -> Shape:
    """How many windows fit along each axis; raises ShapeError where none does.

    `window` is what the layer calls its window: `kernel_size` or `pool_size`.
    """
    if padding != "valid":
        return tuple(-(-size // stride) for size, stride in zip(sizes, strides, strict=True))
    found = []
    for size, extent, stride, apart in zip(sizes, windows, strides, dilation, strict=True):
        reach = (extent - 1) * apart + 1
        if reach > size:
            raise ShapeError(
                f"a window of {reach} does not fit into {size} inputs",
                f"use `padding: same`, a smaller `{window}`, or less pooling before it",
            )
        found.append((size - reach) // stride + 1)
    return tuple(found)
