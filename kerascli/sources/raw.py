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

from kerascli.columns import TextColumn, Unseen
from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array
from kerascli.preprocessing import InputLayout, Preprocessing, TargetLayout
from kerascli.sources.arrays import part, spread_evenly
from kerascli.sources.base import InputInfo, Source, Split
from kerascli.sources.cells import numbers
from kerascli.sources.encoded import describe_unseen, require_kept, split_of_table
from kerascli.sources.jsonl import JsonLines, Objects
from kerascli.sources.lines import only_text, open_lines
from kerascli.sources.parquet import ParquetRows
from kerascli.sources.raw_arrays import (
    ARCHIVES,
    Arrays,
    archive_blocks,
    cast,
    load_npy,
    require_rows,
    single,
    split_of_archive,
    with_samples,
)
from kerascli.sources.raw_files import file_blocks, files_of, kind_of, shown, split_of_folder
from kerascli.sources.rows import TEXT, require_finite
from kerascli.sources.separated import Rows, Separated
from kerascli.sources.table import Format, Table, gather
from kerascli.sources.tabular import _Tabular
from kerascli.sources.text_folder import TextFolder, encoded

_ROWS = 4096
_BYTES = 1 << 26
"""Encoded samples that are made at a time, at most: so many rows, and bytes."""
_KNOWN = (
    "inputs are .csv, .tsv, .jsonl, .parquet, .txt, .npy, .npz or .h5 files, images, folders, or `-` for standard input"
)
Say = Callable[[str], None]


def table_format(path: str, preprocessing: Preprocessing) -> Format | None:
    """How a file is read whose name ends as a table's; a further `.gz` says nothing."""
    suffix = Path(path.lower().removesuffix(".gz")).suffix
    if suffix in (".csv", ".tsv", ".txt"):
        headed = bool(preprocessing.features)
        return Separated(decimal=preprocessing.decimal, encoding=preprocessing.encoding, headed=headed)
    if suffix in (".jsonl", ".ndjson"):
        return JsonLines()
    return ParquetRows() if suffix in (".parquet", ".pq") else None


