"""What is suspicious about a dataset, each with one plain line and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kerascli.errors import Span
from kerascli.graph import Graph
from kerascli.inspection.facts import (
    ColumnFacts,
    Copies,
    Finding,
    InputFacts,
    Numbers,
    PictureFacts,
    Severity,
    TargetFacts,
)
from kerascli.inspection.look import Seen
from kerascli.inspection.net import embeddings, first_readers, learns_unscaled
from kerascli.layers.preprocessing import Rescaling
from kerascli.spec import Loaded

LARGE = 20.0
"""Inputs beyond this slow a net down that takes them as they are."""
SMALL = 0.05
"""Inputs that all lie nearer to 0 than this have nearly no effect."""
LARGE_TARGET = 1000.0
"""Numbers beyond this are far from what a net's first outputs are."""
RARE = 20
"""So many times rarer than the most frequent class is extreme."""
COPIED = 0.01
"""Share of a split that may stand in another before its figures are doubtful."""
_ORDER = ("error", "warning", "note")


@dataclass(frozen=True)
class Context:
    """What the rules look at."""

    loaded: Loaded
    graph: Graph | None
    """None where the network does not fit the data."""
    samples: Mapping[str, int]
    seen: Seen
    columns: Mapping[str, ColumnFacts]
    pictures: Mapping[str, PictureFacts]

    def at(self, *place: str) -> Span | None:
        """Where the spec says this, or what is nearest to it."""
        return self.loaded.document.key_span(place)


def findings(context: Context) -> tuple[Finding, ...]:
    """Everything suspicious, the gravest first."""
    found = [
        *_copies(context, context.seen.copies),
        *(each for name, facts in context.seen.targets.items() for each in _target(context, name, facts)),
        *(each for name, facts in context.seen.inputs.items() for each in _input(context, name, facts)),
        *(each for name, facts in context.columns.items() for each in _column(context, name, facts)),
        *_pictures(context),
        *_splits(context),
    ]
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _percent(share: float) -> str:
    return "less than 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _figure(value: float | None) -> str:
    return "nothing" if value is None else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


# ---- copies


def _copies(context: Context, copies: Copies) -> Iterator[Finding]:
    where = context.at("dataset")
    for pair, count in copies.across.items():
        split, _, other = pair.split(" ")
        if count:
            size = context.samples[split]
            grave = count >= 2 and count / size >= COPIED
            message = f"{_share(count, size)} {split} samples stand in the {other} split too"
            example = next(p for p in copies.examples if (p.split, p.first_split) == (split, other))
            message += f", such as {example.shown}"
            help = "keep each sample in one split only: figures on samples that were trained on flatter the net"
            yield Finding("copies_across_splits", "warning" if grave else "note", message, help, where)
    size = context.samples.get("train", 0)
    if copies.contradicting:
        message = f"{_share(copies.contradicting, size)} training samples equal another one that has another target"
        grave = copies.contradicting / size >= COPIED
        help = "look at the targets, or add inputs that tell these samples apart"
        yield Finding("contradicting_targets", "warning" if grave else "note", message, help, where)
    if count := copies.within.get("train", 0):
        example = next(p for p in copies.examples if p.split == p.first_split == "train")
        message = f"{_share(count, size)} training samples repeat{'s' * (count == 1)} an earlier one, such as "
        message += example.shown
        help = "harmless if they were measured that often; copies made by mistake count twice"
        yield Finding("copies_within_split", "note", message, help, where)


def _splits(context: Context) -> Iterator[Finding]:
    if set(context.samples) == {"train"} and "train" in context.seen.copies.within:
        help = "`dataset: {validation_split: 0.2}` shows how the net does on samples that it has not seen"
        yield Finding("nothing_held_back", "note", "all samples are for training", help, context.at("dataset"))


# ---- targets


def _target(context: Context, name: str, facts: TargetFacts) -> Iterator[Finding]:
    if facts.kind == "numbers":
        yield from _target_numbers(context, name, facts)
    elif facts.kind == "classes" and facts.counts:
        cut = list(_sorted(context, name, facts))
        yield from cut
        yield from _classes(context, name, facts, bool(cut))
    elif facts.kind == "labels":
        for label, count in zip(facts.names, facts.counts.get("train", ()), strict=False):
            if count in (0, context.samples["train"]):
                always = "every" if count else "no"
                message = f"label `{label}` of target `{name}` is on {always} training sample"
                yield Finding(
                    "one_value", "warning", message, "it cannot be learnt: leave it out", context.at("dataset")
                )


