"""What the model is, in a few numbers and a picture."""

from __future__ import annotations

from dataclasses import dataclass, field

from kerascli.model import Model
from kerascli.plot import picture
from kerascli.summary import Row, of


@dataclass(frozen=True)
class ModelCard:
    """The layers, as `summary` lists them, and how they are connected."""

    layers: tuple[Row, ...]
    parameters: int
    trainable: int
    flops: int
    picture: str = field(repr=False)
    """An SVG."""

    @classmethod
    def of(cls, model: Model) -> ModelCard:
        found = of(model.graph, model.spec.name)
        return cls(found.rows, found.parameters, found.trainable, found.flops, picture(model.graph, "svg"))
