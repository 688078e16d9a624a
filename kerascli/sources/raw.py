"""Raw samples for prediction and evaluation, brought into the form that the network was trained on."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.preprocessing import Array, InputLayout, Preprocessing, TargetLayout, Unseen
from kerascli.sources.base import InputInfo, Source, Split
from kerascli.sources.lines import only_text, open_lines
from kerascli.sources.npz import open_archive
from kerascli.sources.rows import require_finite, served, served_dtype
from kerascli.sources.table import Columns, Format, TableText, gather, numbers, open_table, read_table
from kerascli.sources.tabular import _Tabular, describe_unseen, encode_split
from kerascli.sources.targets import encode_labels

_ROWS = 4096
_TABLES = (".csv", ".tsv", ".txt")
Arrays = dict[str, Array]


def read_inputs(
    paths: Sequence[str],
    preprocessing: Preprocessing,
    specs: Mapping[str, InputInfo],
    allow_nan: bool = False,
    say: Callable[[str], None] = lambda text: None,
    stdin: TextIO | None = None,
) -> Iterator[Arrays]:
    """Blocks of samples, in order, each with an array for every input.

    `.npy`: the samples of a single input. `.npz`: arrays named after the inputs (one alone may have any name). `.csv`,
    `.tsv`, `.txt` and `-` (standard input): the columns of the training table without its target, or, where training
    had arrays, rows of numbers; for a network that reads one text a sample `.txt` and `-` may hold a text a line. `say`
    is told of values that training never showed.
    """
    unseen: Unseen = {}
    specs = _under_trained_names(specs, preprocessing)
    for path in paths:
        first = 0
        blocks = _blocks(path, preprocessing, specs, unseen, stdin or sys.stdin)
        while block := _next(blocks, path):
            if not allow_nan:
                require_finite(block, f"`{path}`", first)
            first += len(next(iter(block.values())))
            yield block
    for sentence in describe_unseen(unseen):
        say(sentence)


def _next(blocks: Iterator[Arrays], path: str) -> Arrays | None:
    """The next block, if there is one; a problem that has no place gets the file's."""
    try:
        return next(blocks, None)
    except Failure as failure:
        placed = [dataclasses.replace(p, where=p.where or Path(path)) for p in failure.problems]
        raise Failure(placed, failure.exit_code) from failure


def read_split(
    path: Path, preprocessing: Preprocessing, specs: Mapping[str, InputInfo], allow_nan: bool = False
) -> tuple[Split, list[str]]:
    """Samples with their targets from a file, and what is to be said of them: a table like the one trained on, or an
    .npz with `x` and `y` (or `x_test` and `y_test`, or arrays named after inputs and targets)."""
    specs = _under_trained_names(specs, preprocessing)
    unseen: Unseen = {}
    if path.suffix.lower() in _TABLES and preprocessing.features:
        split = _split_of_table(path, Format(decimal=preprocessing.decimal), preprocessing, unseen)
    elif path.suffix.lower() == ".npz":
        split = _split_of_archive(path, preprocessing, specs)
    else:
        raise Failure(
            Problem(
                "E402",
                f"cannot take samples and targets from `{path}`",
                path,
                help="give a table like the one trained on, or an .npz with `x` and `y`",
            )
        )
    if not allow_nan:
        require_finite({**split.inputs, **split.targets}, f"`{path}`")
    return split, describe_unseen(unseen)