def _target_numbers(context: Context, name: str, facts: TargetFacts) -> Iterator[Finding]:
    train = facts.numbers.get("train")
    if train is None:
        return
    where = context.at("dataset")
    yield from _not_finite(context, f"target `{name}`", facts.numbers, "error")
    if train.minimum is not None and train.minimum == train.maximum:
        help = "there is nothing to learn: is it the right column or array?"
        yield Finding("one_value", "error", f"target `{name}` is always {train.minimum:g}", help, where)
    largest = max(abs(train.minimum or 0), abs(train.maximum or 0))
    if largest > LARGE_TARGET:
        message = f"target `{name}` goes from {_figure(train.minimum)} to {_figure(train.maximum)}"
        help = "store it in a larger unit, or its logarithm: a net's outputs begin near 0, and are long on their way"
        yield Finding("large_target", "warning", message, help, where)


def _sorted(context: Context, name: str, facts: TargetFacts) -> Iterator[Finding]:
    """Classes in stretches, where a part is cut off their end."""
    train, dataset = facts.counts.get("train", ()), context.loaded.spec.dataset
    total, present = sum(train), sum(count > 0 for count in train)
    keys = [key for key in ("validation_split", "test_split") if getattr(dataset, key)]
    if not keys or facts.runs is None or present < 2 or total < 10 * present:
        return
    alike = sum((count / total) ** 2 for count in train)
    expected = 1 + (total - 1) * (1 - alike)
    if facts.runs > max(present, expected / 5):
        return
    message = f"the samples are sorted by class (`{name}` changes {facts.runs - 1:,} times in {total:,}), and "
    message += f"`{keys[0]}` cuts off their end"
    mend = "`dataset: {stratify: true}`" if "stratify" in type(dataset).model_fields else "shuffle the stored samples"
    help = f"{mend}: then every split has every class"
    yield Finding("sorted_by_class", "error", message, help, context.at("dataset", keys[0]))


def _classes(context: Context, name: str, facts: TargetFacts, sorted_by_class: bool) -> Iterator[Finding]:
    train = facts.counts.get("train")
    if train is None:
        return
    where, total = context.at("dataset"), sum(train)
    present = [count for count in train if count]
    if len(present) == 1:
        label = facts.names[train.index(present[0])]
        help = "the net would learn to say nothing else: give it samples of the other classes"
        yield Finding("one_class", "error", f"every training sample is of class `{label}`", help, where)
        return
    absent = [facts.names[k] for k, count in enumerate(train) if not count]
    if absent:
        met = sum(counts[facts.names.index(label)] for counts in facts.counts.values() for label in absent)
        grave: Severity = "error" if met else "warning"
        message = f"no training sample is of class {_listed(absent)}" + (f", {met:,} elsewhere are" if met else "")
        yield Finding("class_missing", grave, message, "number the classes from 0 without gaps, or add samples", where)
    for split, counts in facts.counts.items():
        cut = sorted_by_class and bool(getattr(context.loaded.spec.dataset, f"{split}_split", 0))
        if split != "train" and not cut:
            yield from _held_back(context, split, facts, counts)
    yield from _imbalance(context, facts, present, total)


def _held_back(context: Context, split: str, facts: TargetFacts, counts: tuple[int, ...]) -> Iterator[Finding]:
    """Classes that a split lacks, or has far more or far less of than training."""
    train, size = facts.counts["train"], sum(counts)
    shares = [count / sum(train) for count in train]
    lacking = [k for k, count in enumerate(counts) if not count and train[k]]
    key = f"{split}_split"
    where = context.at("dataset", key) if getattr(context.loaded.spec.dataset, key, 0) else context.at("dataset")
    stratify = "stratify" in type(context.loaded.spec.dataset).model_fields
    help = "`dataset: {stratify: true}` gives every split its share" if stratify else "shuffle the stored samples"
    if not getattr(context.loaded.spec.dataset, key, 0):
        help = "take samples for it as they come: figures on this split say little of what training shows"
    if lacking:
        expected = max(size * shares[k] for k in lacking)
        message = f"the {split} split has no sample of class {_listed([facts.names[k] for k in lacking])}"
        yield Finding("class_missing", "warning" if expected >= 5 else "note", message, help, where)
        if expected >= 5:
            return
    apart = sum(abs(count / max(size, 1) - share) for count, share in zip(counts, shares, strict=True)) / 2
    chance = sum(math.sqrt(share * (1 - share) * (1 / max(size, 1) + 1 / sum(train))) for share in shares) * 0.4
    if apart > 0.1 and apart > 2.5 * chance:
        k = max(range(len(counts)), key=lambda k: abs(counts[k] / size - shares[k]))
        message = f"classes are spread otherwise in the {split} split: `{facts.names[k]}` is "
        message += f"{_percent(counts[k] / size)} there, {_percent(shares[k])} in train"
        yield Finding("other_shares", "warning", message, help, where)


