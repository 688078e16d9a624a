"""Sources that are tables: kinds inferred in one pass over the text, encoders fitted on the training rows alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from kerascli.errors import Failure, Problem, Span, SpecFailure
from kerascli.preprocessing import (
    Array,
    Category,
    Column,
    FeatureOptions,
    Features,
    InputLayout,
    Numeric,
    NumericColumn,
    Preprocessing,
    Raw,
    TargetLayout,
    TextColumn,
    Unseen,
    no_value,
)
from kerascli.sources.base import (
    Cut,
    Dataset,
    InputInfo,
    Signature,
    Source,
    Split,
    TargetInfo,
    did_you_mean,
    digest_of_files,
)
from kerascli.sources.layout import Names, input_layout, raw_features, target_layout
from kerascli.sources.rows import require_finite
from kerascli.sources.table import MOST_CATEGORIES, Columns, ColumnSurvey, Format, Survey, read_columns, survey
from kerascli.sources.targets import encode_labels, require_two, resolve_encoding

_MOST_PROBLEMS = 10


@dataclass(frozen=True)
class _Plan:
    """All that one pass over the text decides."""

    files: dict[str, Path]
    cuts: dict[str, Cut]
    """Before `limit`: encoders are fitted on all training rows, so that shapes do not depend on it."""
    features: dict[str, FeatureOptions]
    """In column order, every kind decided."""
    categories: dict[str, tuple[str, ...]]
    raw: dict[str, Raw]
    """The features that are not encoded."""
    inputs: Names
    targets: Names
    infos: dict[str, TargetInfo]
    target_kinds: dict[str, str]

    def sample(self, features: Sequence[str]) -> InputInfo:
        width = sum(len(self.categories[name]) + 1 if name in self.categories else 1 for name in features)
        return InputInfo((width,), self.raw[features[0]].dtype if features[0] in self.raw else "float32")


class _Tabular(Source):
    """A source whose samples are rows of a table."""

    features: Features | None = None
    """The columns to use and how: `{age: {kind: numeric, missing: mean, scale: standard}, sex: category}`, or a list of
    names. By default every column but the target, its kind inferred; a mapping that only ignores columns
    (`{id: ignore}`) takes all others. They form one vector in column order, categories one-hot, unless the network's
    inputs are named after them. A category has one place more than the training rows have values: it stands for
    values that they never showed, and is there even if there are none."""

    def files(self, base: Path) -> dict[str, Path]:
        """The file of each split."""
        raise NotImplementedError

    def target_columns(self) -> Sequence[str]:
        raise NotImplementedError

    def text_format(self) -> Format:
        raise NotImplementedError

    def peek(
        self, base: Path, inputs: Sequence[str] = (), outputs: Sequence[str] = (), raw: Mapping[str, str] = {}
    ) -> Signature:
        plan = self._plan(base, inputs, outputs, raw)
        found = {name: plan.sample(features) for name, features in plan.inputs.items()}
        return Signature(found, plan.infos, self.sizes(plan.cuts))

    def load(
        self,
        base: Path,
        seed: int,
        encoding: Mapping[str, str] | None = None,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        raw: Mapping[str, str] = {},
    ) -> Dataset:
        plan = self._plan(base, inputs, outputs, raw)
        kinds = {name: str(options.kind) for name, options in plan.features.items()}
        kinds |= {name: feature.kind for name, feature in plan.raw.items()}
        tables = {
            part: read_columns(path, self.text_format(), kinds | plan.target_kinds) for part, path in plan.files.items()
        }
        if not self.allow_nan:
            for table in tables.values():
                _require_finite(table)
        rows, notes = self._rows(plan, tables)
        train = {name: column.take(rows["train"]) for name, column in tables[plan.cuts["train"].part].by_name.items()}
        preprocessing = Preprocessing(
            decimal=self.text_format().decimal,
            features=tuple(_fit(name, plan, train[name]) for name in kinds),
            inputs={
                name: InputLayout(shape=sample.shape, dtype=sample.dtype, features=features)
                for name, features in plan.inputs.items()
                if (sample := plan.sample(features))
            },
            targets={
                name: TargetLayout(
                    columns=columns,
                    encoding=resolve_encoding(self.encoding_of(name, encoding), plan.infos[name].classes),
                    classes=plan.infos[name].classes,
                    class_names=plan.infos[name].class_names,
                )
                for name, columns in plan.targets.items()
            },
        )
        splits: dict[str, Split] = {}
        unseen: Unseen = {}
        for split, chosen in rows.items():
            table = tables[plan.cuts[split].part]
            splits[split] = encode_split(preprocessing, table, chosen[: self.limit], unseen)
            if not self.allow_nan:
                require_finite({**splits[split].inputs, **splits[split].targets}, f"the {split} split")
        return Dataset(
            splits["train"],
            splits.get("validation"),
            splits.get("test"),
            preprocessing,
            digest_of_files(plan.files.values()),
            (*notes, *describe_unseen(unseen)),
        )

    def _plan(self, base: Path, inputs: Sequence[str], outputs: Sequence[str], asked: Mapping[str, str]) -> _Plan:
        files, targets = self.files(base), tuple(self.target_columns())
        declared = {name for name, options in (self.features or {}).items() if options.kind == "category"}
        surveys = {
            split: survey(path, self.text_format(), frozenset({*targets, *declared})) for split, path in files.items()
        }
        seen = surveys.get("train")
        if seen is None:
            raise Failure(Problem("E406", "`path` names no file for the train split"))
        cuts = self.cuts({split: each.rows for split, each in surveys.items()})
        _require_columns(surveys, [*targets, *(self.features or {})])
        layout = input_layout(self._columns(seen, targets), inputs)
        raw = raw_features(layout, asked, self.features or {}, seen)
        used = {name for names in layout.values() for name in names if name not in raw}
        given = self.features or {}
        features = {
            name: _decided(name, given.get(name, FeatureOptions()), seen) for name in seen.columns if name in used
        }
        stop = cuts["train"].stop
        categories = {
            name: _texts_before(stop, name, seen) for name, options in features.items() if options.kind == "category"
        }
        aims = target_layout(targets, outputs)
        infos = {name: _target_info(columns, seen, stop) for name, columns in aims.items()}
        kinds = {
            name: "numeric" if seen.columns[name].numeric else "category"
            for columns in aims.values()
            for name in columns
        }
        return _Plan(files, cuts, features, categories, raw, layout, aims, infos, kinds)

    def _columns(self, seen: Survey, targets: Sequence[str]) -> dict[str, ColumnSurvey]:
        """The columns to use, in their order."""
        options = self.features or {}
        ignored = {name for name, each in options.items() if each.kind == "ignore"} | set(targets)
        listed = [name for name in seen.columns if name in options and name not in ignored]
        chosen = listed or [name for name in seen.columns if name not in ignored]
        if not chosen:
            raise Failure(Problem("E409", f"`{seen.name}` has no column left to learn from", Path(seen.name)))
        return {name: seen.columns[name] for name in chosen}

    def _rows(self, plan: _Plan, tables: Mapping[str, Columns]) -> tuple[dict[str, Array], list[str]]:
        """The rows of each split that `missing: drop` leaves, and what to say of the others."""
        dropping = [name for name, options in plan.features.items() if options.missing == "drop"]
        rows, notes = {}, []
        for split, cut in plan.cuts.items():
            columns = tables[cut.part].by_name
            chosen = np.arange(cut.start, cut.stop)
            for name in dropping:
                if name in columns:
                    chosen = chosen[~columns[name].missing[chosen]]
            if left := cut.stop - cut.start - len(chosen):
                notes.append(f"{left} of {cut.stop - cut.start} rows of the {split} split dropped for missing values")
            if not len(chosen):
                message = f"every row of the {split} split has a missing value"
                help = "fill missing values instead of `missing: drop`"
                raise Failure(Problem("E406", message, plan.files[cut.part], help=help))
            rows[split] = chosen
        return rows, notes


def encode_split(preprocessing: Preprocessing, table: Columns, rows: Array, unseen: Unseen) -> Split:
    """Inputs and targets of some rows of a table; faults are named by row, line and column."""
    columns = {name: column.take(rows) for name, column in table.by_name.items()}
    targets = {name: _encode_target(layout, table, columns, rows) for name, layout in preprocessing.targets.items()}
    return Split(preprocessing.encode(columns, unseen), targets)


def describe_unseen(unseen: Unseen) -> list[str]:
    """A sentence for each feature that had values that training never showed."""
    return [
        f"column `{name}`: {sum(counts.values())} values that training never showed ("
        + ", ".join(f"`{text[:40]}` {count}×" for text, count in counts.most_common(5))
        + ")"
        for name, counts in unseen.items()
    ]


def _encode_target(layout: TargetLayout, table: Columns, columns: Mapping[str, Column], rows: Array) -> Array:
    problems = [
        Problem(
            "E408",
            f"row {rows[row] + 1}, column `{name}`: the target is missing",
            table.place(rows[row]),
            help="a sample without target cannot teach: remove the row",
        )
        for name in layout.columns
        for row in np.flatnonzero(columns[name].missing)[:_MOST_PROBLEMS]
    ]
    if problems:
        raise Failure(problems)
    what = f"column `{layout.columns[0]}`"
    chosen = [columns[name] for name in layout.columns]
    numbers = [column.values for column in chosen if isinstance(column, NumericColumn)]
    if layout.encoding == "none" and len(numbers) == len(chosen):
        return (np.stack(numbers, axis=1) if len(numbers) > 1 else numbers[0]).astype(np.float32)
    if layout.classes is None:
        values = np.stack(numbers, axis=1) if len(numbers) > 1 else numbers[0]
        return encode_labels(values, layout.encoding, None, (), what)
    ids = layout.ids(chosen[0])
    unknown = [
        Problem(
            "E405",
            f"row {rows[row] + 1}, {what}: `{_label(chosen[0], row)}` is no class of the training rows",
            table.place(rows[row]),
            help=f"the classes are {', '.join(layout.class_names[:20])}",
        )
        for row in np.flatnonzero(ids < 0)[:_MOST_PROBLEMS]
    ]
    if unknown:
        raise Failure(unknown)
    if layout.encoding == "none":
        require_two(layout.class_names, what)
    return encode_labels(ids, layout.encoding, layout.classes, (), what)


def _label(column: Column, row: int) -> str:
    return column.texts[column.codes[row]][:40] if isinstance(column, TextColumn) else f"{column.values[row]:g}"


def _decided(name: str, options: FeatureOptions, seen: Survey) -> FeatureOptions:
    """The options with the kind filled in; a kind that the column cannot be is a problem."""
    column = seen.columns[name]
    kind = options.kind or ("numeric" if column.numeric else "category")
    if kind == "numeric" and column.text_row is not None:
        row, line, text = column.text_row
        raise Failure(
            Problem("E408", f"row {row}, column `{name}`: `{text[:40]}` is not a number", Span(seen.name, line, 1))
        )
    if kind == "category" and options.kind is None and column.comma_decimals:
        raise Failure(
            Problem(
                "E408",
                f"column `{name}` holds numbers with decimal commas",
                Path(seen.name),
                help='say so: `decimal: ","`',
            )
        )
    if kind == "category" and column.texts is None:
        raise Failure(
            Problem(
                "E410",
                f"column `{name}` has more than {column.most_texts:,} different texts",
                Path(seen.name),
                help=f"leave it out: `features: {{{name}: ignore}}`; or read it as text, with TextVectorization after "
                f"`{{type: Input, name: {name}, dtype: string}}`",
            )
        )
    try:
        return FeatureOptions.model_validate({**options.model_dump(exclude_unset=True), "kind": kind})
    except ValidationError as error:
        raise SpecFailure(Problem("E410", f"column `{name}`: {error.errors()[0]['msg']}")) from None


def _texts_before(stop: int, name: str, seen: Survey) -> tuple[str, ...]:
    """The texts that the training rows have, sorted."""
    texts = tuple(sorted(text for text, row in (seen.columns[name].texts or {}).items() if row < stop))
    if not texts:
        raise no_value(name)
    return texts


def _target_info(columns: Sequence[str], seen: Survey, stop: int) -> TargetInfo:
    """Labels where the column holds texts or few whole numbers; measured values otherwise."""
    surveys = [seen.columns[name] for name in columns]
    texts = [name for name, column in zip(columns, surveys, strict=True) if not column.numeric]
    if len(columns) > 1:
        if texts:
            raise Failure(
                Problem(
                    "E405",
                    f"target `{texts[0]}` holds texts and cannot be part of one vector",
                    Path(seen.name),
                    help="name an output after each target column",
                )
            )
        return TargetInfo((len(columns),), "float32")
    column = surveys[0]
    if texts and column.texts is None:
        raise Failure(
            Problem("E410", f"target `{texts[0]}` has more than {column.most_texts:,} classes", Path(seen.name))
        )
    if texts:
        names = _texts_before(stop, texts[0], seen)
        if len(names) == 1:
            raise Failure(
                Problem(
                    "E410",
                    f"target `{texts[0]}` has one class only, `{names[0]}`",
                    Path(seen.name),
                    help="are the rows sorted by class, and the training rows the first of them?",
                )
            )
        return TargetInfo((), "int32", len(names), names)
    names = _whole_numbers(column, stop)
    return TargetInfo((), "int32", len(names), names) if names else TargetInfo((), "float32")


def _whole_numbers(column: ColumnSurvey, stop: int) -> tuple[str, ...]:
    """The labels of a column of few whole numbers, in order; none for a column of anything else."""
    if not column.whole or column.texts is None:
        return ()
    values = {int(float(text.replace(",", "."))) for text, row in column.texts.items() if row < stop}
    return tuple(map(str, sorted(values))) if 1 < len(values) <= MOST_CATEGORIES else ()


def _fit(name: str, plan: _Plan, column: Column) -> Numeric | Category | Raw:
    if name in plan.raw:
        return plan.raw[name]
    options = plan.features[name]
    if isinstance(column, NumericColumn):
        return Numeric.fit(name, options, column)
    return Category.fit(name, options, column, plan.categories[name])


def _require_columns(surveys: Mapping[str, Survey], names: Sequence[str]) -> None:
    """Every file must have the named columns, and those that the training file has."""
    problems = []
    for split, seen in surveys.items():
        wanted = list(dict.fromkeys([*names, *(surveys["train"].columns if split != "train" else ())]))
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
                for row in np.flatnonzero(np.isinf(column.values))[:_MOST_PROBLEMS]
            ]
    if problems:
        raise Failure(problems)
