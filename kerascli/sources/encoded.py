"""Rows of a table as a split: inputs and targets encoded as training had them, every fault named by its row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from kerascli.columns import LONG, Column, NumericColumn, TextColumn, Unseen
from kerascli.encoders import Encoder, Text
from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array
from kerascli.preprocessing import Preprocessing, TargetLayout
from kerascli.sources.base import Split
from kerascli.sources.decide import labels_of
from kerascli.sources.packed import Packed, Texts, Whole, pack, wide
from kerascli.sources.raw_arrays import require_rows
from kerascli.sources.rows import require_finite
from kerascli.sources.table import MOST_PROBLEMS, Columns, Format, blocks, read_columns
from kerascli.sources.targets import encode_labels, require_two


def encode_split(
    preprocessing: Preprocessing,
    table: Columns,
    rows: Array,
    unseen: Unseen,
    texts: Mapping[str, Packed],
    where: str | None,
) -> Split:
    """Inputs and targets of some rows of a table; `texts` are the features of these rows that the table has not.

    `where` tells what they are in a problem of values that are not finite; None allows those.
    """
    columns = {name: column.take(rows) for name, column in table.by_name.items()}
    targets = {name: encode_target(layout, table, columns, rows) for name, layout in preprocessing.targets.items()}
    packed: dict[str, Packed] = {
        feature.name: texts.get(feature.name) or pack(feature, columns[feature.name], unseen)
        for feature in preprocessing.used
    }
    inputs = {name: wide([packed[own] for own in layout.features]) for name, layout in preprocessing.inputs.items()}
    if where is not None:
        numbers = {name: part.values for name, part in packed.items() if isinstance(part, Whole)}
        require_finite({**numbers, **targets}, where)
    return Split(inputs, {**targets})


def pack_texts(preprocessing: Preprocessing, path: Path, form: Format, rows: Array, count: int) -> dict[str, Packed]:
    """The features that are long texts, of these rows out of `count`; no more than some thousand are in memory."""
    features = [feature for feature in preprocessing.used if feature.reading.name in LONG]
    if not features:
        return {}
    found = {f.name: Texts(f.encoder if isinstance(f, Text) else None) for f in features}
    wanted = np.zeros(count, bool)
    wanted[rows] = True
    for block in blocks(path, form, {feature.name: feature.reading for feature in features}):
        chosen = np.flatnonzero(wanted[block.first : block.first + len(block)])
        for name, texts in found.items():
            column = block.by_name[name]
            assert isinstance(column, TextColumn)
            texts.add([column.texts[code] if code >= 0 else "" for code in column.codes[chosen].tolist()])
    order = np.empty(len(rows), np.int64)
    order[np.argsort(rows)] = np.arange(len(rows))
    for texts in found.values():
        texts.finish(order)
    return {**found}


def split_of_table(preprocessing: Preprocessing, path: Path, form: Format, unseen: Unseen, where: str | None) -> Split:
    """All rows of a table that has targets."""
    short = {name: kind for name, kind in preprocessing.kinds.items() if kind.name not in LONG}
    table = read_columns(path, form, short | preprocessing.target_kinds)
    require_rows(len(table), path)
    require_kept([feature for feature in preprocessing.used if feature.name in short], table)
    long = [feature for feature in preprocessing.used if feature.drops and feature.name not in short]
    for block in blocks(path, form, {feature.name: feature.reading for feature in long}) if long else ():
        require_kept(long, block)
    every = np.arange(len(table))
    texts = pack_texts(preprocessing, path, form, every, len(table))
    return encode_split(preprocessing, table, every, unseen, texts, where)


def encode_target(layout: TargetLayout, table: Columns, columns: Mapping[str, Column], rows: Array) -> Array:
    """The target of the rows whose columns are given; `rows` are their places in the table."""
    _require_values(layout, table, columns, rows)
    what = f"column `{layout.columns[0]}`"
    chosen = [columns[name] for name in layout.columns]
    numbers = [column.values for column in chosen if isinstance(column, NumericColumn)]
    if isinstance(chosen[0], TextColumn) and layout.kind == "labels":
        return encode_labels(_several(layout, table, chosen[0], rows, what), layout.encoding, None, (), what)
    if layout.classes is None or (layout.encoding == "none" and numbers):
        values = np.stack(numbers, axis=1) if len(numbers) > 1 else numbers[0]
        return encode_labels(values, layout.encoding, None, (), what)
    ids = layout.ids(chosen[0])
    _require_known(layout, table, rows, what, {row: _label(chosen[0], row) for row in np.flatnonzero(ids < 0).tolist()})
    if layout.encoding == "none":
        require_two(layout.class_names, what)
    return encode_labels(ids, layout.encoding, layout.classes, (), what)


def _several(layout: TargetLayout, table: Columns, column: TextColumn, rows: Array, what: str) -> Array:
    """Shapes: (n,) → (n, classes): 1 for each label that a cell has. Each distinct cell is looked at once."""
    places = {name: place for place, name in enumerate(layout.class_names)}
    by_code = np.zeros((len(column.texts), len(places)), np.float32)
    unknown: dict[int, str] = {}
    for code in np.unique(column.codes).tolist():
        for label in labels_of(column.texts[code], layout.separator):
            if label in places:
                by_code[code, places[label]] = 1
            else:
                unknown[int(np.argmax(column.codes == code))] = label
    _require_known(layout, table, rows, what, unknown)
    found: Array = by_code[column.codes]
    return found


def _require_values(layout: TargetLayout, table: Columns, columns: Mapping[str, Column], rows: Array) -> None:
    problems = [
        Problem(
            "E408",
            f"row {table.number(rows[row])}, column `{name}`: the target is missing",
            table.place(rows[row]),
            help="a sample without target cannot teach: remove the row",
        )
        for name in layout.columns
        for row in np.flatnonzero(columns[name].missing)[:MOST_PROBLEMS]
    ]
    if problems:
        raise Failure(problems)


def _require_known(layout: TargetLayout, table: Columns, rows: Array, what: str, unknown: Mapping[int, str]) -> None:
    """`unknown` are the labels that training never showed, by their place in `rows`."""
    problems = [
        Problem(
            "E405",
            f"row {table.number(rows[row])}, {what}: `{label[:40]}` is no class of the training rows",
            table.place(rows[row]),
            help=f"the classes are {', '.join(layout.class_names[:20])}",
        )
        for row, label in sorted(unknown.items())[:MOST_PROBLEMS]
    ]
    if problems:
        raise Failure(problems)


def _label(column: Column, row: int) -> str:
    return column.texts[column.codes[row]] if isinstance(column, TextColumn) else f"{column.values[row]:g}"


def require_kept(features: Iterable[Encoder], table: Columns) -> None:
    """A row that training would have dropped cannot be predicted: say which."""
    problems = [
        Problem(
            "E408",
            f"row {table.number(row)}, column `{feature.name}`: the value is missing",
            table.place(row),
            help="this feature was trained with `missing: drop`",
        )
        for feature in features
        if feature.drops
        for row in np.flatnonzero(table.by_name[feature.name].missing)[:MOST_PROBLEMS]
    ]
    if problems:
        raise Failure(problems)


def describe_unseen(unseen: Unseen) -> list[str]:
    """A sentence for each feature that had values that training never showed."""
    return [
        f"column `{name}`: {total} {'value' if total == 1 else 'values'} that training never showed ("
        + ", ".join(f"`{text[:40]}` {count}×" for text, count in counts.most_common(5))
        + ")"
        for name, counts in unseen.items()
        if (total := sum(counts.values()))
    ]
