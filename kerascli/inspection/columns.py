"""The columns of a table before they are encoded: what is missing, what is frequent, what gives the target away."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kerascli.columns import LONG, Column, Kind, NumericColumn, TextColumn
from kerascli.encoders import Encoder
from kerascli.inspection.facts import ColumnFacts, Numbers
from kerascli.inspection.measure import figures_of
from kerascli.ops.ir import Array
from kerascli.preprocessing import Preprocessing, TargetLayout
from kerascli.sources.arrays import spread_evenly
from kerascli.sources.base import Source
from kerascli.sources.table import Format, blocks, read_columns
from kerascli.sources.tabular import _Tabular

FREQUENT = 5
FAR = 10
"""Deviations from the mean beyond which a value is far from the others."""
FEWEST = 30
"""With fewer rows a column may tell the target by chance."""
REPEATED = 5
"""Numbers that each occur so often, on average, may stand for categories."""
FEWEST_COUNTED = 50
"""Fewer whole numbers may all be different by chance."""


def columns(source: Source, base: Path, preprocessing: Preprocessing) -> dict[str, ColumnFacts]:
    """Every column that the network reads, in order; none where the data are no table."""
    if not isinstance(source, _Tabular):
        return {}
    form, files = source.table_format(), source.files(base)
    kinds = {name: kind for name, kind in preprocessing.kinds.items() if kind.name not in LONG}
    aims = preprocessing.target_kinds
    tables = {part: read_columns(path, form, kinds | aims) for part, path in files.items()}
    cuts = source.limited(source.cuts({part: len(table) for part, table in tables.items()}))
    order = _spread([tables["train"].by_name[name] for name in aims]) if source.stratify else None
    rows = {s: order[c.rows] if order is not None and c.part == "train" else c.rows for s, c in cuts.items()}
    layout = next(iter(preprocessing.targets.values()))
    alone = len(aims) == 1 and layout.kind != "labels"
    target = tables["train"].by_name[layout.columns[0]].take(rows["train"]) if alone else None
    found = {}
    for feature in preprocessing.used:
        if feature.name in kinds:
            mine = {split: tables[cut.part].by_name[feature.name].take(rows[split]) for split, cut in cuts.items()}
            found[feature.name] = facts(feature.kind, mine, _filled(feature), _told(mine["train"], target, layout))
            continue
        long = {part: _long(path, form, feature.name, feature.reading) for part, path in files.items()}
        found[feature.name] = _long_facts(feature, {split: long[cut.part][rows[split]] for split, cut in cuts.items()})
    return found


def _spread(targets: list[Column]) -> Array:
    """The order that `stratify` gives the rows."""
    return spread_evenly({str(k): c.values if isinstance(c, NumericColumn) else c.codes for k, c in enumerate(targets)})


def _filled(feature: Encoder) -> str:
    """What stands for a missing value."""
    fill = getattr(feature, "fill", None)
    if feature.drops:
        return "dropped rows"
    if feature.kind in LONG:
        return "an empty text"
    return f"`{fill}`" if isinstance(fill, str) else f"{fill:.6g}" if fill is not None else "a value of its own"


def _long(path: Path, form: Format, name: str, kind: Kind) -> Array:
    """Of each row the number of words, -1 for none, and a hash of the text: shape (rows, 2)."""
    found = []
    for block in blocks(path, form, {name: kind}):
        column = block.by_name[name]
        assert isinstance(column, TextColumn)
        by_code = np.array([*([len(text.split()), hash(text)] for text in column.texts), [-1, 0]], np.int64)
        found.append(by_code[column.codes])
    return np.concatenate(found)


def _long_facts(feature: Encoder, splits: Mapping[str, Array]) -> ColumnFacts:
    """Of a column of texts."""
    missing = {split: int((long[:, 0] < 0).sum()) for split, long in splits.items()}
    train = splits["train"][splits["train"][:, 0] >= 0]
    distinct = len(np.unique(train[:, 1]))
    return ColumnFacts(feature.kind, missing, _filled(feature), distinct, lengths=figures_of(train[:, 0]))


def facts(kind: str, splits: Mapping[str, Column], filled: str, tells: float | None) -> ColumnFacts:
    """What is to be said of a column of numbers or categories."""
    missing = {split: int(column.missing.sum()) for split, column in splits.items()}
    train = splits["train"]
    if isinstance(train, NumericColumn):
        numbers = {
            split: figures_of(column.values[~column.missing])
            for split, column in splits.items()
            if isinstance(column, NumericColumn)
        }
        distinct = len(np.unique(train.values[~train.missing]))
        far = _far(train.values, numbers["train"])
        rows = _count_rows(train.values, distinct)
        return ColumnFacts(kind, missing, filled, distinct, numbers, tells=tells, far=far, counts_rows=rows)
    counts = np.bincount(train.codes[train.codes >= 0], minlength=len(train.texts))
    order = np.argsort(-counts, kind="stable")[:FREQUENT]
    frequent = tuple((train.texts[code], int(counts[code])) for code in order if counts[code])
    known = {text for text, count in zip(train.texts, counts, strict=True) if count}
    unseen = {
        split: _outside(column, known)
        for split, column in splits.items()
        if split != "train" and isinstance(column, TextColumn)
    }
    alike = _spellings(known)
    return ColumnFacts(kind, missing, filled, len(known), {}, frequent, unseen, tells=tells, spellings=alike)


def _outside(column: TextColumn, known: set[str]) -> int:
    new = np.array([text not in known for text in column.texts] or [False])
    return int(new[column.codes[column.codes >= 0]].sum())


def _spellings(texts: set[str]) -> tuple[str, ...]:
    """The first group of texts that differ in their case or blanks alone."""
    groups: dict[str, list[str]] = {}
    for text in sorted(texts):
        groups.setdefault("".join(text.casefold().split()), []).append(text)
    return next((tuple(group) for group in groups.values() if len(group) > 1), ())


def _count_rows(values: Array, distinct: int) -> bool:
    """Measured whole numbers that lie so close together would hardly all be different."""
    if distinct < max(len(values), FEWEST_COUNTED) or not bool((values == np.floor(values)).all()):
        return False
    return float(np.ptp(values)) < 3 * distinct


def _far(values: Array, train: Numbers) -> int:
    if not train.deviation or train.mean is None:
        return 0
    return int((np.abs(values - train.mean) > FAR * train.deviation).sum())  # NaN is not


def _told(column: Column, target: Column | None, layout: TargetLayout) -> float | None:
    """How much of the target a column alone tells: of what the most frequent class, or the mean, leaves untold."""
    if target is None:
        return None
    present = ~(column.missing | target.missing)
    if isinstance(column, NumericColumn):
        present &= np.isfinite(column.values)
    column, target = column.take(np.flatnonzero(present)), target.take(np.flatnonzero(present))
    if present.sum() < FEWEST:
        return None
    if layout.classes is not None:
        values = target.codes if isinstance(target, TextColumn) else target.values
        _, ids = np.unique(values, return_inverse=True)
        return _told_class(column, ids)
    if isinstance(column, NumericColumn) and isinstance(target, NumericColumn):
        x, y = column.values - column.values.mean(), target.values - target.values.mean()
        scale = float(np.sqrt((x @ x) * (y @ y)))
        return float((x @ y) / scale) ** 2 if scale else None
    return None


def _told_class(column: Column, ids: Array) -> float | None:
    """1 - mistakes / mistakes of the most frequent class; a text that occurs once tells nothing."""
    classes = int(ids.max()) + 1
    guessed = len(ids) - int(np.bincount(ids).max())
    if guessed < FEWEST // 6:
        return None
    values = column.codes if isinstance(column, TextColumn) else column.values
    distinct, groups = np.unique(values, return_inverse=True)
    if len(distinct) * classes > 1 << 24:
        return None
    table = np.bincount(groups * classes + ids, minlength=len(distinct) * classes).reshape(len(distinct), classes)
    best, sizes = table.max(axis=1), table.sum(axis=1)
    if isinstance(column, TextColumn):
        wrong = int((sizes - best)[sizes > 1].sum()) + int((sizes == 1).sum())
    else:
        winners = table.argmax(axis=1)
        turns = (
            int(np.count_nonzero(winners[1:] != winners[:-1])) + 1 - classes
            if len(distinct) * REPEATED > len(ids)
            else 0
        )
        wrong = int((sizes - best).sum()) + max(0, turns)
    return max(0.0, 1 - wrong / guessed)
