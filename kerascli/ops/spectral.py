"""A matrix in the place of another that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Site, Type, Value


class Replacement(Op):
    """w / s, which takes the place of the weight w in this very step: the gradient of w is that of the result.

    An optimizer's step goes on from the result, and none of it is to be seen through the division.
    """

    in_place: ClassVar[tuple[int, ...]] = ()

    def infer(self, w: Value, s: Value) -> Type:
        return w.type

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.divide, *inputs, out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return dy, None


def replacement(w: Value, s: Value) -> Value:
    """w / s for a number s, to be put in the place of w."""
    return w.trace.add(Replacement(), w, s)
