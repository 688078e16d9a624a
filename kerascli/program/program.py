"""What a program computes: the named values of a trace that are wanted."""

from __future__ import annotations

from dataclasses import dataclass, field

from kerascli.ops.ir import Trace, Value


@dataclass
class Program:
    """Values to compute. BLOCK values are kept for the whole batch; the rest are numbers or arrays of a step."""

    trace: Trace
    outputs: dict[str, Value]
    masks: dict[str, Value] = field(default_factory=dict)
    loss: Value | None = None
    """The number that is minimised: data losses, penalties of regularizers."""
    losses: dict[str, Value] = field(default_factory=dict)
    """The data loss of each output, unweighted."""
    gradients: dict[str, Value] = field(default_factory=dict)
    updates: dict[str, Value] = field(default_factory=dict)
    """New values of weights that are not trained, such as moving averages, and of what a batch hands on."""

    def sinks(self) -> list[Value]:
        scalars = [*self.losses.values(), *([self.loss] if self.loss else [])]
        return [
            *self.outputs.values(),
            *self.masks.values(),
            *scalars,
            *self.gradients.values(),
            *self.updates.values(),
        ]
