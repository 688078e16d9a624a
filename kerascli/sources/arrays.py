"""Sources whose data are arrays already, in memory or streamed from their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array
from kerascli.sources.base import Cut, Dataset, InputInfo, Signature, Source, Split, TargetInfo, named
from kerascli.sources.rows import TEXT, Samples, Streamed, require_finite, served, served_dtype
from kerascli.sources.targets import encode_labels, resolve_encoding

if TYPE_CHECKING:
    from kerascli.preprocessing import TargetLayout

_MOST_CLASSES = 1000
"""Labels of more classes than this are not looked through for classes that a split lacks."""
_FEW = 4
"""Samples for each class below which a split may well lack one by chance."""


class Rows(Protocol):
    """An array, or what can make one of any range of rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Array: ...


@dataclass(frozen=True)
class Part:
    """Uncut data of one split as the source keeps them."""

    inputs: Mapping[str, Rows]
    targets: Mapping[str, Rows]
    sample_weight: Rows | None = None
    notes: tuple[str, ...] = ()
    """What is to be said of them."""

    def in_order(self, order: Array) -> Part:
        """The same samples, the one of number order[0] first."""
        return Part(
            {name: part(rows, order) for name, rows in self.inputs.items()},
            {name: part(rows, order) for name, rows in self.targets.items()},
            None if self.sample_weight is None else self.sample_weight[:][order],
            self.notes,
        )


def part(rows: Rows, chosen: slice | Array) -> Samples:
    """Some of the rows, streamed where all are."""
    if isinstance(rows, Streamed):
        return rows.part(chosen)
    return rows[chosen] if isinstance(chosen, slice) else rows[:][chosen]


class _ArraySource(Source):
    """A source whose data are arrays already."""

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        """Inputs, targets and the rows stored of each split, without reading the data."""
        raise NotImplementedError

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        """The arrays of each split."""
        raise NotImplementedError

    def fingerprint(self, base: Path, seed: int) -> str:
        raise NotImplementedError

    def peek(
        self, base: Path, inputs: Sequence[str] = (), outputs: Sequence[str] = (), raw: Mapping[str, str] = {}
    ) -> Signature:
        found, targets, rows = self.outline(base)
        return Signature(
            {name: found[own] for name, own in named(found, inputs, "input").items()},
            {name: targets[own] for name, own in named(targets, outputs, "target").items()},
            self.sizes(self.cuts(rows)),
        )

    def load(
        self,
        base: Path,
        seed: int,
        encoding: Mapping[str, str] | None = None,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        raw: Mapping[str, str] = {},
    ) -> Dataset:
        from kerascli.preprocessing import InputLayout, Preprocessing, TargetLayout

        found, infos, _ = self.outline(base)
        wanted, aims = named(found, inputs, "input"), named(infos, outputs, "target")
        layouts = {
            name: TargetLayout(
                encoding=resolve_encoding(self.encoding_of(name, encoding), infos[own].classes),
                classes=infos[own].classes,
                class_names=infos[own].class_names,
            )
            for name, own in aims.items()
        }
        parts = self.parts(base, seed)
        if self.stratify:
            parts["train"] = parts["train"].in_order(spread_evenly(parts["train"].targets))
        cuts = self.limited(self.cuts({name: len(next(iter(each.inputs.values()))) for name, each in parts.items()}))
        splits = {
            split: self._split(
                parts[cut.part], cut, split, wanted, {name: (aims[name], layouts[name]) for name in aims}
            )
            for split, cut in cuts.items()
        }
        preprocessing = Preprocessing(
            inputs={name: InputLayout(shape=found[own].shape, dtype=found[own].dtype) for name, own in wanted.items()},
            targets=layouts,
        )
        return Dataset(
            splits["train"],
            splits.get("validation"),
            splits.get("test"),
            preprocessing,
            self.fingerprint(base, seed),
            (
                *(note for each in parts.values() for note in each.notes),
                *lacking(splits, cuts, layouts),
                *constant(splits["train"], layouts),
            ),
        )

    def _split(
        self,
        stored: Part,
        cut: Cut,
        split: str,
        inputs: Mapping[str, str],
        targets: Mapping[str, tuple[str, TargetLayout]],
    ) -> Split:
        """Rows of a part as the network takes them: streamed ones are looked at when they are read."""
        where = f"the {split} split"
        check = None if self.allow_nan else partial(require_finite, where=where)
        arrays = {name: as_served(part(stored.inputs[own], cut.rows), name, check) for name, own in inputs.items()}
        truths = {name: part(stored.targets[own], cut.rows) for name, (own, _) in targets.items()}
        weight = None if stored.sample_weight is None else stored.sample_weight[cut.rows].astype(np.float32)
        if check:
            check({**arrays, **truths, **({} if weight is None else {"sample_weight": weight})})
        labels = {
            name: as_labels(truths[name], name, layout, f"target `{name}` of {where}", check)
            for name, (_, layout) in targets.items()
        }
        return Split(arrays, labels, weight)


class Check(Protocol):
    """Raises where values are not finite; `numbers` are those of the samples."""

    def __call__(self, arrays: Mapping[str, Samples], *, numbers: Array | None = None) -> None: ...


