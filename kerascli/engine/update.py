"""The parts of the weights that the optimizer's rule works on, each by one worker alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kerascli.engine.parameters import Parameters
from kerascli.ops.ir import Array, Shape
from kerascli.optimizers.base import Optimizer

SLICES = 8
"""Parts of the flat vectors that an elementwise rule is dealt out in."""


@dataclass(frozen=True)
class Part:
    """What one call of `advance` reads and changes: views of the parameters."""

    rule: Optimizer
    weight: Array
    gradient: Array
    slots: Mapping[str, Array]
    scratch: Sequence[Array]

    def advance(self, iteration: int, rate: float) -> None:
        self.rule.advance(self.weight, self.gradient, self.slots, self.scratch, iteration, rate)


def parts(optimizer: Optimizer, parameters: Parameters) -> list[Part]:
    """Slices of equal length, or whole weights in their order. The cut does not depend on the number of workers."""
    flat = parameters.flat
    scratch = [np.empty_like(flat) for _ in range(max(optimizer.scratches, 1))]
    cuts: list[tuple[Optimizer, slice, Shape]]
    if optimizer.elementwise:
        bounds = [flat.size * k // SLICES for k in range(SLICES + 1)]
        cuts = [(optimizer, slice(*ends), (-1,)) for ends in pairwise(bounds)]
    else:
        cuts = [
            (optimizer.rule_of(path, parameters.shapes[path]), span, parameters.shapes[path])
            for path, span in parameters.spans.items()
        ]
    return [
        Part(
            rule,
            flat[span].reshape(shape),
            parameters.gradient[span].reshape(shape),
            {name: slot[span].reshape(shape) for name, slot in parameters.slots.items()},
            [s[span].reshape(shape) for s in scratch],
        )
        for rule, span, shape in cuts
    ]
