"""Adafactor: the mean squares of a matrix kept as those of its rows and columns."""

from collections.abc import Mapping, Sequence
from math import prod, sqrt

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.ops.ir import Array, Shape
from kerascli.optimizers.base import Optimizer, blend, norm

ROWS, COLUMNS = "row_means", "column_means"


class Adafactor(Optimizer):
    """Steps in proportion to each weight's size, divided by a root mean square that rows and columns tell.

    ρ = min(lr, 1/√t), α = max(ε₂, rms(w))·ρ, β = 1 - t^decay; r and c are moving means, by β, of g² + ε₁ along the
    last axis and the one before, v = r·c / mean(r) (for vectors v is a moving mean itself); u = g / √v and
    w ← w - α·u / max(1, rms(u) / threshold). Source: Shazeer and Stern, 2018. As in Keras, v is kept too.
    """

    aliases = ("adafactor",)
    elementwise = False
    scratches = 2
    examples = (
        Example(),
        Example({"learning_rate": 0.3, "beta_2_decay": -0.6, "clip_threshold": 0.5, "relative_step": False}),
        Example({"learning_rate": 0.5, "epsilon_1": 1e-6, "epsilon_2": 0.1}),
    )

    beta_2_decay: float = -0.8
    """The power of the step by which the means forget less and less."""
    epsilon_1: float = Field(1e-30, ge=0)
    """A small number that is added to squared gradients."""
    epsilon_2: float = Field(1e-3, ge=0)
    """The least size that a weight is taken to have."""
    clip_threshold: float = Field(1.0, gt=0)
    """Root mean square of a step beyond which it is shortened."""
    relative_step: bool = True
    """Whether the learning rate is at most one by the root of the step; Keras has it so in either case."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({ROWS: 0.0, COLUMNS: 0.0, "velocity": 0.0},)

    def slot_shape(self, slot: str, shape: Shape) -> Shape:
        if slot not in (ROWS, COLUMNS):
            return shape
        if len(shape) < 2:
            return ()
        return shape[:-1] if slot == ROWS else (*shape[:-2], shape[-1])

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        v, (u, s) = slots["velocity"], scratch[:2]
        rate = max(self.epsilon_2, norm(w) / sqrt(w.size)) * min(lr, 1 / sqrt(t))
        fresh = float(np.power(np.float32(t), np.float32(self.beta_2_decay)))
        np.multiply(g, g, out=u)
        np.add(u, self.epsilon_1, out=u)
        if w.ndim < 2:
            blend(v, 1 - fresh, u, fresh, s)
        else:
            self._factored(v, u, slots, fresh, s)
        np.sqrt(v, out=s)
        np.divide(g, s, out=u)
        np.multiply(u, rate / max(1.0, norm(u) / sqrt(u.size) / self.clip_threshold), out=u)
        np.subtract(w, u, out=w)

    def _factored(self, v: Array, squares: Array, slots: Mapping[str, Array], fresh: float, s: Array) -> None:
        """Update the means of rows and columns, and make `v` of them."""
        rows, columns = (self._kept(slots, slot, v.shape) for slot in (ROWS, COLUMNS))
        for means, axis in ((rows, -1), (columns, -2)):
            part = _begin(s, means.shape)
            np.add.reduce(squares, axis, out=part)
            np.divide(part, v.shape[axis], out=part)
            blend(means, 1 - fresh, part, fresh, part)
        share = _begin(s, rows.shape)
        np.divide(rows, rows.mean(-1, keepdims=True), out=share)
        np.multiply(share[..., None], columns[..., None, :], out=v)

    def _kept(self, slots: Mapping[str, Array], slot: str, shape: Shape) -> Array:
        return _begin(slots[slot], self.slot_shape(slot, shape))


def _begin(x: Array, shape: Shape) -> Array:
    """The first numbers of `x` in this shape."""
    return x.reshape(-1)[: prod(shape)].reshape(shape)
