"""A trained model, opened once and asked many times, by one thread at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from kerascli.bounds import require_ids
from kerascli.errors import Failure, Problem
from kerascli.images import ImageReading
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.runner import Runner
from kerascli.serving.refusal import REQUEST, Limits
from kerascli.sources.lines import only_text
from kerascli.sources.raw import under_trained_names
from kerascli.sources.raw_arrays import Arrays
from kerascli.sources.raw_files import image_reading
from kerascli.stored import Stored

AT_ONCE = 64
"""Rows that are computed before somebody looks whether the answer is still wanted."""
MOST_NUMBERS = 1 << 22
"""Numbers of all outputs that one answer may have; nets with large outputs take fewer rows."""
GoOn = Callable[[], None]
"""Raises where the answer is not wanted any more."""


class Predictor:
    """The model on the engine, and what it reads."""

    def __init__(self, stored: Stored, which: str = "last", threads: int = 1) -> None:
        self.model = Model.stored(stored.loaded, stored.signature)
        self.name = stored.path.stem if stored.run is None else stored.path.name
        self.preprocessing = stored.preprocessing
        self.specs = under_trained_names(self.model.signature.inputs, self.preprocessing)
        self.allow_nan = self.model.spec.dataset.allow_nan
        self._runner = Runner(self.model, threads, processes=False)
        self._runner.parameters.load(stored.weights(which))
        self._warm()

    @property
    def kind(self) -> str:
        """What a sample is: a `text`, the features of a `table`'s row, or `arrays`."""
        if self.preprocessing.text or only_text(self.preprocessing, self.specs):
            return "text"
        return "table" if self.preprocessing.features else "arrays"

    @property
    def text_name(self) -> str:
        """What a sample is called that is a text: the column of the training table, else the input."""
        features = self.preprocessing.features
        return features[0].name if features else next(iter(self.specs))

    @property
    def images(self) -> ImageReading | None:
        """How files of images become samples, if they do."""
        if self.kind != "arrays":
            return None
        try:
            return image_reading(REQUEST, self.preprocessing, self.specs)
        except Failure:
            return None

    def within(self, limits: Limits) -> Limits:
        """The limits for this model: the larger its outputs, the fewer rows."""
        numbers = sum(math.prod(self.model.graph.node(name).shape) for name in self.model.graph.outputs)
        return replace(limits, rows=max(1, min(limits.rows, MOST_NUMBERS // max(1, numbers))))

    def outputs(self, blocks: Iterable[Arrays], go_on: GoOn) -> dict[str, Array]:
        """The outputs of all samples, in their order."""
        self._forget()
        found: list[dict[str, Array]] = []
        rows = 0
        for block in blocks:
            if not self.allow_nan:
                self._require_finite(block, rows)
            rows += len(next(iter(block.values())))
            found += self._parts(block, go_on)
        return {name: np.concatenate([part[name] for part in found]) for name in self.model.graph.outputs}

    def _require_finite(self, block: Arrays, before: int) -> None:
        """Raise E404 that names the first NaN or infinity by its row and column; `before` are the rows so far."""
        for name, array in block.items():
            wrong = ~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(0, bool)
            if wrong.any():
                row, *place = (int(k) for k in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
                where = f"row {before + row + 1}, column {self._column(name, place)}"
                message = f"{where}: expected a finite number, found {array[(row, *place)]}"
                raise Failure(Problem("E404", message, REQUEST, help="a missing value is null, or an empty cell"))

    def _column(self, name: str, place: list[int]) -> str:
        """The feature that stands there, or the number of the column in a row of numbers."""
        found = int(np.ravel_multi_index(place, self.specs[name].shape)) if place else 0
        widths = {feature.name: feature.width for feature in self.preprocessing.used}
        for feature in self.preprocessing.inputs[name].features:
            if found < widths[feature]:
                return f"`{feature}`"
            found -= widths[feature]
        return str(found + 1)

    def _parts(self, block: Arrays, go_on: GoOn) -> Iterable[dict[str, Array]]:
        """Some rows at a time, so that nobody waits for what nobody wants; a stateful net takes its batches whole."""
        rows = len(next(iter(block.values())))
        if self.model.graph.batch:
            yield self._runner.predict(block)
            return
        if rows > AT_ONCE:  # the parts would number their rows from 1
            require_ids(self.model.graph.computed, self.model.graph.served(block))
        for start in range(0, rows, AT_ONCE):
            go_on()
            yield self._padded({name: array[start : start + AT_ONCE] for name, array in block.items()})

    def _padded(self, part: Arrays) -> dict[str, Array]:
        """Filled up to a power of two, for the engine keeps the calls of every number of rows that it has met."""
        rows = len(next(iter(part.values())))
        more = (1 << (rows - 1).bit_length()) - rows
        whole = {name: np.concatenate([array, np.repeat(array[-1:], more, 0)]) for name, array in part.items()}
        return {name: array[:rows] for name, array in self._runner.predict(whole).items()}

    def _forget(self) -> None:
        """No request sees the states that another one left."""
        for state in self._runner.session.carried.values():
            state[...] = 0

    def _warm(self) -> None:
        """Plan and bind now what the first request needs."""
        rows = self.model.graph.batch or 1
        kinds = {name: np.dtypes.StringDType() if i.dtype == "string" else i.dtype for name, i in self.specs.items()}
        empty = {name: np.zeros((rows, *info.shape), kinds[name]) for name, info in self.specs.items()}
        try:
            self._runner.predict(empty)
        except Failure:  # a layer may know no empty text; real ones come soon enough
            return
