"""Features without a vocabulary: a hash puts each text or number, or each combination of several, into a bin.

The hashes are TensorFlow's, so that a model that was trained there meets the same bins. Departure from Keras: bins are
int32.
"""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from kerascli.component import Example
from kerascli.hashes import cross, fingerprints, salted
from kerascli.layers.host import Modes, Never, _Host, encoded, encoded_shape, texts
from kerascli.layers.lookup import Salt
from kerascli.ops.ir import Array, Shape, ShapeError

LARGEST = 2**31 - 1


class Hashing(_Host):
    """The bin of every text or whole number: FarmHash of its text modulo `num_bins`, or SipHash with `salt`."""

    reads = (*_Host.reads, "float")
    examples = (
        Example({"num_bins": 5}, inputs=((3,),), dtype="string"),
        Example({"num_bins": 7, "salt": 3, "mask_value": 0, "output_mode": "count"}, inputs=((3,),), dtype="int32"),
    )

    num_bins: int = Field(ge=1, le=LARGEST)
    """Bins, that of the mask value included."""
    mask_value: int | str | None = None
    """What gets bin 0 for itself alone."""
    salt: Salt = None
    """Key of SipHash, which then takes FarmHash's part; one number, or two."""
    output_mode: Annotated[
        Literal["int", "one_hot", "multi_hot", "count"],
        BeforeValidator(lambda mode: Modes.get(mode, mode) if isinstance(mode, str) else mode),
    ] = "int"
    """`int`: bins; `one_hot`: a vector for each; `multi_hot`: which there are in a sample; `count`: how often."""
    sparse: Never = False
    """Keras's sparse tensors; always false here."""

    def infer_shape(self, shape: Shape) -> Shape:
        return encoded_shape(shape, self.output_mode, self.num_bins)

    def infer_dtype(self, dtype: str) -> str:
        if self.mask_value is not None and isinstance(self.mask_value, str) != (dtype == "string"):
            help = "quotation marks make a text: `mask_value: '0'`" if dtype == "string" else "write it as a number"
            raise ShapeError(f"`mask_value` {self.mask_value!r} is never among inputs of type {dtype}", help)
        return "int32" if self.output_mode == "int" else "float"

    def apply(self, x: Array) -> Array:
        values = texts(x) if x.dtype.kind in "UT" else x.astype(np.int64).reshape(-1).tolist()
        distinct: dict[Any, int] = {}
        places = np.fromiter((distinct.setdefault(v, len(distinct)) for v in values), np.int64, len(values))
        bins = self._bins(list(distinct))[places].reshape(x.shape)
        return encoded(bins, self.output_mode, self.num_bins)

    def _bins(self, values: list[Any]) -> Array:
        data = [str(value).encode() for value in values]
        hashes = fingerprints(data) if self.salt is None else salted(data, (self.salt[0], self.salt[1]))
        masks = self.mask_value is not None and self.num_bins > 1
        bins = (hashes % np.uint64(self.num_bins - masks)).astype(np.int64) + masks
        if masks:
            bins[[value == self.mask_value for value in values]] = 0
        return bins

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"dtype": _policy("int64")} if self.output_mode == "int" else {}


class HashedCrossing(_Host):
    """The bin of every combination of two or more texts or whole numbers: a hash of their hashes modulo `num_bins`."""

    examples = (
        Example({"num_bins": 5}, inputs=((1,), (1,)), dtype="int32"),
        Example({"num_bins": 9, "output_mode": "one_hot"}, inputs=((), (), ()), dtype="string"),
    )

    num_bins: int = Field(ge=1, le=LARGEST)
    """Bins."""
    output_mode: Literal["int", "one_hot"] = "int"
    """`int`: bins; `one_hot`: a vector for each."""
    sparse: Never = False
    """Keras's sparse tensors; always false here."""

    def infer_shape(self, first: Shape, second: Shape, *more: Shape) -> Shape:
        shapes = (first, second, *more)
        if first not in ((), (1,)) or len(set(shapes)) > 1:
            listed = " and ".join(map(str, shapes))
            raise ShapeError(
                f"takes samples of one value, all of shape () or (1,), found {listed}", "cut or reshape them"
            )
        return encoded_shape(first, self.output_mode, self.num_bins)

    def infer_dtype(self, *dtypes: str) -> str:
        return "int32" if self.output_mode == "int" else "float"

    def apply(self, *xs: Array) -> Array:
        bins = cross([_number(x) for x in xs]) % np.uint64(self.num_bins)
        return encoded(bins.astype(np.int64).reshape(xs[0].shape), self.output_mode, self.num_bins)

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"dtype": "int64" if self.output_mode == "int" else "float32"}


def _number(x: Array) -> Array:
    """Whole numbers as they are, of texts their fingerprints."""
    if x.dtype.kind not in "UT":
        return x.reshape(-1).astype(np.int64).view(np.uint64)
    values = texts(x)
    distinct = list(dict.fromkeys(values))
    hashes = dict(zip(distinct, fingerprints([text.encode() for text in distinct]).tolist(), strict=True))
    return np.fromiter(map(hashes.__getitem__, values), np.uint64, len(values))


def _policy(name: str) -> dict[str, Any]:
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": name}, "registered_name": None}
