"""Images that do not lie where an augmentation layer believes them to: most often behind a Rescaling to 0 … 1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kerascli.diagnosis.data import LOOKED_AT, NEUTRAL, READ
from kerascli.diagnosis.finding import Finding
from kerascli.graph import Node
from kerascli.layers.preprocessing import Rescaling
from kerascli.layers.structure import PSEUDO
from kerascli.model import Model
from kerascli.outline import span_of
from kerascli.sources.base import Split
from kerascli.sources.rows import Samples, Streamed

Range = tuple[float, float]
NARROW = 0.05
"""Share of a layer's `value_range` below which images seem to lie in another range; so much beyond it is no matter."""
USUAL: tuple[Range, ...] = ((0, 1), (-1, 1), (0, 255))
"""Ranges that images have."""


def misplaced(model: Model, train: Split) -> Iterator[Finding]:
    """Layers whose `value_range` is not that of the images they read."""
    known = {name: _range(samples) for name, samples in train.inputs.items() if samples.dtype.kind in "iuf"}
    for node in model.graph.nodes:
        if not node.inputs or (seen := known.get(node.inputs[0])) is None:
            continue
        told: Range | None = getattr(node.layer, "value_range", None)
        if told is not None and _differs(seen, told):
            usual = next((r for r in USUAL if r[0] <= seen[0] and seen[1] <= r[1]), seen)
            message = (
                f"{node.title} changes images as if they went from {told[0]:g} to {told[1]:g}, "
                f"but they go from {seen[0]:g} to {seen[1]:g}"
            )
            help = f"set `value_range: [{usual[0]:g}, {usual[1]:g}]`, or put it where images have its range"
            yield Finding("value_range", message, help, span_of(model.loaded, node.path))
        if (found := _after(node, seen, told)) is not None:
            known[node.name] = found


def _range(samples: Samples) -> Range:
    values = np.asarray(samples[: READ if isinstance(samples, Streamed) else LOOKED_AT])
    if values.dtype == np.uint8 and values.size and values.max() > 1:
        return 0.0, 255.0  # the first images may be dark
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _differs(seen: Range, told: Range) -> bool:
    width = told[1] - told[0]
    small = 0 < seen[1] - seen[0] < NARROW * width
    return small or seen[0] < told[0] - NARROW * width or seen[1] > told[1] + NARROW * width


def _after(node: Node, seen: Range, told: Range | None) -> Range | None:
    """The range of what a layer makes of images; None where nobody knows."""
    layer, kind = node.layer, type(node.layer).__name__
    if isinstance(layer, Rescaling) and isinstance(layer.scale, float) and isinstance(layer.offset, float):
        first, last = (end * layer.scale + layer.offset for end in seen)
        return min(first, last), max(first, last)
    keeps = kind in NEUTRAL or kind.startswith("Random") or told is not None or isinstance(layer, PSEUDO)
    return seen if keeps else None
