"""A layer of the spec with its name and what it reads, before shapes are known."""

from __future__ import annotations

from dataclasses import dataclass

from kerascli.layer import Layer
from kerascli.layers.structure import _Entry, _Exit
from kerascli.yamltext import Place

MAX_LAYERS = 10_000
"""Of a whole spec, once structure is written out."""


@dataclass(frozen=True)
class Draft:
    """One call of a layer."""

    name: str
    """`dense`, and `encoder/dense` inside of a nested model."""
    layer: Layer
    inputs: tuple[str, ...]
    path: Place
    places: tuple[Place, ...] = ()
    """Where each input's name is written, or the layer's place where it follows from the order."""
    shared: str | None = None
    """The layer whose weights it uses."""
    position: int = 0
    """Its place in the order of writing; an Input that nobody wrote has -1."""
    inside: str = ""
    """The nested model that it is a layer of."""

    @property
    def title(self) -> str:
        return f"{self.layer.type_name()} `{self.name}`"

    @property
    def reads_from(self) -> str:
        """The nested model whose layers its inputs name: the one it is in, except at that model's ends."""
        if isinstance(self.layer, _Entry):
            return self.inside.rpartition("/")[0]
        return self.layer.model if isinstance(self.layer, _Exit) else self.inside
