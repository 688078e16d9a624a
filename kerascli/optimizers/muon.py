"""Muon: steps that turn a matrix's momentum into the nearest orthogonal matrix; Adam for all other weights."""

import re
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from kerascli.component import Example
from kerascli.ops.ir import Array, Shape
from kerascli.optimizers.base import Optimizer, moments, norm, start_correction


class Muon(Optimizer):
    """Orthogonal steps for matrices, AdamW for vectors, for kernels of other ranks and for embeddings.

    m ← μ·m + g, x = g + μ·m (Nesterov) or m, scaled to norm 1; `ns_steps` times A = x·xᵀ, x ← a·x + (b·A + c·A²)·x;
    w ← w - lr·x·√max(rows, columns)·rms_rate. Source: Jordan et al., 2024; the scale is Liu et al.'s, 2025.
    """

    aliases = ("muon",)
    elementwise = False
    scratches = 4
    examples = (
        Example(),
        Example({"learning_rate": 0.02, "nesterov": False, "rms_rate": None, "adam_lr_ratio": 0.5, "ns_steps": 3}),
        Example({"learning_rate": 0.01, "exclude_layers": ["0"], "adam_weight_decay": 0.1}),
    )

    weight_decay: float | None = Field(0.004, ge=0)
    """Part of each matrix, times the learning rate, that is taken off before a step."""
    adam_beta_1: float = Field(0.9, ge=0, lt=1)
    """Adam's part of the old mean gradient that stays at each step."""
    adam_beta_2: float = Field(0.999, ge=0, lt=1)
    """Adam's part of the old mean square that stays at each step."""
    adam_weight_decay: float | None = Field(0.004, ge=0)
    """The same as `weight_decay`, for the weights that Adam has."""
    epsilon: float = Field(1e-7, ge=0)
    """A small number that keeps Adam's division finite."""
    exclude_layers: tuple[str, ...] = ()
    """Regular expressions; weights whose path, such as `dense/kernel`, matches one are left to Adam."""
    exclude_embeddings: bool = True
    """Whether embeddings (`embedding` in the path) are left to Adam."""
    muon_a: float = 3.4445
    """Factor of x in each Newton-Schulz step."""
    muon_b: float = -4.775
    """Factor of x·xᵀ·x in each Newton-Schulz step."""
    muon_c: float = 2.0315
    """Factor of (x·xᵀ)²·x in each Newton-Schulz step."""
    adam_lr_ratio: float = 1.0
    """Adam's learning rate by that of the matrices."""
    momentum: float = 0.95
    """Part of the sum of gradients that stays at each step."""
    ns_steps: int = Field(5, ge=0)
    """Number of Newton-Schulz steps."""
    nesterov: bool = True
    """Whether to look ahead along the momentum (Nesterov)."""
    rms_rate: float | None = 0.2
    """Size of a step's numbers when the learning rate is 1; null leaves the scale out."""

    @field_validator("exclude_layers", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else () if value is None else value

    @field_validator("exclude_layers")
    @classmethod
    def _regular(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for expression in value:
            try:
                re.compile(expression)
            except re.error as error:
                raise ValueError(f"`{expression}` is no regular expression: {error}") from error
        return value

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"momentum": 0.0, "velocity": 0.0},)

    def rule_of(self, path: str, shape: Shape) -> Optimizer:
        kind: type[Muon] = _Matrix
        if (
            len(shape) != 2
            or (self.exclude_embeddings and "embedding" in path.lower())
            or any(re.search(expression, path) for expression in self.exclude_layers)
        ):
            kind = _Rest
        return kind.model_validate({name: getattr(self, name) for name in type(self).model_fields})


class _Matrix(Muon):
    """Muon's rule for matrices."""

    def rule_slots(self) -> tuple[dict[str, float], ...]:
        return ({"momentum": 0.0},)

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        m, (x, s) = slots["momentum"], scratch[:2]
        np.multiply(m, self.momentum - 1, out=s)
        np.add(g, s, out=s)
        np.add(m, s, out=m)
        np.copyto(x, m)
        if self.nesterov:
            np.multiply(m, self.momentum, out=x)
            np.add(g, x, out=x)
        np.divide(x, norm(x) + 1e-7, out=x)
        self._orthogonalise(*((x, s) if len(x) <= x.shape[1] else (x.T, s.T)), *scratch[2:4])
        if self.rms_rate is not None:
            lr *= sqrt(max(w.shape)) * self.rms_rate
        np.multiply(x, lr, out=x)
        np.subtract(w, x, out=w)

    def _orthogonalise(self, x: Array, s: Array, *scratch: Array) -> None:
        """Newton-Schulz steps, in place; `x` is wide, so that its product with itself fits into scratch arrays."""
        rows = len(x)
        product, square = (part.reshape(-1)[: rows * rows].reshape(rows, rows) for part in scratch)
        for _ in range(self.ns_steps):
            np.matmul(x, x.T, out=product)
            np.matmul(product, product, out=square)
            np.multiply(product, self.muon_b, out=product)
            np.multiply(square, self.muon_c, out=square)
            np.add(product, square, out=product)
            np.matmul(product, x, out=s)
            np.multiply(x, self.muon_a, out=x)
            np.add(x, s, out=x)


class _Rest(Muon):
    """Muon's rule for all other weights: Adam."""

    def decay(self, w: Array, scratch: Sequence[Array], lr: float) -> None:
        if self.adam_weight_decay is not None:
            np.multiply(w, self.adam_weight_decay * lr, out=scratch[0])
            np.subtract(w, scratch[0], out=w)

    def step(self, w: Array, g: Array, slots: Mapping[str, Array], scratch: Sequence[Array], t: int, lr: float) -> None:
        m, v, s = slots["momentum"], slots["velocity"], scratch[0]
        moments(m, v, g, (1 - self.adam_beta_1, 1 - self.adam_beta_2), s)
        np.sqrt(v, out=s)
        np.add(s, self.epsilon, out=s)
        np.divide(m, s, out=s)
        correction = sqrt(start_correction(self.adam_beta_2, t)) / start_correction(self.adam_beta_1, t)
        np.multiply(s, lr * self.adam_lr_ratio * correction, out=s)
        np.subtract(w, s, out=w)