def read_inputs(
    paths: Sequence[str],
    preprocessing: Preprocessing,
    specs: Mapping[str, InputInfo],
    allow_nan: bool = False,
    say: Say = lambda text: None,
    stdin: TextIO | None = None,
    places: list[str] | None = None,
) -> Iterator[Arrays]:
    """Blocks of samples, in order, each with an array for every input.

    `.npy`: the samples of a single input. `.npz`: arrays named after the inputs (one alone may have any name). `.csv`,
    `.tsv`, `.jsonl`, `.parquet`, `.txt` and `-` (standard input): the columns of the training table without its target,
    or, where training had arrays, rows of numbers; for a network that reads one text a sample `.txt` and `-` may hold a
    text a line. Images, and texts of a network that was trained on files of them, are a sample each; a folder is all
    that are in it. `say` is told of values that training never showed, `places` which file each sample is, and
    nothing where it is none.
    """
    unseen: Unseen = {}
    specs = under_trained_names(specs, preprocessing)
    for path in paths:
        first, kind = 0, kind_of(path, preprocessing, specs)
        if kind:
            files = files_of(path, kind)
            blocks, names = file_blocks(files, kind, specs), shown(files)
        else:
            blocks, names = _blocks(path, preprocessing, specs, unseen, say, stdin or sys.stdin), []
        while block := _next(blocks, path):
            if not allow_nan:
                require_finite(block, f"`{path}`", first)
            rows = len(next(iter(block.values())))
            if places is not None:
                places += names[first : first + rows] or [""] * rows
            first += rows
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
    """Samples with their targets from a file, and what is to be said of them: a table like the one trained on, an .npz
    or HDF5 file with `x` and `y` (or `x_test` and `y_test`, or arrays named after inputs and targets), or a folder of
    classes."""
    specs = under_trained_names(specs, preprocessing)
    if path.is_dir():
        return split_of_folder(path, preprocessing, specs)
    unseen: Unseen = {}
    form = table_format(str(path), preprocessing)
    if form and preprocessing.features:
        split = split_of_table(preprocessing, path, form, unseen, None if allow_nan else f"`{path}`")
    elif path.suffix.lower() in ARCHIVES:
        split = split_of_archive(path, preprocessing, specs)
    else:
        raise Failure(
            Problem(
                "E402",
                f"cannot take samples and targets from `{path}`",
                path,
                help="give a table like the one trained on, an .npz with `x` and `y`, or a folder for each class",
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
    specs = under_trained_names(specs, preprocessing)
    if isinstance(source, _Tabular) and preprocessing.features:
        unseen: Unseen = {}
        parts = {
            own: split_of_table(
                preprocessing, path, source.table_format(), unseen, None if source.allow_nan else f"the {own} table"
            )
            for own, path in source.files(base).items()
        }
        if source.stratify:
            parts["train"] = _rows_of(parts["train"], spread_evenly(parts["train"].targets))
        cuts = source.limited(source.cuts({part: len(split) for part, split in parts.items()}))
        splits = {name: _rows_of(parts[cut.part], cut.rows) for name, cut in cuts.items()}
        return splits, describe_unseen(unseen)
    encoding = {name: layout.encoding for name, layout in preprocessing.targets.items()}
    encoder = preprocessing.text if isinstance(source, TextFolder) else None
    if encoder:
        source = source.model_copy(update={"vocabulary": None, "sequence_length": None, "output": "int"})
    data = source.load(base, seed, encoding, list(preprocessing.inputs), list(preprocessing.targets))
    own = data.preprocessing
    _require_alike(own.model_copy(update={"inputs": preprocessing.inputs}) if encoder else own, preprocessing)
    found = {"train": data.train, "validation": data.validation, "test": data.test}
    chosen = {name: split for name, split in found.items() if split is not None}
    return {name: encoded(split, encoder) if encoder else split for name, split in chosen.items()}, list(data.notes)


def _rows_of(split: Split, rows: slice | Array) -> Split:
    inputs = {name: part(samples, rows) for name, samples in split.inputs.items()}
    return Split(inputs, {name: part(samples, rows) for name, samples in split.targets.items()})


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
    path: str,
    preprocessing: Preprocessing,
    specs: Mapping[str, InputInfo],
    unseen: Unseen,
    say: Say,
    stdin: TextIO,
) -> Iterator[Arrays]:
    form, suffix = table_format(path, preprocessing), Path(path).suffix.lower()
    if path == "-" or suffix == ".txt":
        yield from _line_blocks(path, preprocessing, specs, unseen, say, stdin)
    elif form and not preprocessing.features and (only_text(preprocessing, specs) or not isinstance(form, Separated)):
        what = "one text a sample" if only_text(preprocessing, specs) else "arrays of numbers"
        help = "give a .txt file with one text a line, a .npy or a .npz" if only_text(preprocessing, specs) else _KNOWN
        raise Failure(Problem("E402", f"the network reads {what}, not the table `{path}`", Path(path), help=help))
    elif form:
        with form.open(Path(path)) as table:
            yield from table_blocks(table, preprocessing, specs, unseen, say)
    elif suffix == ".npy":
        name, info = single(specs, path)
        array = with_samples(load_npy(Path(path)), name, info)
        for start in range(0, len(array), _ROWS):
            yield {name: cast(array[start : start + _ROWS], name, info)}
    elif suffix in ARCHIVES:
        yield from archive_blocks(path, specs, _ROWS)
    else:
        raise Failure(Problem("E402", f"cannot tell what `{path}` holds", Path(path), help=_KNOWN))


def _line_blocks(
    path: str, preprocessing: Preprocessing, specs: Mapping[str, InputInfo], unseen: Unseen, say: Say, stdin: TextIO
) -> Iterator[Arrays]:
    """A text a line, or a table, from a file of lines or standard input."""
    if preprocessing.text:
        with open_lines(path, stdin) as lines:
            for texts in lines.blocks(_at_once(preprocessing)):
                yield of_texts(texts, preprocessing, specs, unseen)
        return
    name, features = only_text(preprocessing, specs), preprocessing.features
    with open_lines(path, stdin, preprocessing.encoding) as lines:
        if name and not (features and lines.is_table_with(features[0].name)):
            for texts in lines.blocks(_at_once(preprocessing)):
                yield of_texts(texts, preprocessing, specs, unseen)
            return
        form = Separated(decimal=preprocessing.decimal, headed=bool(features))
        table = Objects(lines.name, lines) if features and lines.is_json else form.read(lines, lines.name)
        yield from table_blocks(table, preprocessing, specs, unseen, say)


def _at_once(preprocessing: Preprocessing) -> int:
    """Rows that are encoded at a time: a text as the words that it has takes as many numbers as there are words."""
    width = preprocessing.text.width if preprocessing.text else sum(feature.width for feature in preprocessing.used)
    return max(1, min(_ROWS, _BYTES // (4 * max(width, 1))))


def of_texts(texts: list[str], preprocessing: Preprocessing, specs: Mapping[str, InputInfo], unseen: Unseen) -> Arrays:
    """One text a sample, for a network that reads nothing else."""
    ((name, info),) = specs.items()
    if preprocessing.text:
        return {name: preprocessing.text.encode(texts)}
    if preprocessing.features:
        return preprocessing.encode({preprocessing.features[0].name: TextColumn(np.arange(len(texts)), texts)}, unseen)
    return {name: np.array(texts, TEXT).reshape(-1, *info.shape)}


def table_blocks(
    table: Table, preprocessing: Preprocessing, specs: Mapping[str, InputInfo], unseen: Unseen, say: Say
) -> Iterator[Arrays]:
    """The rows of an open table, encoded as training's were; or rows of numbers, where training had arrays."""
    if not preprocessing.features and isinstance(table, Rows):
        yield from _number_blocks(table, *single(specs, table.name))
        return
    rows, empty, most = 0, set(preprocessing.kinds), _at_once(preprocessing)
    while len(columns := gather(table, preprocessing.kinds, _ROWS)):
        require_kept(preprocessing.used, columns)
        for start in range(0, len(columns), most):
            some = slice(start, start + most)
            yield preprocessing.encode({name: each.take(some) for name, each in columns.by_name.items()}, unseen)
        rows += len(columns)
        empty -= {name for name, column in columns.by_name.items() if not column.missing.all()}
    require_rows(rows, Path(table.name))
    for name in sorted(empty) if rows > 1 else ():
        say(f"warning: column `{name}` has no value in `{table.name}`")


def _number_blocks(table: Rows, name: str, info: InputInfo) -> Iterator[Arrays]:
    """Rows of numbers for an input of arrays; a first row of names is passed over."""
    width, count = math.prod(info.shape), 0
    while block := list(islice(table.values, _ROWS)):
        if not count and numbers(block[0][1], table.cells.decimal)[1] is not None:
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
            values[place], bad = numbers(row, table.cells.decimal)
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
            yield {name: cast(values.reshape(-1, *info.shape), name, info)}
    require_rows(count, Path(table.name))


def under_trained_names(specs: Mapping[str, InputInfo], preprocessing: Preprocessing) -> Mapping[str, InputInfo]:
    """A single input goes by the name that it had in training, whatever the caller calls it."""
    if len(specs) == 1 and len(preprocessing.inputs) == 1:
        return {next(iter(preprocessing.inputs)): next(iter(specs.values()))}
    return specs
