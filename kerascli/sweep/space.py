"""The values that a sweep tries: what they are, the spec that each makes, and whether every one can be trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kerascli import yamltext
from kerascli.check import Checked, check, checked
from kerascli.component import nearest
from kerascli.errors import Failure, Problem, Span, SpecFailure
from kerascli.overrides import placed
from kerascli.search import KINDS, Choice, Log, Range, Search, Uniform, Whole
from kerascli.spec import Loaded, read
from kerascli.yamltext import Document, Node

Value = str | int | float | bool | None
Values = Mapping[str, Value]
"""What is tried, by its place; of a choice between components or lists, its YAML on one line."""

TRIALS = 20
"""Trials where nobody says how many."""
LARGEST_GRID = 100_000
MOST_CHECKS = 1000
"""Combinations that are checked before the first trial."""


@dataclass(frozen=True)
class Parameter:
    """A place of the spec and its range."""

    path: str
    where: Span
    """Where `search` writes the path."""
    range: Range
    node: Node
    """The range as the spec writes it."""

    @property
    def labels(self) -> list[Value]:
        """The values of a choice as the storage knows them."""
        assert isinstance(self.range, Choice)
        values = self.range.choice
        simple = all(value is None or isinstance(value, (str, int, float, bool)) for value in values)
        if simple and len(set(values)) == len(values):  # 1 and true are one key
            return values
        return [yamltext.inline(value) for value in values]

    def leaf(self, value: Value) -> Node:
        """What is put at the place: a number, or a part of the spec's text."""
        if not isinstance(self.range, Choice):
            if isinstance(self.range, Uniform) and self.range.step and isinstance(value, float):
                value = float(f"{value:.12g}")  # sums of steps, as a person would write them
            ends = next(part for key, part in self.node.parts.items() if key in KINDS).parts.values()
            return Node(value, next((end.span for end in ends if end.value == value), self.where), plain=True)
        return self.node.parts["choice"].parts[self.labels.index(value)]

    def words(self, value: Value) -> str:
        """A value in a few words: of components, what tells one choice from the others."""
        if isinstance(value, float):
            return f"{value:.4g}"
        found = self.leaf(value).value if isinstance(self.range, Choice) else value
        if not isinstance(self.range, Choice) or not isinstance(found, dict):
            return yamltext.inline(found)
        others = [other for other in self.range.choice if isinstance(other, dict)]
        differing = {k: v for k, v in found.items() if any(k not in other or other[k] != v for other in others)}
        told = [str(v) if k == "type" else f"{k} {yamltext.inline(v)}" for k, v in differing.items()]
        return ", ".join(told) or str(found.get("type", yamltext.inline(found)))

    def corners(self) -> list[Value]:
        """The values that are checked before the first trial: all of a choice, the ends of a range."""
        match self.range:
            case Choice():
                return self.labels
            case Uniform(uniform=[low, high]) | Whole(ends=[low, high]) | Log(log=[low, high]):
                return [low, high]
        raise AssertionError

    def steps(self) -> list[Value]:
        """All its values, in order, for a grid."""
        match self.range:
            case Choice():
                return self.labels
            case Whole(ends=[low, high], step=step):
                return list(range(low, high + 1, step))
            case Uniform(uniform=[low, high], step=float(step)):
                return [low + k * step for k in range(int((high - low) / step + 1e-9) + 1)]
        help = "write `choice`, `int`, or `uniform` with a `step`; or take another sampler"
        message = f"a grid cannot have every value of `{self.path}`, for there is no end to them"
        raise SpecFailure(Problem("E205", message, self.node.span, help=help))

    @property
    def numeric(self) -> bool:
        return not isinstance(self.range, Choice)

    def contains(self, other: Parameter) -> bool:
        """Whether the other's place is inside of this one's."""
        return other.path.startswith((f"{self.path}.", f"{self.path}["))