def read_source(
    source: Source, base: Path, seed: int, preprocessing: Preprocessing, specs: Mapping[str, InputInfo]
) -> tuple[dict[str, Split], list[str]]:
    """The splits of another dataset, encoded as the training's own were and not by their own statistics, and what is to
    be said of them."""
    specs = _under_trained_names(specs, preprocessing)
    if isinstance(source, _Tabular) and preprocessing.features:
        unseen: Unseen = {}
        parts = {
            part: _split_of_table(path, source.text_format(), preprocessing, unseen)
            for part, path in source.files(base).items()
        }
        cuts = source.limited(source.cuts({part: len(split) for part, split in parts.items()}))
        splits = {name: _rows_of(parts[cut.part], cut.rows) for name, cut in cuts.items()}
        if not source.allow_nan:
            for name, split in splits.items():
                require_finite({**split.inputs, **split.targets}, f"the {name} split")
        return splits, describe_unseen(unseen)
    encoding = {name: layout.encoding for name, layout in preprocessing.targets.items()}
    data = source.load(base, seed, encoding, list(preprocessing.inputs), list(preprocessing.targets))
    _require_alike(data.preprocessing, preprocessing)
    found = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: split for name, split in found.items() if split is not None}, list(data.notes)


def _split_of_table(path: Path, form: Format, preprocessing: Preprocessing, unseen: Unseen) -> Split:
    """All rows of a table that has targets."""
    kinds = preprocessing.kinds | {
        column: layout.kind for layout in preprocessing.targets.values() for column in layout.columns
    }
    with open_table(path, form) as table:
        columns = gather(table, kinds)
    _require_rows(len(columns.lines), path)
    _require_kept(preprocessing, columns, 0)
    return encode_split(preprocessing, columns, np.arange(len(columns.lines)), unseen)


def _rows_of(split: Split, rows: slice) -> Split:
    inputs = {name: array[rows] for name, array in split.inputs.items()}
    return Split(inputs, {name: array[rows] for name, array in split.targets.items()})


def _require_alike(found: Preprocessing, wanted: Preprocessing) -> None:
    """Another dataset must have the inputs and classes of the one that was trained on."""
    problems = [
        Problem("E403", f"input `{name}` was trained on {_sample(layout)}, the data have {_sample(found.inputs[name])}")
        for name, layout in wanted.inputs.items()
        if _sample(found.inputs[name]) != _sample(layout)
    ]
    for name, target in wanted.targets.items():
        own = found.targets[name]
        if own.classes != target.classes or (own.class_names and target.class_names != own.class_names):
            message = f"target `{name}` was trained with {_classes(target)}, the data have {_classes(own)}"
            problems.append(Problem("E403", message))
    if problems:
        raise Failure(problems)


def _classes(layout: TargetLayout) -> str:
    names = f" ({', '.join(layout.class_names[:10])})" if layout.class_names else ""
    return f"{layout.classes} classes{names}" if layout.classes else "no classes"


def _sample(layout: InputLayout) -> str:
    return f"samples of shape {layout.shape} and dtype {layout.dtype}"


def _blocks(
    path: str, preprocessing: Preprocessing, specs: Mapping[str, InputInfo], unseen: Unseen, stdin: TextIO
) -> Iterator[Arrays]:
    form, suffix = Format(decimal=preprocessing.decimal), Path(path).suffix.lower()
    named = bool(preprocessing.features)
    if path == "-" or suffix == ".txt":
        name = only_text(preprocessing, specs)
        with open_lines(path, stdin) as lines:
            if name and not (named and lines.is_table_with(preprocessing.features[0].name)):
                yield from ({name: block} for block in lines.blocks(specs[name].shape, _ROWS))
            else:
                yield from _table_blocks(read_table(lines, lines.name, form, named), preprocessing, specs, unseen)
    elif suffix in _TABLES and not named and only_text(preprocessing, specs):
        help = "give a .txt file with one text a line, a .npy or a .npz"
        raise Failure(
            Problem("E402", f"the network reads one text a sample, not the table `{path}`", Path(path), help=help)
        )
    elif suffix in _TABLES:
        with open_table(Path(path), form, named) as table:
            yield from _table_blocks(table, preprocessing, specs, unseen)
    elif suffix == ".npy":
        name, info = _single(specs, path)
        array = _load_npy(Path(path))
        array = _with_samples(array, name, info)
        for start in range(0, len(array), _ROWS):
            yield {name: _cast(array[start : start + _ROWS], name, info)}
    elif suffix == ".npz":
        with open_archive(Path(path)) as archive:
            arrays = {name: archive.read(own) for name, own in _names(archive.names, specs, path).items()}
        yield _equally_long(_cast_all(arrays, specs), path)
    else:
        raise Failure(
            Problem(
                "E402",
                f"cannot tell what `{path}` holds",
                Path(path),
                help="inputs are .npy, .npz or .csv files, or `-` for a table on standard input",
            )
        )


