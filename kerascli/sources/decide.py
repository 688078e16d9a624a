"""What the columns of a table are: decided from one look over all rows, and from what the spec says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from kerascli.columns import Column, Kind, NumericColumn, TextColumn
from kerascli.dates import OF_DAYS
from kerascli.encoders import no_value
from kerascli.errors import Failure, Problem, SpecFailure
from kerascli.features import FeatureOptions
from kerascli.ops.ir import Array
from kerascli.sources.base import TargetInfo
from kerascli.sources.cells import BETWEEN_LABELS
from kerascli.sources.table import MOST_CATEGORIES, MOST_TEXTS, ColumnSurvey, Survey

LONG = 5
"""Words that a value of a column has on average, from which it is a text and no name of a category."""


def decided(name: str, options: FeatureOptions, seen: Survey) -> FeatureOptions:
    """The options with the kind and all defaults filled in; a kind that the column cannot be is a problem."""
    column = seen.columns[name]
    kind = options.kind or _kind(name, column, seen)
    where = Path(seen.name)
    if kind == "numeric" and column.other is not None:
        row, place, text = column.other
        message = f"row {row}, column `{name}`: `{text[:40]}` is not a number"
        help = f"mend it; leave the cell empty where there is no value; or take all for texts: `{name}: category`"
        raise Failure(Problem("E408", message, place, help=help))
    if kind == "category" and options.kind is None:
        require_unspoilt(name, column)
    if kind == "category" and column.texts is None:
        help = f"leave it out: `features: {{{name}: ignore}}`; or take it for a text: `features: {{{name}: text}}`"
        message = f"column `{name}` has more than {column.most_texts:,} different texts"
        raise Failure(Problem("E410", message, where, help=help))
    try:
        return options.decided(kind, (*OF_DAYS, "hour") if column.times or _has_hour(options) else OF_DAYS)
    except ValidationError as error:
        raise SpecFailure(Problem("E410", f"column `{name}`: {error.errors()[0]['msg']}")) from None


def require_unspoilt(name: str, column: ColumnSurvey) -> None:
    """Raise E408 for a column that nearly is one of numbers: nobody wants a category for each of them."""
    if column.numeric or not column.spoilt:
        return
    assert column.other is not None
    row, place, text = column.other
    found = {"commas": "with decimal commas", "thousands": "whose thousands are parted"}.get(column.spoilt)
    message = f"row {row}, column `{name}`: `{text}` is not a number, and nearly all other values are"
    help = f"mend it; leave the cell empty where there is no value; or say `features: {{{name}: category}}`"
    if found:
        message = f"column `{name}` holds numbers {found}, such as `{text}` in row {row}"
        help = 'add `decimal: ","` to the dataset'
    if column.spoilt == "thousands":
        plain = re.sub(r"\D", "", text)
        help = f"write them without, as in `{plain}`" + (f"; or, if it is a decimal comma, {help}" * ("," in text))
    raise Failure(Problem("E408", message, place, help=help))


def _has_hour(options: FeatureOptions) -> bool:
    return options.format is not None and any(sign in options.format for sign in ("%H", "%I", "%X", "%c"))


def _kind(name: str, column: ColumnSurvey, seen: Survey) -> str:
    """What the values look like; those with types must have one type."""
    if len(column.types) > 1:
        first, other = sorted(column.types, key=lambda kind: column.types[kind][0])[:2]
        row, place = column.types[other]
        message = f"row {row}, column `{name}`: {other}, and the rows before have {first}"
        help = f"mend it; or take all for texts: `features: {{{name}: category}}`; or `ignore` the column"
        raise Failure(Problem("E408", message, place, help=help))
    for kind in ("a list", "an object", "bytes"):
        if kind in column.types:
            row, place = column.types[kind]
            message = f"row {row}, column `{name}`: {kind} cannot be a feature"
            mend = (
                "write its parts as columns of their own" if kind == "an object" else "lists are read as targets only"
            )
            help = f"{mend}; or leave it out: `features: {{{name}: ignore}}`"
            raise Failure(Problem("E408", message, place, help=help))
    if column.numeric:
        return "numeric"
    if column.present and column.dates:
        return "date"
    different = seen.rows if column.texts is None else len(column.texts)
    long = column.words >= LONG * column.present and 2 * different > column.present
    return "text" if long and column.present else "category"


def target_kind(name: str, column: ColumnSurvey, between: str | None) -> Kind:
    """How a column of targets is read."""
    if between is not None or "a list" in column.types:
        return Kind("labels")
    if column.spoilt != "words":  # classes may be numbers and words
        require_unspoilt(name, column)
    return Kind("numeric" if column.numeric else "category")


def target_info(
    columns: Sequence[str], found: Mapping[str, Column], kinds: Mapping[str, Kind], seen: Survey, between: str | None
) -> TargetInfo:
    """Labels where a column holds texts or few whole numbers, several a sample where it holds lists; measured values
    otherwise. `found` are the columns in the training rows."""
    where = Path(seen.name)
    if len(columns) > 1:
        for name in columns:
            if kinds[name].name != "numeric":
                message = f"target `{name}` holds texts and cannot be part of one vector"
                raise Failure(Problem("E405", message, where, help="name an output after each target column"))
        return TargetInfo((len(columns),), "float32")
    name, column = columns[0], found[columns[0]]
    if isinstance(column, NumericColumn):
        names = _whole_numbers(column) if seen.columns[name].whole else ()
        return TargetInfo((), "int32", len(names), names) if names else TargetInfo((), "float32")
    several = kinds[name].name == "labels"
    names = _labels(column, between) if several else _texts(column)
    if not names:
        raise no_value(name)
    if len(names) > MOST_TEXTS:
        raise Failure(Problem("E410", f"target `{name}` has more than {MOST_TEXTS:,} classes", where))
    if len(names) == 1:
        help = "are the rows sorted by class, and the training rows the first of them?"
        if several and between is not None:
            help = f"is `label_separator: {between}` what stands between the labels?"
        raise Failure(Problem("E410", f"target `{name}` has one class only, `{names[0]}`", where, help=help))
    return TargetInfo((len(names),), "float32", None, names) if several else TargetInfo((), "int32", len(names), names)


def labels_of(text: str, between: str | None) -> list[str]:
    """The labels in one cell."""
    return [label for part in text.split(between or BETWEEN_LABELS) if (label := part.strip())]


def _labels(column: TextColumn, between: str | None) -> tuple[str, ...]:
    return tuple(sorted({label for text in _texts(column) for label in labels_of(text, between)}))


def _texts(column: TextColumn) -> tuple[str, ...]:
    """The texts that these rows have, sorted."""
    return tuple(sorted(column.texts[code] for code in np.unique(column.codes).tolist() if code >= 0))


def _whole_numbers(column: NumericColumn) -> tuple[str, ...]:
    """The labels of a column of few whole numbers, in order; none for a column of anything else."""
    values: Array = np.unique(column.values[~column.missing])
    return tuple(str(int(value)) for value in values) if 1 < len(values) <= MOST_CATEGORIES else ()
