"""Generated data: learnable, and the same for the same seed."""

import hashlib
import json
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, Ints
from kerascli.ops.ir import Array
from kerascli.sources.arrays import Part, _ArraySource
from kerascli.sources.base import InputInfo, TargetInfo

_SHAPES = {"classification": (20,), "regression": (8,), "images": (28, 28, 1), "sequences": (100,)}

_LENGTHS = {"images": "three positive lengths: height, width, channels", "sequences": "one positive length"}


class Synthetic(_ArraySource):
    """Data made up from the spec's seed, for trying things out; there is no test split unless `test_split` cuts one.

    - `classification`: a Gaussian cloud around a centre of its own for each class; float32.
    - `regression`: a smooth function (two tanh units on a random direction each) plus a little noise; float32 target.
    - `images`: each class is a random smooth picture, shifted by up to two pixels and noisy; uint8.
    - `sequences`: token ids, int32, padded in front with 0 as Keras pads; each class has favourite tokens that are a
      third of its texts. The ids are 1 to `vocabulary` - 1.
    """

    examples = (
        Example({"kind": "classification"}),
        Example({"kind": "regression", "samples": 200, "shape": [4]}),
        Example({"kind": "images", "samples": 50, "shape": [12, 12, 3], "classes": 3}),
        Example({"kind": "sequences", "samples": 50, "shape": [20], "vocabulary": 40}),
    )

    kind: Literal["classification", "regression", "images", "sequences"] = "classification"
    """What the data look like."""
    samples: int = Field(1000, ge=1)
    """Number of samples, all splits together."""
    shape: Ints | None = None
    """Shape of one sample: any for vectors, (height, width, channels) for images, (length,) for sequences."""
    classes: int = Field(2, ge=2)
    """Number of classes; regression has none."""
    vocabulary: int = Field(1000, ge=3)
    """Number of token ids of `sequences`, the padding's 0 included."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        rank = {"images": 3, "sequences": 1}.get(self.kind, len(self.sample_shape))
        if len(self.sample_shape) != rank or not rank or min(self.sample_shape) < 1:
            raise PydanticCustomError(
                "synthetic_shape",
                "`shape` of {kind} must have {lengths}",
                {"kind": self.kind, "lengths": _LENGTHS.get(self.kind, "positive lengths")},
            )
        if self.kind == "sequences" and self.vocabulary <= self.classes:
            raise PydanticCustomError("synthetic_vocabulary", "`vocabulary` must exceed `classes`", {})
        return self

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.shape if self.shape is not None else _SHAPES[self.kind]

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        dtype = {"images": "uint8", "sequences": "int32"}.get(self.kind, "float32")
        target = TargetInfo((), "float32") if self.kind == "regression" else TargetInfo((), "int32", self.classes)
        return {"x": InputInfo(self.sample_shape, dtype)}, {"y": target}, {"train": self.samples}

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        rng = np.random.default_rng((seed, 0x5EED))
        if self.kind == "regression":
            x, y = self._regression(rng)
        else:
            y = rng.integers(self.classes, size=self.samples, dtype=np.int32)
            x = {"images": self._images, "sequences": self._sequences}.get(self.kind, self._clouds)(rng, y)
        return {"train": Part({"x": x}, {"y": y})}

    def fingerprint(self, base: Path, seed: int) -> str:
        return f"sha256:{hashlib.sha256(json.dumps([self.dump(), seed], sort_keys=True).encode()).hexdigest()}"

    def _clouds(self, rng: np.random.Generator, y: Array) -> Array:
        centres = rng.normal(size=(self.classes, int(np.prod(self.sample_shape))))
        centres *= 5 / np.linalg.norm(centres, axis=1, keepdims=True)
        x = centres[y] + rng.normal(size=(self.samples, centres.shape[1]))
        return x.reshape(-1, *self.sample_shape).astype(np.float32)

    def _regression(self, rng: np.random.Generator) -> tuple[Array, Array]:
        width = int(np.prod(self.sample_shape))
        x = rng.normal(size=(self.samples, width)).astype(np.float32)
        directions = rng.normal(size=(width, 2)) / np.sqrt(width)
        y = np.tanh(2 * (x @ directions)) @ np.array([1.5, -1.0]) + 0.05 * rng.normal(size=self.samples)
        return x.reshape(-1, *self.sample_shape), y.astype(np.float32)

    def _images(self, rng: np.random.Generator, y: Array) -> Array:
        height, width, channels = self.sample_shape
        coarse = rng.uniform(0, 200, size=(self.classes, -(-height // 4), -(-width // 4), channels))
        pictures = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width].astype(np.uint8)
        x = pictures[y]
        for across in range(-2, 3):
            for down in range(-2, 3):
                chosen = rng.random(self.samples) < 1 / 25
                x[chosen] = np.roll(pictures[y[chosen]], (down, across), axis=(1, 2))
        x += rng.integers(56, size=x.shape, dtype=np.uint8)
        return x

    def _sequences(self, rng: np.random.Generator, y: Array) -> Array:
        length = self.sample_shape[0]
        x = rng.integers(1, self.vocabulary, size=(self.samples, length), dtype=np.int32)
        share = (self.vocabulary - 1) // self.classes
        favourites = 1 + y[:, None] * share + rng.integers(share, size=x.shape, dtype=np.int32)
        x = np.where(rng.random(x.shape) < 1 / 3, favourites, x).astype(np.int32)
        lengths = rng.integers(-(-length // 2), length + 1, size=(self.samples, 1))
        x[np.arange(length) < length - lengths] = 0
        return x