def as_served(samples: Samples, name: str, check: Check | None) -> Samples:
    """In the dtype that inputs are served in."""
    if not isinstance(samples, Streamed):
        return served(samples)

    def make(values: Array, numbers: Array) -> Array:
        found = served(values)
        if check:
            check({name: found}, numbers=numbers)
        return found

    dtype = served_dtype(samples.dtype)
    return samples.made(make, samples.shape[1:], TEXT if dtype == "string" else dtype)


def as_labels(samples: Samples, name: str, layout: TargetLayout, what: str, check: Check | None) -> Samples:
    """As the loss wants them."""

    def encode(values: Array, what: str = what) -> Array:
        return encode_labels(values, layout.encoding, layout.classes, layout.class_names, what)

    if not isinstance(samples, Streamed):
        return encode(samples)

    def make(values: Array, numbers: Array) -> Array:
        if check:
            check({name: values}, numbers=numbers)
        try:
            return encode(values)
        except Failure:
            for number, value in zip(numbers, values, strict=True):
                encode(value[None], f"{what}, sample {number + 1:,}")  # the one that is at fault
            raise

    one = encode(samples[:1])
    return samples.made(make, one.shape[1:], one.dtype)


def spread_evenly(targets: Mapping[str, Rows]) -> Array:
    """An order of the samples in which each class is spread evenly from the first to the last.

    So any run of samples, the first N or the last fifth, has every class in its share. Within a class they keep their
    order.
    """
    if len(targets) > 1 or isinstance(labels := next(iter(targets.values())), Streamed):
        raise _no_classes("there are several targets" if len(targets) > 1 else "the target is too large")
    rows = labels[:].reshape(len(labels), -1)
    names, ids = (
        np.unique(rows, axis=0, return_inverse=True) if rows.shape[1] > 1 else np.unique(rows, return_inverse=True)
    )
    if len(names) > max(2, len(labels) // 2):
        raise _no_classes("nearly every sample has a target of its own")
    ids = ids.reshape(-1)
    counts = np.bincount(ids)
    by_class = np.argsort(ids, kind="stable")
    place = np.empty(len(ids))
    place[by_class] = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    return np.lexsort((ids, place))


def _no_classes(why: str) -> Failure:
    help = "drop `stratify`; shuffle the samples before you store them, if they are sorted"
    return Failure(Problem("E406", f"`stratify` needs one target of class labels: {why}", help=help))


def lacking(splits: Mapping[str, Split], cuts: Mapping[str, Cut], layouts: Mapping[str, TargetLayout]) -> list[str]:
    """What to say where splits that were cut from the same samples have not the same classes: they are sorted."""
    found = []
    own = [split for split, cut in cuts.items() if cut.part == "train"]
    for name, layout in layouts.items():
        seen = {split: _classes(splits[split].targets[name], layout) for split in own}
        for split, classes in seen.items():
            absent = sorted(set().union(*seen.values()) - classes)
            if absent and len(splits[split]) >= _FEW * len(classes | {*absent}):
                names = ", ".join(f"`{layout.class_names[k] if layout.class_names else k}`" for k in absent[:10])
                found.append(
                    f"warning: the {split} split has no sample of {len(absent)} of the classes of `{name}` ({names}): "
                    "the samples are sorted; `dataset: {stratify: true}` gives every split its share"
                )
    return found


def require_two_classes(train: Split, layouts: Mapping[str, TargetLayout]) -> None:
    """Raises E410 where a target of class labels is the same for all training samples."""
    for name, layout in layouts.items():
        labels = train.targets[name]
        if layout.encoding == "none" or isinstance(labels, Streamed) or len(labels) < 2:
            continue
        ids = labels.argmax(axis=-1) if layout.encoding == "one_hot" else labels
        if ids.size and (ids == ids.flat[0]).all():
            label = layout.class_names[int(ids.flat[0])] if layout.class_names else ids.flat[0]
            help = "are the samples sorted by class, and the training samples the first of them? Then "
            help += "`dataset: {stratify: true}` gives every split its share"
            raise Failure(Problem("E410", f"target `{name}` has one class only, `{label}`", help=help))


def constant(train: Split, layouts: Mapping[str, TargetLayout]) -> list[str]:
    """A number that is the same for all training samples teaches nothing."""
    found = []
    for name, layout in layouts.items():
        values = train.targets[name]
        if layout.encoding != "none" or isinstance(values, Streamed) or not values.size == len(values) > 1:
            continue
        if np.ptp(values) == 0:
            value = f"{values.flat[0]:g}"
            found.append(f"warning: target `{name}` is {value} in every training sample: are they sorted?")
    return found


def _classes(labels: Samples, layout: TargetLayout) -> set[int]:
    """The classes that occur."""
    if isinstance(labels, Streamed) or layout.classes is None or layout.classes > _MOST_CLASSES:
        return set()
    if layout.encoding == "one_hot":
        return {int(k) for k in np.flatnonzero(labels.any(axis=tuple(range(labels.ndim - 1))))}
    return set(map(int, labels.ravel().tolist()))  # np.unique imports all of numpy.ma
