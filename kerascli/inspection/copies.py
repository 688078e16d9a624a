"""Samples that occur more than once, found by a hash of 64 bits of each sample's inputs: eight bytes a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import combinations

import numpy as np

from kerascli.inspection.facts import Copies, Pair
from kerascli.ops.ir import Array

SHOWN = 3
"""Examples of each sort."""


class Hashes:
    """A hash of every sample, in order."""

    def __init__(self) -> None:
        self._blocks: list[Array] = []

    def add(self, arrays: Sequence[Array]) -> None:
        rows = [_as_bytes(array) for array in arrays]
        found = bytearray()
        for parts in zip(*rows, strict=True):
            digest = blake2b(digest_size=8)
            for part in parts:
                digest.update(part)
            found += digest.digest()
        self._blocks.append(np.frombuffer(bytes(found), np.uint64))

    def found(self) -> Array:
        return np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.uint64)


def _as_bytes(array: Array) -> Sequence[bytes | Array]:
    flat = array.reshape(len(array), -1)
    if flat.dtype.kind in "TUSO":
        return ["\x1f".join(map(str, row)).encode() for row in flat.tolist()]
    return np.ascontiguousarray(flat).view(np.uint8)  # type: ignore[return-value]  # rows are buffers


def copies(inputs: Mapping[str, Array], targets: Array) -> Copies:
    """Copies among the splits' hashes; `targets` are the hashes of the training targets."""
    within, across, examples = {}, {}, []
    for split, hashes in inputs.items():
        order = np.argsort(hashes, kind="stable")
        again = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        within[split] = len(again)
        examples += [
            Pair(split, int(order[place + 1]), split, int(order[place])) for place in np.sort(again)[:SHOWN].tolist()
        ]
    for first, second in combinations(inputs, 2):
        order = np.argsort(inputs[first], kind="stable")
        known = inputs[first][order]
        place = np.minimum(np.searchsorted(known, inputs[second]), len(known) - 1)
        met = np.flatnonzero(known[place] == inputs[second])
        across[f"{second} in {first}"] = len(met)
        examples += [Pair(second, int(row), first, int(order[place[row]])) for row in met[:SHOWN].tolist()]
    contradicting = _contradicting(inputs["train"], targets) if "train" in inputs else 0
    return Copies(within, across, contradicting, tuple(examples))


def _contradicting(inputs: Array, targets: Array) -> int:
    """Samples of groups with the same inputs in which not all targets are the same."""
    order = np.argsort(inputs, kind="stable")
    inputs, targets = inputs[order], targets[order]
    group = np.cumsum(np.concatenate([[False], inputs[1:] != inputs[:-1]]))
    low = np.full(group[-1] + 1, np.iinfo(np.uint64).max, np.uint64)
    high = np.zeros(group[-1] + 1, np.uint64)
    np.minimum.at(low, group, targets)
    np.maximum.at(high, group, targets)
    return int((low != high)[group].sum())