class Space:
    """The spec and what is varied in it."""

    def __init__(self, base: Checked, origin: Path) -> None:
        self.base, self.origin = base, origin
        self.loaded = base.loaded
        self.search = base.loaded.spec.search or Search()
        self.seed = base.loaded.spec.seed
        section = base.loaded.document.node(("search",))
        ranges = self.search.ranges
        self.parameters = [
            Parameter(path, _inside(section.keys[path]), found, section.parts[path]) for path, found in ranges.items()
        ]
        self._by_path = {p.path: p for p in self.parameters}
        self._outer_first = sorted(self.parameters, key=lambda p: len(p.path))
        self._document = without_search(base.loaded.document)

    def document(self, values: Values, seed: int | None = None) -> Document:
        """The spec's text with values put in, and without `search`; outer places first, so that inner ones stay."""
        found = self._document
        for parameter in self._outer_first:
            if parameter.path in values:
                leaf = parameter.leaf(values[parameter.path])
                found = placed(found, parameter.path, leaf, parameter.where)
        if seed is not None and seed != self.seed:
            found = placed(found, "seed", Node(seed, found.root.span, plain=True), found.root.span)
        return found

    def spec(self, values: Values, seed: int | None = None) -> Loaded:
        """The spec with values put in; its relative paths start where the spec was written."""
        document = self.document(values, seed)
        return Loaded(read(document, self.origin), document, self.loaded.path)

    def words(self, path: str, values: Values) -> str:
        """The value of a place in a few words; none where it is being chosen just now."""
        return self._by_path[path].words(values[path]) if path in values else ""

    def values(self, value: Values) -> dict[str, Any]:
        """The values as the spec has them: components and lists, where the storage has their text."""
        return {path: self._by_path[path].leaf(found).value for path, found in value.items() if path in self._by_path}

    def grid(self) -> list[dict[str, Value]]:
        """Every combination, the last place changing first."""
        steps = [p.steps() for p in self.parameters]
        count = 1
        for values in steps:
            count *= len(values)
        if count > LARGEST_GRID:
            message = f"the grid has {count:,} points, and {LARGEST_GRID:,} are the most"
            where = self.loaded.document.key_span(("search",))
            raise SpecFailure(Problem("E205", message, where, help="take another sampler, or larger steps"))
        return [dict(zip((p.path for p in self.parameters), point, strict=True)) for point in itertools.product(*steps)]

    # ---- what can be known before the first trial

    def check(self) -> None:
        """Every choice, and the ends of every range, must make a spec that can be trained."""
        problems: list[Problem] = []
        for values in itertools.islice(self._corners(), MOST_CHECKS):
            problems += self._faults(values)
        problems += self._sampler()
        if problems:
            raise SpecFailure(list(dict.fromkeys(problems)))

    def _corners(self) -> Iterator[dict[str, Value]]:
        """Combinations to check: places inside of others with all that may be around them, the rest alone."""
        for parameter in self.parameters:
            if any(parameter.contains(other) for other in self.parameters):
                continue
            around = [p for p in self.parameters if p.contains(parameter)]
            for outer in itertools.product(*(p.corners() for p in around)):
                given = {p.path: value for p, value in zip(around, outer, strict=True)}
                for value in parameter.corners():
                    yield {**given, parameter.path: value}

    def _faults(self, values: dict[str, Value]) -> list[Problem]:
        try:
            checked(self.spec(values))
        except Failure as failure:
            return [self._here(problem, values) for problem in failure.problems]
        return []

    def _here(self, problem: Problem, values: Values) -> Problem:
        """A problem that values make elsewhere in the spec is the last one's, which is inside of the others."""
        given = [(self._by_path[path], value) for path, value in values.items()]
        own = {span.line for parameter, value in given for span in (parameter.where, *_spans(parameter.leaf(value)))}
        if isinstance(problem.where, Span) and problem.where.line in own:
            return problem
        parameter, value = given[-1]
        leaf = parameter.leaf(value)
        words = yamltext.inline(leaf.value)
        return replace(problem, message=f"with `{parameter.path}: {words}`: {problem.message}", where=leaf.span)

    def _sampler(self) -> list[Problem]:
        where = self.loaded.document.span(("search", "sampler"))
        if self.search.sampler == "cmaes" and sum(p.numeric for p in self.parameters) < 2:
            message = "CMA-ES moves through numbers, and `search` has not two places with a range of them"
            return [Problem("E205", message, where, help="take `tpe`, which knows choices too")]
        if self.search.sampler == "grid":
            try:
                self.grid()
            except SpecFailure as failure:
                return list(failure.problems)
        return []


@dataclass(frozen=True)
class Goal:
    """What a sweep makes best."""

    monitor: str
    direction: str
    """`minimize` or `maximize`."""
    trials: int
    """Values to try; each is trained once with every seed."""
    seeds: int
    note: str = ""
    """What the user should know of it."""


