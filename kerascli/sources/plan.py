"""What a table is to the network: found in one pass over its rows, and from the columns that are no long texts."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kerascli.columns import LONG, Column, Kind, NumericColumn, TextColumn
from kerascli.encoders import Category, Date, Encoder, Numeric, Raw
from kerascli.errors import Failure, Problem, Span
from kerascli.features import FeatureOptions
from kerascli.ops.ir import Array
from kerascli.sources.arrays import spread_evenly
from kerascli.sources.base import Cut, InputInfo, TargetInfo, did_you_mean
from kerascli.sources.decide import decided, target_info, target_kind
from kerascli.sources.layout import Names, input_layout, raw_features, target_layout
from kerascli.sources.table import MOST_PROBLEMS, Columns, Format, Survey, blocks, read_columns, survey

_known: dict[Hashable, Any] = {}
"""What was read of files to make plans, until the data are loaded: what `check` has read, training need not."""
Read = TypeVar("Read")


def _once(path: Path, read: Callable[[], Read], *about: Hashable) -> Read:
    """What `read` gives, as long as the file stays as it is."""
    stat = path.stat() if path.exists() else None
    key = (path, stat and (stat.st_mtime_ns, stat.st_size), *about)
    if key not in _known:
        _known[key] = read()
    found: Read = _known[key]
    return found


def forget() -> None:
    """Data are about to be loaded: let go of what plans have read."""
    _known.clear()


@dataclass(frozen=True)
class Wishes:
    """What the spec says of a table, and what the network asks of it."""

    files: dict[str, Path]
    form: Format
    features: Mapping[str, FeatureOptions]
    targets: tuple[str, ...]
    labels_between: str | None
    cuts: Callable[[Mapping[str, int]], dict[str, Cut]]
    stratify: bool
    allow_nan: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    raw: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """All that is known before texts and the tables of the other splits are read."""

    wishes: Wishes
    cuts: dict[str, Cut]
    features: dict[str, FeatureOptions]
    """In column order, every kind decided; those that stand as they are have none."""
    readings: dict[str, Kind]
    """Of all columns but texts."""
    table: Columns
    """That of the train split, texts left out."""
    rows: dict[str, Array]
    """Of each split that is cut from it, before `limit`: encoders are fitted on all training rows, so that shapes do
    not depend on it."""
    encoders: dict[str, Encoder]
    """Of the features that are no texts."""
    inputs: Names
    targets: Names
    infos: dict[str, TargetInfo]
    notes: tuple[str, ...]

    @property
    def texts(self) -> dict[str, FeatureOptions]:
        """The features whose vocabulary is still to be learnt."""
        return {name: options for name, options in self.features.items() if options.kind == "text"}

    @property
    def samples(self) -> dict[str, InputInfo]:
        """One sample of each feature."""
        return {name: _sample(options, self.encoders.get(name)) for name, options in self.features.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Samples of each split; of a file of its own as many as it has rows."""
        return {name: len(self.rows[name]) if name in self.rows else c.stop - c.start for name, c in self.cuts.items()}


def make_plan(wishes: Wishes) -> Plan:
    """Look the files over, decide, and fit what needs no texts."""
    files, given, between = wishes.files, wishes.features, wishes.labels_between
    if "train" not in files:
        raise Failure(Problem("E406", "`path` names no file for the train split"))
    declared = {name for name, options in given.items() if options.kind == "category"}
    seen = {part: _surveyed(path, wishes.form, frozenset({*wishes.targets, *declared})) for part, path in files.items()}
    train = seen["train"]
    cuts = wishes.cuts({part: each.rows for part, each in seen.items()})
    _require_columns(seen, [*wishes.targets, *given])
    inputs = input_layout(_chosen(wishes, train), wishes.inputs)
    targets = target_layout(wishes.targets, wishes.outputs)
    features, raw = _features(inputs, wishes, train)
    goals = {name: target_kind(name, train.columns[name], between) for columns in targets.values() for name in columns}
    readings = {name: raw[name].reading if name in raw else _reading(options) for name, options in features.items()}
    readings = {name: kind for name, kind in readings.items() if kind.name not in LONG} | goals
    table = _columns(files["train"], wishes.form, readings)
    order = _spread(table, goals) if wishes.stratify else np.arange(len(table))
    own = {split: order[cut.rows] for split, cut in cuts.items() if cut.part == "train"}
    rows, dropped = _kept(wishes, "train", table, own, features)
    first = {name: column.take(rows["train"]) for name, column in table.by_name.items()}
    infos = {name: target_info(columns, first, goals, train, between) for name, columns in targets.items()}
    encoders = {
        name: raw.get(name) or _fit(name, options, first[name])
        for name, options in features.items()
        if name in raw or name in first
    }
    notes = (*_shown(files, seen, features, encoders), *_constant(goals, first), *_lists(infos), *dropped)
    return Plan(wishes, cuts, features, readings, table, rows, encoders, inputs, targets, infos, notes)


