"""How `kerascli data` shows what it found: figures in columns, bars of classes, histograms on one line."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from kerascli.cli import render
from kerascli.inspection.facts import (
    BINS,
    ColumnFacts,
    Finding,
    InputFacts,
    Inspection,
    Numbers,
    PictureFacts,
    TargetFacts,
)

BARS = {1: 16, 2: 9, 3: 5}
"""Cells of the bar of the most frequent class, by the number of splits beside each other."""
MOST_CLASSES = 20
MOST_COLUMNS = 60
_EIGHTHS = "▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
Line = tuple[str, str]
"""A line and its style."""


def show(found: Inspection) -> None:
    """Print everything, at most as wide as the terminal; in a pipe a finding is one line."""
    width = max(60, shutil.get_terminal_size((80, 24)).columns)
    render.lines(_lines(found, width), width)
    console = render.out()
    for finding in found.findings:
        if console.is_terminal:
            _finding(finding, width)
        else:
            render.lines([(f"{_place(finding)}{finding.severity}: {finding.message}: {finding.help}", "")], None)


def _lines(found: Inspection, width: int) -> Iterator[Line]:
    total = sum(found.samples.values())
    parts = ", ".join(f"{split} {count:,}" for split, count in found.samples.items())
    spread = ", stratified" if found.stratified else ""
    yield f"{found.name}: {found.dataset}, {total:,} sample{'s' * (total > 1)} ({parts}{spread})", "bold"
    for note in found.notes:
        yield from ((line, "") for line in textwrap.wrap(note, width, initial_indent="  ", subsequent_indent="    "))
    for name, facts in found.inputs.items():
        yield "", ""
        yield from _input(name, facts, found.samples)
    if found.pictures:
        yield "", ""
        yield from _pictures(found.pictures)
    if found.columns:
        yield "", ""
        yield from _columns(found.columns, found.samples.get("train", 0), width)
    for name, target in found.targets.items():
        yield "", ""
        yield from _target(name, target, found.samples)
    if found.sample_weight:
        yield "\nWeights of samples", "bold"
        yield from _numbers(found.sample_weight)
    yield "", ""
    yield from _verdict(found)


def _verdict(found: Inspection) -> Iterator[Line]:
    copies = {f"within {split}": count for split, count in found.copies.within.items()} | found.copies.across
    met = [f"{count:,} {where}" for where, count in copies.items() if count]
    yield f"Copies: {', '.join(met) or 'no sample stands there twice'}", ""
    counts = {severity: sum(f.severity == severity for f in found.findings) for severity in _STYLES}
    said = [f"{count} {severity}{'s' * (count > 1)}" for severity, count in counts.items() if count]
    yield f"Found: {', '.join(said) or 'nothing suspicious'}", "bold"


def _input(name: str, facts: InputFacts, samples: Mapping[str, int]) -> Iterator[Line]:
    places = math.prod(facts.shape)
    what = {"table": ", the columns side by side", "tokens": ", ids of words", "images": ", images", "texts": ""}
    shape = f"{'×'.join(map(str, facts.shape)) or 'one'} {facts.dtype}"
    shape = "a text" if facts.kind == "texts" and places == 1 else shape
    yield f"Input {name}: {shape}{what.get(facts.kind, '')}", "bold"
    if facts.numbers:
        yield from _numbers(facts.numbers)
        if facts.constant and facts.kind != "table" and samples.get("train", 0) > 1:
            yield f"  {facts.constant:,} of {places:,} places have one value in all training samples", ""
        if facts.kind == "images" and any(facts.blank.values()):
            blank = ", ".join(f"{split} {count:,}" for split, count in facts.blank.items() if count)
            yield f"  images of one colour: {blank}", ""
    if facts.tokens:
        told = any(t.unknown is not None for t in facts.tokens.values())
        unknown = ("unknown",) if told else ()
        rows: list[tuple[str, ...]] = [("", "ids", "length", "mean", "full", "padding", *unknown)]
        for split, t in facts.tokens.items():
            more = (_percent(t.unknown or 0),) if told else ()
            span = f"{_number(t.lengths.minimum)} … {_number(t.lengths.maximum)}"
            ids = f"{t.smallest:,} … {t.largest:,}"
            row = (split, ids, span, _number(t.lengths.mean), _percent(t.full), _percent(t.padding), *more)
            rows.append((*row, _spark(_halved(t.lengths.histogram))))
        yield from _aligned(rows)
    if facts.texts:
        lengths: list[tuple[str, ...]] = [("", "words", "mean", "longest", "empty")]
        for split, text in facts.texts.items():
            span = f"{_number(text.words.minimum)} … {_number(text.words.maximum)}"
            longest = f"{text.longest:,} characters"
            figures = (split, span, _number(text.words.mean), longest, str(text.empty))
            lengths.append((*figures, _spark(text.words.histogram)))
        yield from _aligned(lengths)


def _pictures(found: Mapping[str, PictureFacts]) -> Iterator[Line]:
    yield "Image files", "bold"
    rows = [("", "files", "height", "width", "median", "sizes", "formats")]
    for split, each in found.items():
        height, width = (f"{each.smallest[k]:,} … {each.largest[k]:,}" for k in (0, 1))
        formats = ", ".join(f"{name} {_percent(count / each.files)}" for name, count in each.formats.items())
        middle = f"{each.median[0]:,}×{each.median[1]:,}"
        rows.append((split, f"{each.files:,}", height, width, middle, f"{each.sizes:,}", formats))
    yield from _aligned(rows, left=(6,))


def _numbers(found: Mapping[str, Numbers]) -> Iterator[Line]:
    lost = any(numbers.not_finite for numbers in found.values())
    rows = [("", "min", "mean", "max", "std", "zeros", *(("NaN, inf",) if lost else ()))]
    for split, n in found.items():
        figures = [_number(value) for value in (n.minimum, _mean(n), n.maximum, n.deviation)]
        more = (f"{n.not_finite:,}",) if lost else ()
        rows.append((split, *figures, _percent(n.zeros), *more, _spark(n.histogram)))
    return _aligned(rows)


def _columns(found: Mapping[str, ColumnFacts], rows: int, width: int) -> Iterator[Line]:
    yield "Columns in the training rows", "bold"
    table = [("", "kind", "missing", "distinct", "range and mean, or the most frequent")]
    for name, facts in list(found.items())[:MOST_COLUMNS]:
        missing = facts.missing.get("train", 0)
        shown = f"{missing:,}" if missing else "-"
        table.append((_cut(name, 24), facts.kind, shown, f"{facts.distinct:,}", _values(facts, rows)))
    for line, style in _aligned(table, left=(1, 4)):
        yield _cut(line, width), style
    if len(found) > MOST_COLUMNS:
        yield f"  … and {len(found) - MOST_COLUMNS:,} more; --json has all", ""


def _values(facts: ColumnFacts, rows: int) -> str:
    train = facts.numbers.get("train")
    if train:
        shown = _date if facts.kind == "date" else _number
        span = " … ".join(shown(value) for value in (train.minimum, _mean(train), train.maximum))
        return f"{_spark(_halved(train.histogram)):{BINS // 2}}  {span}"
    if facts.lengths:
        return f"{_number(facts.lengths.minimum)} … {_number(facts.lengths.maximum)} words"
    return ", ".join(f"{text} {_percent(count / max(rows, 1))}" for text, count in facts.frequent)


def _target(name: str, facts: TargetFacts, samples: Mapping[str, int]) -> Iterator[Line]:
    served = {"one_hot": ", one-hot", "integer": ", as whole numbers"}.get(facts.encoding, "")
    named = f" ({', '.join(facts.columns)})" if facts.columns else ""
    if facts.kind == "numbers":
        yield f"Target {name}{named}: {'×'.join(map(str, facts.shape)) or 'one number'}", "bold"
        yield from _numbers(facts.numbers)
        return
    several = "labels, any number of them a sample" if facts.kind == "labels" else "classes"
    yield f"Target {name}{named}: {len(facts.names):,} {several}{served}", "bold"
    weight = ("weight",) if facts.weights else ()
    rows = [("", *weight, *(part for split in facts.counts for part in (split, "")))]
    splits = list(facts.counts)
    for k in _chosen(facts):
        cells = []
        for split in splits:
            counts = facts.counts[split]
            whole = samples[split] if facts.kind == "labels" else sum(counts)
            bar = _bar(counts[k] / max(*counts, 1), BARS[len(splits)])
            cells += [f"{counts[k]:,} {_percent(counts[k] / max(whole, 1)):>5}", bar]
        rows.append((_cut(facts.names[k], 20), *(f"{facts.weights[k]:.3g}" for _ in weight), *cells))
    yield from _aligned(rows, left=tuple(2 * number + 2 + len(weight) for number in range(len(splits))))
    if len(facts.names) > MOST_CLASSES:
        yield f"  … and {len(facts.names) - MOST_CLASSES:,} classes between these; --json has all", ""


def _chosen(facts: TargetFacts) -> Sequence[int]:
    """The classes to show: all, or the most frequent and the rarest."""
    counts = next(iter(facts.counts.values()))
    if len(counts) <= MOST_CLASSES:
        return range(len(counts))
    order = sorted(range(len(counts)), key=lambda k: -counts[k])
    return [*order[: MOST_CLASSES // 2], *order[-(MOST_CLASSES // 2) :]]


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> Iterator[Line]:
    """Rows in columns, figures to the right; what stands behind the last column of the header is a picture."""
    widths = [max(render.width(row[k]) for row in rows if k < len(row)) for k in range(max(map(len, rows)))]
    for number, row in enumerate(rows):
        blanks = (" " * (widths[k] - render.width(cell)) for k, cell in enumerate(row))
        cells = (
            cell + blank if k in (0, *left) or k >= len(rows[0]) else blank + cell
            for k, (cell, blank) in enumerate(zip(row, blanks, strict=True))
        )
        yield f"  {'  '.join(cells)}".rstrip(), "dim" if number == 0 else ""


def _finding(finding: Finding, width: int) -> None:
    head = f"{finding.severity}: "
    body = textwrap.wrap(f"{head}{finding.message}", width - 2, subsequent_indent="  ")
    help = textwrap.wrap(f"{finding.help}", width - 4)
    render.lines([(body[0], _STYLES[finding.severity]), *((line, "") for line in body[1:])], None)
    render.lines([(f"{'  → ' if not number else '    '}{line}", "") for number, line in enumerate(help)], None)
    if finding.where:
        render.lines([(f"  {_place(finding).removesuffix(': ')}", "blue")], None)


def _place(finding: Finding) -> str:
    return f"{finding.where.file}:{finding.where.line}:{finding.where.column}: " if finding.where else ""


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _date(seconds: float | None) -> str:
    return "-" if seconds is None else f"{datetime(1970, 1, 1) + timedelta(seconds=seconds):%Y-%m-%d}"


def _mean(numbers: Numbers) -> float | None:
    """The mean, or 0 where nothing but rounding keeps it from 0."""
    tiny = numbers.mean is not None and numbers.deviation and abs(numbers.mean) < 1e-6 * numbers.deviation
    return 0.0 if tiny else numbers.mean


def _percent(share: float) -> str:
    return "0 %" if not share else "<1 %" if share < 0.01 else ">99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _bar(share: float, width: int) -> str:
    eighths = round(8 * width * share)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8 - 1] if eighths % 8 else "")


def _spark(histogram: Iterable[int]) -> str:
    bars = list(histogram)
    top = max(bars, default=0)
    return "".join(_HEIGHTS[math.ceil(7 * n / top)] if n else " " for n in bars) if top else ""


def _halved(histogram: Sequence[int]) -> list[int]:
    """The same in bins of twice the width."""
    return [sum(pair) for pair in zip(histogram[::2], histogram[1::2], strict=True)]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
