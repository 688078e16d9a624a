"""Rules that a weight is forced back under after each training step."""

from __future__ import annotations

from kerascli.component import Component
from kerascli.ops.ir import Array


class Constraint(Component):
    """A rule that a weight obeys."""

    family = "constraint"
    snake_names = True

    def apply(self, w: Array) -> None:
        """Change `w` in place, as little as the rule asks."""
        raise NotImplementedError