def goal(space: Space) -> Goal:
    """The figure, its direction and the budget, from the spec or as is natural; a Problem for what no run has."""
    base, search, document = space.base, space.search, space.loaded.document
    own, sizes = base.objective.columns, base.signature.sizes
    held = {"val_": "validation", "test_": "test"}
    absent = {prefix for prefix, split in held.items() if not sizes.get(split)}
    known = ["seconds", *own, *(f"{prefix}{name}" for prefix in held if prefix not in absent for name in own)]
    where = document.span(("search", "monitor"))
    note, monitor = "", search.monitor
    if monitor is None:
        monitor = "val_loss" if "val_" not in absent else "loss"
        if monitor == "loss":
            note = "there is no validation split, so `loss` is watched; `dataset.validation_split` makes one"
    elif monitor not in known:
        raise SpecFailure(_unknown(monitor, known, absent, where))
    per_epoch = not monitor.startswith("test_") and monitor != "seconds"
    if search.pruner != "none" and not per_epoch:
        message = f"`{monitor}` is known when training is over, and pruning needs a figure of every epoch"
        help = f"watch one of {', '.join(name for name in known if name not in ('seconds',) and name[:5] != 'test_')}"
        raise SpecFailure(Problem("E315", message, where, help=help))
    way = search.direction or _direction(base, monitor)
    if way is None:
        message = f"nobody knows which way `{monitor}` is better"
        raise SpecFailure(Problem("E315", message, where, help="say `direction: minimize` or `direction: maximize`"))
    if search.seeds > 1 and (seeded := [p for p in space.parameters if p.path == "seed"]):
        message = "`seed` cannot be searched and repeated at once"
        raise SpecFailure(Problem("E205", message, seeded[0].where, help="leave out `seeds`, or this range"))
    if not space.parameters:
        if search.seeds == 1:
            raise _nothing(space)
        return Goal(monitor, way, 1, search.seeds, note)
    points = len(space.grid()) if search.sampler == "grid" else None
    trials = min(search.trials or points or TRIALS, points or search.trials or TRIALS)
    return Goal(monitor, way, trials, search.seeds, note)


def _direction(base: Checked, monitor: str) -> str | None:
    if monitor == "seconds":
        return "minimize"
    name = monitor.removeprefix("val_").removeprefix("test_")
    return {"down": "minimize", "up": "maximize"}.get(str(base.objective.directions.get(name)))


def _unknown(monitor: str, known: Sequence[str], absent: set[str], where: Span) -> Problem:
    lacking = next((prefix for prefix in absent if monitor.startswith(prefix)), "")
    if lacking:
        split = {"val_": "validation", "test_": "test"}[lacking]
        help = f"`dataset.{split}_split` makes one"
        return Problem("E315", f"`search` watches `{monitor}`, and the data have no {split} split", where, help=help)
    near = nearest(monitor, list(known))
    label = f"did you mean `{near}`?" if near else ""
    message = f"`search` watches `{monitor}`, and no run of this spec has it"
    return Problem("E315", message, where, label, f"there are {', '.join(known)}")


def _nothing(space: Space) -> SpecFailure:
    help = "add `search: {optimizer.learning_rate: {log: [1e-4, 0.1]}}` to it, or repeat it over seeds: `--seeds 5`"
    return SpecFailure(Problem("E202", "the spec says nothing to search", space.loaded.path, help=help))


def without_search(document: Document) -> Document:
    root = document.root
    parts = {key: part for key, part in root.parts.items() if key != "search"}
    values = {key: part.value for key, part in parts.items()}
    return Document(replace(root, value=values, parts=parts))


def open_space(path: Path, settings: Sequence[str]) -> Space:
    """The space of a spec, all of which is checked."""
    space = Space(check(path, settings), path)
    space.check()
    return space


def _inside(span: Span) -> Span:
    """The place of a key without its quotes."""
    quoted = span.text[span.column - 1 : span.column] in ('"', "'")
    return replace(span, column=span.column + 1, end_column=span.end_column - 1) if quoted else span


def _spans(node: Node) -> Iterator[Span]:
    yield node.span
    yield from node.keys.values()
    for part in node.parts.values():
        yield from _spans(part)