def _table_blocks(
    table: TableText, preprocessing: Preprocessing, specs: Mapping[str, InputInfo], unseen: Unseen
) -> Iterator[Arrays]:
    if not preprocessing.features:
        yield from _number_blocks(table, *_single(specs, table.name))
        return
    rows = 0
    while True:
        columns = gather(table, preprocessing.kinds, _ROWS)
        if not len(columns.lines):
            break
        _require_kept(preprocessing, columns, rows)
        yield preprocessing.encode(columns.by_name, unseen)
        rows += len(columns.lines)
    _require_rows(rows, Path(table.name))


def _require_kept(preprocessing: Preprocessing, columns: Columns, before: int) -> None:
    """A row that training would have dropped cannot be predicted: say which."""
    problems = [
        Problem(
            "E408",
            f"row {before + row + 1}, column `{feature.name}`: the value is missing",
            columns.place(row),
            help="this feature was trained with `missing: drop`",
        )
        for feature in preprocessing.features
        if feature.drops and feature.name in columns.by_name
        for row in np.flatnonzero(columns.by_name[feature.name].missing)[:10]
    ]
    if problems:
        raise Failure(problems)


def _number_blocks(table: TableText, name: str, info: InputInfo) -> Iterator[Arrays]:
    """Rows of numbers for an input of arrays; a first row of names is passed over."""
    width, count = math.prod(info.shape), 0
    while block := list(islice(table.lines, _ROWS)):
        if not count and numbers(block[0][1], table.decimal)[1] is not None:
            block = block[1:]
        wrong = [(line, row) for line, row in block if len(row) != width]
        if wrong:
            line, row = wrong[0]
            raise Failure(
                Problem(
                    "E403",
                    f"a row has {len(row)} values, input `{name}` of shape {info.shape} takes {width}",
                    table.place(line),
                )
            )
        values = np.empty((len(block), width))
        for place, (line, row) in enumerate(block):
            values[place], bad = numbers(row, table.decimal)
            if bad is not None:
                raise Failure(
                    Problem(
                        "E408",
                        f"row {count + place + 1}, column {bad + 1}: `{row[bad][:40]}` is not a number",
                        table.place(line),
                    )
                )
        count += len(block)
        if block:
            yield {name: _cast(values.reshape(-1, *info.shape), name, info)}
    _require_rows(count, Path(table.name))


def _load_npy(path: Path) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    except FileNotFoundError as error:
        raise cannot_read(path, error) from None
    except (ValueError, EOFError, OSError) as error:
        raise Failure(
            Problem(
                "E402",
                f"`{path}` is damaged or no .npy file: {error}",
                path,
                help="write it with numpy.save; pickled objects are refused",
            )
        ) from None


def _split_of_archive(path: Path, preprocessing: Preprocessing, specs: Mapping[str, InputInfo]) -> Split:
    with open_archive(path) as archive:
        inputs = {name: archive.read(own) for name, own in _names(archive.names, specs, str(path)).items()}
        targets = {
            name: archive.read(own)
            for name, own in _names(archive.names, preprocessing.targets, str(path), "y").items()
        }
    arrays = _cast_all(inputs, specs)
    _equally_long({**arrays, **targets}, str(path))
    labels = {
        name: encode_labels(targets[name], layout.encoding, layout.classes, layout.class_names, f"target `{name}`")
        for name, layout in preprocessing.targets.items()
    }
    return Split(arrays, labels)