@dataclass(frozen=True)
class Whole:
    """The tables of all splits."""

    tables: dict[str, Columns]
    rows: dict[str, Array]
    """Of each split, by their places in its table."""
    notes: tuple[str, ...]


def read_further(plan: Plan) -> Whole:
    """The tables of splits that have files of their own too."""
    wishes, tables, rows, notes = plan.wishes, {"train": plan.table}, dict(plan.rows), list(plan.notes)
    for part, path in wishes.files.items():
        if part != "train":
            tables[part] = read_columns(path, wishes.form, plan.readings)
            every = {part: np.arange(len(tables[part]))}
            kept, dropped = _kept(wishes, part, tables[part], every, plan.features)
            rows |= kept
            notes += dropped
    if not wishes.allow_nan:
        for table in tables.values():
            _require_finite(table)
    return Whole(tables, {split: rows[split] for split in plan.cuts}, tuple(notes))


def _surveyed(path: Path, form: Format, generous: frozenset[str]) -> Survey:
    return _once(path, lambda: survey(path, form, generous), form, generous)


def _columns(path: Path, form: Format, kinds: Mapping[str, Kind]) -> Columns:
    return _once(path, lambda: read_columns(path, form, kinds), form, tuple(kinds.items()))


def _chosen(wishes: Wishes, seen: Survey) -> list[str]:
    """The columns to use, in their order."""
    ignored = {name for name, each in wishes.features.items() if each.kind == "ignore"} | set(wishes.targets)
    listed = [name for name in seen.columns if name in wishes.features and name not in ignored]
    chosen = listed or [name for name in seen.columns if name not in ignored]
    if not chosen:
        raise Failure(Problem("E409", f"`{seen.name}` has no column left to learn from", Path(seen.name)))
    return chosen


def _features(inputs: Names, wishes: Wishes, seen: Survey) -> tuple[dict[str, FeatureOptions], dict[str, Raw]]:
    """The columns that inputs need, in their order, and those of them that stay as they are."""
    raw = raw_features(inputs, wishes.raw, wishes.features, seen)
    used = {name for names in inputs.values() for name in names}
    given = {name: wishes.features.get(name, FeatureOptions()) for name in seen.columns if name in used}
    return {name: each if name in raw else decided(name, each, seen) for name, each in given.items()}, raw


def _reading(options: FeatureOptions) -> Kind:
    assert options.kind is not None and options.kind != "ignore"
    return Kind(options.kind, options.format)


def _fit(name: str, options: FeatureOptions, column: Column) -> Encoder:
    if isinstance(column, TextColumn):
        return Category.fit(name, options, column)
    return (Date if options.kind == "date" else Numeric).fit(name, options, column)


def _sample(options: FeatureOptions, encoder: Encoder | None) -> InputInfo:
    if encoder is None:
        texts = options.text()
        return InputInfo((texts.width,), texts.dtype)
    return InputInfo((encoder.width,), encoder.dtype if isinstance(encoder, Category | Raw) else "float32")


def _kept(
    wishes: Wishes, part: str, table: Columns, rows: Mapping[str, Array], features: Mapping[str, FeatureOptions]
) -> tuple[dict[str, Array], list[str]]:
    """The rows of each split that `missing: drop` leaves, and what to say of the others."""
    dropping = [name for name, options in features.items() if options.missing == "drop"]
    if not dropping:
        return dict(rows), []
    missing, found, notes = _missing(wishes, part, table, dropping, features), {}, []
    for split, chosen in rows.items():
        found[split] = chosen[~missing[chosen]]
        if left := len(chosen) - len(found[split]):
            notes.append(f"{left} of {len(chosen)} rows of the {split} split dropped for missing values")
        if not len(found[split]):
            message = f"every row of the {split} split has a missing value"
            help = "fill missing values instead of `missing: drop`"
            raise Failure(Problem("E406", message, wishes.files[part], help=help))
    return found, notes


