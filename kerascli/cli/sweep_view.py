"""A sweep on the screen: the table while it runs, and at the end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from kerascli.cli import render
from kerascli.cli.progress import Moving
from kerascli.errors import Problem
from kerascli.sweep import results
from kerascli.sweep.folder import Sweep
from kerascli.sweep.ledger import FINISHED, Entry
from kerascli.sweep.results import Candidate
from kerascli.sweep.space import Space

LONGEST = 28
"""Cells of a value in a column of its own."""
MARGIN = 3
"""Cells that a column takes beside its text."""
ROOM = 24
"""Cells that all values of a trial in one column need, at least."""
FINAL_ROWS = 20
"""Of the table at the end; `--json` has them all."""


class View(Moving):
    """The table while a sweep runs; in a pipe, one plain line for each trial that ends."""

    def __init__(self, sweep: Sweep, space: Space, quiet: bool) -> None:
        super().__init__(quiet)
        self.sweep, self.space = sweep, space
        self._told: set[int] | None = None

    def show(self, entries: list[Entry]) -> None:
        """How things stand."""
        if self.live:
            rows = max(3, self.console.height - 8)
            parts: list[Table | Text] = [Text(results.progress_words(entries, self.sweep.goal), "bold")]
            if any(entry.state != "waiting" for entry in entries):
                parts.insert(0, table(self.sweep, self.space, entries, self.console.width, rows))
            self.live.update(Group(*parts), refresh=True)
        elif not self.quiet:
            self._tell(entries)

    def _tell(self, entries: Sequence[Entry]) -> None:
        done = [entry for entry in entries if entry.state in FINISHED]
        if self._told is None:  # those of an earlier session are not news
            self._told = {entry.number for entry in done}
        for entry in done:
            if entry.number not in self._told:
                self._told.add(entry.number)
                candidate = Candidate(entry.leader, entry.values, (entry,))
                seed = f" seed {self.space.seed + entry.replica}" if self.sweep.goal.seeds > 1 else ""
                figure = f"{self.sweep.goal.monitor} {results.figure_words(candidate)}" if entry.curve else ""
                words = [f"trial {entry.leader}{seed}", entry.state, figure]
                words += [results.values_words(self.space, entry.values), str(entry.notes.get("error", ""))]
                self.say("  ".join(filter(None, words)))

    def problems(self, found: Sequence[Problem]) -> None:
        """What is doubtful about the spec."""
        if not self.quiet:
            render.problems(found)

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(Text(text), soft_wrap=self.live is None)


def table(sweep: Sweep, space: Space, entries: Sequence[Entry], width: int, most: int) -> Table:
    """The values that were tried, the best first; what has no room in columns of its own stands in one."""
    goal = sweep.goal
    order = results.ranked(results.candidates(entries), goal)
    rows = _running_first(order, most)
    names = results.headings(space)
    fixed = ["trial", goal.monitor, "epochs", "curve", "state"]
    cells = [
        [
            f"{c.number}{' *' if c is order[0] and c.mean is not None else ''}",
            results.figure_words(c),
            results.epochs_words(c),
            results.curve_words(c),
            results.state_words(c, goal.seeds),
        ]
        for c in rows
    ]
    own = [[space.words(path, c.values) for path in names] for c in rows]
    heads = [*fixed, *names.values()]
    if names and _width(heads, [[*a, *b] for a, b in zip(cells, own, strict=True)]) > width:
        own = [[results.values_words(space, c.values)] for c in rows]
        longest = max((cell_len(row[0]) for row in own), default=0)
        for drop, room in (("curve", longest), ("epochs", ROOM)):  # what is least missed makes room
            if _width(fixed, cells) + room + MARGIN > width:
                at = fixed.index(drop)
                fixed, cells = [*fixed[:at], *fixed[at + 1 :]], [[*row[:at], *row[at + 1 :]] for row in cells]
        heads = [*fixed, "values"]
    made = [[*a, *b] for a, b in zip(cells, own, strict=True)]
    found = render.table(heads, made, (0, 1, 2) if "epochs" in fixed else (0, 1))
    if len(order) > len(rows):
        found.caption = f"{len(rows)} of {len(order)}"
        found.caption_justify = "left"
    return found


def _running_first(order: Sequence[Candidate], most: int) -> list[Candidate]:
    """What runs, above all that may have no room; then the best."""
    running = [candidate for candidate in order if candidate.state == "running"]
    return [*running, *(c for c in order if c.state not in ("running", "waiting"))][:most]


def _width(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    columns = zip(heads, *rows, strict=True)
    sizes = [max(map(cell_len, column)) for column in columns]
    return sum(sizes) + MARGIN * len(sizes) + 1 if max(sizes, default=0) <= LONGEST else 1 << 30


def final(sweep: Sweep, space: Space, entries: Sequence[Entry]) -> None:
    """The table at the end, on standard output, and the best."""
    console = render.out()
    width = console.width if console.is_terminal else 120
    console.width = width
    goal = sweep.goal
    groups = results.candidates(entries)
    chosen = results.best(groups, goal)
    if space.parameters and any(entry.state != "waiting" for entry in entries):
        console.print(table(sweep, space, entries, width, FINAL_ROWS))
    if chosen is not None and goal.seeds > 1:
        title = f"over {len(chosen.found)} seeds" + (f", trial {chosen.number}" if space.parameters else "")
        heads = ("figure", "mean", "deviation", "lowest", "highest")
        console.print(render.table(heads, results.statistics_rows(chosen), range(1, 5), title))
    for error, count in results.errors(entries).items():
        console.print(Text(f"{count} failed: {error}"))
    if chosen is not None and space.parameters:
        run = next((entry.run for entry in chosen.entries if entry.state == "completed" and entry.run), "")
        here = sweep.runs / run
        console.print(Text(f"best: trial {chosen.number}, {here if here.exists() else f'{run}, on another machine'}"))