def _names(have: Sequence[str], wanted: Mapping[str, object], path: str, stem: str = "x") -> dict[str, str]:
    """Wanted name → array. One alone may be called `x`, `x_test`, or be the only array."""
    if all(name in have for name in wanted):
        return {name: name for name in wanted}
    if len(wanted) == 1:
        for own in (stem, f"{stem}_test", *(have if len(have) == 1 else ())):
            if own in have:
                return {next(iter(wanted)): own}
    absent = ", ".join(f"`{name}`" for name in wanted if name not in have)
    raise Failure(
        Problem(
            "E403",
            f"`{path}` has no array for {absent}",
            Path(path),
            help=f"it has {', '.join(f'`{name}`' for name in have) or 'nothing'}",
        )
    )


def _under_trained_names(specs: Mapping[str, InputInfo], preprocessing: Preprocessing) -> Mapping[str, InputInfo]:
    """A single input goes by the name that it had in training, whatever the caller calls it."""
    if len(specs) == 1 and len(preprocessing.inputs) == 1:
        return {next(iter(preprocessing.inputs)): next(iter(specs.values()))}
    return specs


def _single(specs: Mapping[str, InputInfo], path: str) -> tuple[str, InputInfo]:
    if len(specs) > 1:
        raise Failure(
            Problem(
                "E403",
                f"`{path}` has one array, the network {len(specs)} inputs",
                Path(path),
                help=f"give an .npz with {', '.join(f'`{name}`' for name in specs)}",
            )
        )
    return next(iter(specs.items()))


def _with_samples(array: Array, name: str, info: InputInfo) -> Array:
    """(n, …) as it is; a single sample gets a first axis, grey images a last one."""
    if array.shape[1:] == info.shape and array.ndim:
        _require_rows(len(array), Path(name))
        return array
    if array.shape == info.shape:
        return array[None]
    if (*array.shape[1:], 1) == info.shape and array.ndim:
        return array[..., None]
    raise Failure(
        Problem(
            "E403",
            f"input `{name}` takes samples of shape {info.shape}, the array is {array.shape}",
            help=f"its shape should be (samples, {', '.join(map(str, info.shape))})",
        )
    )


def _cast(values: Array, name: str, info: InputInfo) -> Array:
    """In the dtype that training had; what would lose its value is an error."""
    kind = served_dtype(values.dtype)
    if kind is None or (kind == "string") != (info.dtype == "string"):
        wanted = "texts" if info.dtype == "string" else "numbers"
        raise Failure(Problem("E402", f"input `{name}` takes {wanted}, the array is of dtype {values.dtype}"))
    if kind == "string":
        return served(values)
    if info.dtype == "float32" or values.dtype == info.dtype:
        return np.ascontiguousarray(served(values), info.dtype)
    limits = np.iinfo(info.dtype)
    with np.errstate(invalid="ignore"):
        exact = (values >= limits.min) & (values <= limits.max) & (values == np.floor(values))
    if not exact.all():
        value = values[~exact].flat[0]
        raise Failure(
            Problem(
                "E408",
                f"input `{name}` was trained on {info.dtype}; it cannot be {value}",
                help="give the data as they were before any scaling",
            )
        )
    return np.ascontiguousarray(values, info.dtype)


def _cast_all(arrays: Arrays, specs: Mapping[str, InputInfo]) -> Arrays:
    return {name: _cast(_with_samples(array, name, specs[name]), name, specs[name]) for name, array in arrays.items()}


def _equally_long(arrays: Arrays, path: str) -> Arrays:
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"`{name}` {len(array):,}" for name, array in arrays.items())
        raise Failure(Problem("E403", f"the arrays of `{path}` differ in length: {lengths}", Path(path)))
    return arrays


def _require_rows(rows: int, path: Path) -> None:
    if not rows:
        raise Failure(Problem("E403", f"`{path}` has no samples", path))
