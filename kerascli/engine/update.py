"""The parts of the weights that the optimizer's rule works on, each by one worker alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kerascli.engine.parameters import Parameters
from kerascli.ops.ir import Array, Shape
from kerascli.optimizers.base import Optimizer

SLICES, LENGTH = 8, 1 << 16
"""An elementwise rule works on so many slices of the flat vectors, or on more where they would be longer than this: a
slice of each vector that the rule goes through stays in the cache."""


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


def parts(optimizer: Optimizer, parameters: Parameters, worker: int = 0, workers: int = 1) -> list[Part]:
    """The share of one worker: slices of equal length, or whole weights in their order.

    The cut does not depend on the number of workers. What a worker does one after the other uses the same scratch.
    """
    cuts = _cuts(optimizer, parameters)[worker::workers]
    longest = max((span.stop - span.start for _, span, _ in cuts), default=0)
    scratch = [np.empty(longest, parameters.flat.dtype) for _ in range(max(optimizer.scratches, 1))]
    return [
        Part(
            rule,
            parameters.flat[span].reshape(shape),
            parameters.gradient[span].reshape(shape),
            {name: slot[span].reshape(shape) for name, slot in parameters.slots.items()},
            [s[: span.stop - span.start].reshape(shape) for s in scratch],
        )
        for rule, span, shape in cuts
    ]


def _cuts(optimizer: Optimizer, parameters: Parameters) -> list[tuple[Optimizer, slice, Shape]]:
    size = parameters.flat.size
    if optimizer.elementwise:
        count = max(SLICES, -(-size // LENGTH))
        bounds = [size * k // count for k in range(count + 1)]
        return [(optimizer, slice(*ends), (-1,)) for ends in pairwise(bounds)]
    return [
        (optimizer.rule_of(path, parameters.shapes[path]), span, parameters.shapes[path])
        for path, span in parameters.spans.items()
    ]