def _missing(
    wishes: Wishes, part: str, table: Columns, names: Iterable[str], features: Mapping[str, FeatureOptions]
) -> Array:
    """Which rows lack a value in one of these columns."""
    found = np.zeros(len(table), bool)
    for name in names:
        if features[name].kind != "text":
            found |= table.by_name[name].missing
            continue
        for block in blocks(wishes.files[part], wishes.form, {name: Kind("text")}):
            found[block.first : block.first + len(block)] |= block.by_name[name].missing
    return found


def _spread(table: Columns, goals: Iterable[str]) -> Array:
    columns = {name: table.by_name[name] for name in goals}
    return spread_evenly({name: c.values if isinstance(c, NumericColumn) else c.codes for name, c in columns.items()})


def _shown(
    files: Mapping[str, Path],
    seen: Mapping[str, Survey],
    features: Mapping[str, FeatureOptions],
    encoders: Mapping[str, Encoder],
) -> list[str]:
    """How the files were read, and what the columns were taken for."""
    found = list(dict.fromkeys(f"`{files[part].name}`: {each.shown}" for part, each in seen.items() if each.shown))
    by_kind: dict[str, list[str]] = {}
    for name, options in features.items():
        encoder = encoders.get(name)
        count = f" ({len(encoder.categories)})" if isinstance(encoder, Category) else ""
        by_kind.setdefault(options.kind or "as it stands", []).append(f"{name}{count}")
    kinds = "; ".join(f"{kind}: {', '.join(names[:20])}{' …' * (len(names) > 20)}" for kind, names in by_kind.items())
    return [*found, kinds]


def _constant(goals: Iterable[str], first: Mapping[str, Column]) -> list[str]:
    """A number that is the same in all training rows teaches nothing."""
    columns = [(name, first[name]) for name in goals]
    return [
        f"warning: target `{name}` is {column.values[0]:g} in every training row: are the rows sorted?"
        for name, column in columns
        if isinstance(column, NumericColumn) and np.ptp(column.values) == 0
    ]


def _lists(infos: Mapping[str, TargetInfo]) -> list[str]:
    """Classes that are made of the names of others are lists of labels, perhaps."""
    found = []
    for target, info in infos.items():
        names = set(info.class_names) if info.classes else set()
        for sign in (";", "|", ","):
            joined = [name for name in names if sign in name and {part.strip() for part in name.split(sign)} <= names]
            if joined:
                mend = f'`dataset: {{label_separator: "{sign}"}}`'
                found.append(
                    f"target `{target}` has classes such as `{min(joined)}`: for several labels a row say {mend}"
                )
    return found


def _require_columns(surveys: Mapping[str, Survey], names: Iterable[str]) -> None:
    """Every file must have the named columns, and those that the training file has."""
    problems = []
    for split, seen in surveys.items():
        further = surveys["train"].columns if split != "train" and seen.headed else ()
        wanted = list(dict.fromkeys([*names, *further]))
        have = ", ".join(f"`{name}`" for name in list(seen.columns)[:20])
        problems += [
            Problem(
                "E409",
                f"there is no column `{name}` in the {split} table",
                Span(seen.name, 1, 1),
                label=did_you_mean(name, seen.columns),
                help=f"the columns are {have}",
            )
            for name in wanted
            if name not in seen.columns
        ]
    if problems:
        raise Failure(problems)


def _require_finite(table: Columns) -> None:
    """Raises E404 for infinities in the text; NaN is a missing value there."""
    problems = []
    for name, column in table.by_name.items():
        if isinstance(column, NumericColumn):
            problems += [
                Problem(
                    "E404",
                    f"row {row + 1}, column `{name}`: {column.values[row]}",
                    table.place(row),
                    help="mend the data, or allow it: `dataset: {allow_nan: true}`",
                )
                for row in np.flatnonzero(np.isinf(column.values))[:MOST_PROBLEMS]
            ]
    if problems:
        raise Failure(problems)
