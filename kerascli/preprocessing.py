"""From raw rows to arrays, and the names of classes: fitted on the training rows, saved as preprocessing.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import BaseModel, ValidationError

from kerascli.columns import Column, Kind, TextColumn, Unseen
from kerascli.encoders import STRICT, Encoder
from kerascli.errors import Failure, Problem
from kerascli.images import ImageReading
from kerascli.learned import Learned
from kerascli.ops.ir import Array
from kerascli.text import TextEncoder


class InputLayout(BaseModel):
    """One input of the network."""

    model_config = STRICT

    shape: tuple[int, ...]
    dtype: str
    features: tuple[str, ...] = ()
    """The encoded columns that form it, side by side; empty where the data are arrays already."""


class TargetLayout(BaseModel):
    """One target: how labels were encoded, and what the classes are called."""

    model_config = STRICT

    columns: tuple[str, ...] = ()
    """The columns of the table; empty where the data are arrays already."""
    encoding: Literal["integer", "one_hot", "none"] = "none"
    classes: int | None = None
    class_names: tuple[str, ...] = ()

    kind: Literal["numeric", "category", "labels"] = "numeric"
    """How the column of a table is read."""
    separator: str | None = None
    """Between the labels of one cell, where `kind` is `labels`."""

    def ids(self, column: Column) -> Array:
        """Shapes: (n,) → (n,) int32: the place in `class_names`, or -1 for a label that training never showed."""
        if isinstance(column, TextColumn):
            places = {text: place for place, text in enumerate(self.class_names)}
            by_code = np.array([*(places.get(text, -1) for text in column.texts), -1], np.int32)
            ids: Array = by_code[column.codes]
            return ids
        values = np.array([float(name) for name in self.class_names])
        found = np.minimum(np.searchsorted(values, column.values), len(values) - 1)
        return np.where(values[found] == column.values, found, -1).astype(np.int32)


class Preprocessing(BaseModel):
    """Everything that raw data need before they enter the network, and class ids after they leave it."""

    model_config = STRICT

    version: Literal[1] = 1
    decimal: str = "."
    """The decimal mark of numbers in text files."""
    encoding: str | None = None
    """How the characters of text files are stored, where the spec said so."""
    features: tuple[Encoder, ...] = ()
    inputs: dict[str, InputLayout] = {}
    targets: dict[str, TargetLayout] = {}
    layers: dict[str, Learned] = {}
    """What layers have learnt, by their names."""
    images: ImageReading | None = None
    """How images became arrays, where the data were image files."""
    text_files: bool = False
    """Whether a file of text was one sample."""
    text: TextEncoder | None = None
    """How such texts became numbers, where the data source did that."""

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Preprocessing:
        """Raises Failure (E402) where the text is not what `to_json` writes."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise Failure(Problem("E402", f"preprocessing.json is damaged: {place}: {first['msg']}")) from None

    @property
    def used(self) -> list[Encoder]:
        """The features that the inputs need, in column order."""
        names = {name for layout in self.inputs.values() for name in layout.features}
        return [feature for feature in self.features if feature.name in names]

    @property
    def kinds(self) -> dict[str, Kind]:
        """How each column is read that the inputs need."""
        return {feature.name: feature.reading for feature in self.used}

    @property
    def target_kinds(self) -> dict[str, Kind]:
        """How the columns of the targets are read."""
        return {column: Kind(layout.kind) for layout in self.targets.values() for column in layout.columns}

    def encode(self, columns: Mapping[str, Column], unseen: Unseen) -> dict[str, Array]:
        """The inputs' arrays from raw columns; values that training never showed are counted in `unseen`."""
        encoded = {feature.name: feature.encode(columns[feature.name], unseen) for feature in self.used}
        return {
            name: np.concatenate([encoded[feature] for feature in layout.features], axis=1)
            for name, layout in self.inputs.items()
        }