def _imbalance(context: Context, facts: TargetFacts, present: list[int], total: int) -> Iterator[Finding]:
    rare = [k for k, count in enumerate(facts.counts["train"]) if count and max(present) >= RARE * count]
    if not rare or facts.weights:
        return
    k = min(rare, key=lambda k: facts.counts["train"][k])
    message = (
        f"classes are very uneven: `{facts.names[k]}` has {_share(facts.counts['train'][k], total)} training samples"
    )
    help = "`training: {class_weight: balanced}`; and let metrics such as f1_score or auc tell, not accuracy alone"
    yield Finding("imbalance", "warning", message, help, context.at("training"))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# ---- inputs


def _input(context: Context, name: str, facts: InputFacts) -> Iterator[Finding]:
    title, where = f"input `{name}`", context.at("dataset")
    yield from _not_finite(context, title, facts.numbers, "warning")
    train, size = facts.numbers.get("train"), math.prod(facts.shape)
    if train and train.minimum is not None:
        if facts.constant == size and context.samples["train"] > 1:
            message = f"{title} is the same in every training sample"
            yield Finding("one_value", "error", message, "there is nothing to learn from it: leave it out", where)
        elif 0 < facts.constant < size and facts.kind == "numbers":
            message = f"{title} has {_share(facts.constant, size)} places with one value in all training samples"
            yield Finding("one_value", "note", message, "they say nothing, and could be left out", where)
        if facts.constant < size:
            yield from _scale(context, name, facts, train)
    blank = sum(facts.blank.values()) if facts.kind == "images" else 0
    if blank:
        message = f"{_share(blank, sum(context.samples.values()))} images of {title} have one colour only"
        yield Finding("blank_images", "note", message, "look at them: were they read as they should be?", where)
    yield from _tokens(context, name, facts)
    empty = sum(texts.empty for texts in facts.texts.values())
    if empty:
        message = f"{_share(empty, sum(context.samples.values()))} texts of {title} are empty"
        grave: Severity = "warning" if empty / sum(context.samples.values()) >= COPIED else "note"
        yield Finding("empty_texts", grave, message, "leave these samples out", where)


def _not_finite(context: Context, title: str, numbers: Mapping[str, Numbers], grave: Severity) -> Iterator[Finding]:
    for split, found in numbers.items():
        if found.not_finite:
            message = f"{title} has {_share(found.not_finite, found.count)} values NaN or infinity in the {split} split"
            help = "a single one makes every weight NaN, unless Masking or a sample weight of 0 hides it: mend the data"
            yield Finding("not_finite", grave, message, help, context.at("dataset", "allow_nan"))


def _scale(context: Context, name: str, facts: InputFacts, train: Numbers) -> Iterator[Finding]:
    """Values that are far larger than 1 where the first weights meet them, or that were scaled twice."""
    graph, title = context.graph, f"input `{name}`"
    assert train.minimum is not None and train.maximum is not None
    largest = max(abs(train.minimum), abs(train.maximum))
    if graph is None or facts.kind not in ("images", "numbers", "table"):
        return
    if largest > LARGE and (reader := learns_unscaled(graph.computed, name)):
        message = (
            f"{title} goes from {_figure(train.minimum)} to {_figure(train.maximum)}, and {reader.title} takes it "
        )
        message += "as it is"
        image = facts.kind == "images" and train.minimum >= 0 and 100 < train.maximum <= 255
        help = "put `{type: Rescaling, scale: 0.00392156862745098}` before it" if image else ""
        help = help or "put `Normalization` before it: it learns mean and deviation from the training split"
        if facts.kind == "table":
            help = "let the columns be scaled: `scale: standard` is the default of `features`"
        yield Finding("unscaled", "warning", message, help, reader.where)
    for node in first_readers(graph.computed, name):
        if isinstance(node.layer, Rescaling) and isinstance(node.layer.scale, (int, float)):
            scale, offset = float(node.layer.scale), node.layer.offset
            shift = float(offset) if isinstance(offset, (int, float)) else 0.0
            ends = sorted((train.minimum * scale + shift, train.maximum * scale + shift))
            if ends[1] - ends[0] < SMALL and largest <= 1:
                message = f"{title} is in {train.minimum:.3g} … {train.maximum:.3g} already, and {node.title} leaves "
                message += f"{ends[0]:.2g} … {ends[1]:.2g} of it"
                where = node.where
                yield Finding("scaled_twice", "warning", message, f"drop {node.title}", where)


def _tokens(context: Context, name: str, facts: InputFacts) -> Iterator[Finding]:
    graph, train = context.graph, facts.tokens.get("train")
    if graph is None or not facts.tokens:
        return
    where, title = context.at("dataset"), f"input `{name}`"
    for node, table in embeddings(graph.computed, name):
        place = node.where
        largest = max(found.largest for found in facts.tokens.values())
        smallest = min(found.smallest for found in facts.tokens.values())
        if largest >= table.input_dim or smallest < 0:
            message = f"{title} has ids from {smallest:,} to {largest:,}, and {node.title} has rows 0 to "
            help = f"write `input_dim: {largest + 1}` or more" if smallest >= 0 else "number ids from 0"
            yield Finding("id_without_row", "error", f"{message}{table.input_dim - 1:,}", help, place)
        elif 2 * (largest + 1) < table.input_dim and name in graph.inputs:
            message = f"{node.title} has {table.input_dim:,} rows, and ids of {title} end at {largest:,}"
            help = f"`input_dim: {largest + 1}` would do; the other rows are never trained"
            yield Finding("unused_rows", "note", message, help, place)
    if train and train.full >= 0.3 and train.lengths.minimum != train.lengths.maximum:
        message = f"{_percent(train.full)} of the training texts of {title} fill all {math.prod(facts.shape)} places"
        yield Finding("long_texts", "note", message, "longer ones were cut off, perhaps: raise the length", where)
    if train and train.unknown is not None and train.unknown >= 0.2:
        message = f"{_percent(train.unknown)} of the words of {title} are outside the vocabulary"
        yield Finding("unknown_words", "warning", message, "take a larger vocabulary", where)


# ---- image files


def _pictures(context: Context) -> Iterator[Finding]:
    """What bringing images to one size does to them."""
    where, train = context.at("dataset", "image_size"), context.pictures.get("train")
    if train is None or not train.files:
        return
    if train.smaller >= train.files / 2:
        message = f"{_share(train.smaller, train.files)} images are smaller than `image_size`"
        help = f"half of them have {train.median[0]}×{train.median[1]} or less: a larger size adds work, and no detail"
        yield Finding("enlarged_images", "note", message, help, where)
    if train.distorted >= train.files / 10:
        message = f"{_share(train.distorted, train.files)} images are squeezed or stretched by more than a quarter"
        help = "`crop_to_aspect_ratio: true` or `pad_to_aspect_ratio: true` keeps their proportions"
        yield Finding("distorted_images", "note", message, help, where)


# ---- columns of a table


def _column(context: Context, name: str, facts: ColumnFacts) -> Iterator[Finding]:
    where, rows = context.at("dataset", "features", name), context.samples.get("train", 0)
    ignore = f"`features: {{{name}: ignore}}`"
    if facts.distinct == 1 and not facts.missing.get("train"):
        message = f"column `{name}` has one value in all training rows"
        yield Finding("one_value", "warning", message, f"leave it out: {ignore}", where)
    missing = facts.missing.get("train", 0)
    if rows and missing / rows >= 0.5:
        message = f"column `{name}` has no value in {_share(missing, rows)} training rows"
        help = f"what fills them ({facts.filled}) drowns the rest: {ignore}, or find the values"
        yield Finding("mostly_missing", "warning", message, help, where)
    if facts.tells is not None and facts.tells >= 0.99:
        message = f"column `{name}` alone tells {'' if facts.tells == 1 else 'nearly '}all of the target"
        help = f"would it be known before the target is? If not: {ignore}"
        yield Finding("tells_the_target", "warning", message, help, where)
    if facts.counts_rows or (facts.kind == "category" and rows >= 50 and facts.distinct >= 0.9 * (rows - missing)):
        message = f"column `{name}` has {facts.distinct:,} different values in {rows:,} training rows"
        help = f"is it a name or a number of the row? Nothing can be learnt from those: {ignore}"
        yield Finding("like_an_id", "warning", message, help, where)
    if facts.spellings:
        message = f"column `{name}` writes the same in several ways: {_listed(facts.spellings)}"
        yield Finding("spellings", "warning", message, "write it in one way: each is a category of its own", where)
    if facts.far:
        message = f"column `{name}` has values far from the others: {_extremes(facts)}"
        help = "is it a mistake, or a code for `missing`? Scaling squeezes the others together"
        yield Finding("far_values", "note", f"{message} ({facts.far:,} beyond ten deviations)", help, where)
    if facts.distinct >= 0.9 * rows:
        return
    for split, count in facts.unseen.items():
        if count and count / context.samples[split] >= 0.05:
            message = f"column `{name}` has texts that training never shows in {_share(count, context.samples[split])}"
            help = "all of them share one slot: are the splits drawn alike?"
            yield Finding("unseen_values", "warning", f"{message} {split} rows", help, where)


def _extremes(facts: ColumnFacts) -> str:
    train = facts.numbers["train"]
    assert train.minimum is not None and train.maximum is not None and train.mean is not None
    above = train.maximum - train.mean > train.mean - train.minimum
    return f"up to {_figure(train.maximum)}" if above else f"down to {_figure(train.minimum)}"
