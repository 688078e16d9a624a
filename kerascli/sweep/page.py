"""The page of a sweep: its best spec, the table of all values, and Optuna's plots. It needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kerascli import files, yamltext
from kerascli.report.template import filled
from kerascli.sweep import plots, results, storage
from kerascli.sweep.folder import Sweep
from kerascli.sweep.ledger import Entry, Ledger
from kerascli.sweep.results import Candidate
from kerascli.sweep.space import Space

MOST_ROWS = 500
"""Of the table."""


def write(sweep: Sweep, space: Space, ledger: Ledger, path: Path) -> None:
    """Write the page; whoever reads the file sees a whole one."""
    files.write_text(path, filled("kerascli.sweep", _content(sweep, space, ledger)))


def _content(sweep: Sweep, space: Space, ledger: Ledger) -> dict[str, Any]:
    goal, entries = sweep.goal, ledger.current()
    order = results.ranked(results.candidates(entries), goal)
    chosen = results.best(order, goal)
    names = results.headings(space)
    with storage.refusals(sweep):
        words = {str(label): p.words(label) for p in space.parameters if not p.numeric for label in p.labels}
        pictures = plots.pictures(ledger.study, goal, names, words)
        parallel = plots.parallel(ledger.study, goal, names, words)
    return {
        "name": sweep.name,
        "goal": goal,
        "note": goal.note,
        "progress": results.progress_words(entries, goal),
        "searched": [(p.path, yamltext.inline(p.node.value)) for p in space.parameters],
        "sampler": space.search.sampler,
        "pruner": space.search.pruner,
        "best": chosen,
        "best_words": results.figure_words(chosen) if chosen else "",
        "best_values": [(n, space.words(path, chosen.values)) for path, n in names.items()] if chosen else [],
        "best_spec": results.best_spec(space, chosen) if chosen else "",
        "statistics": results.statistics_rows(chosen) if chosen and goal.seeds > 1 else [],
        "heads": ["trial", goal.monitor, "epochs", "curve", "state", *names.values(), "run"],
        "rows": [_row(space, candidate, goal.seeds) for candidate in order[:MOST_ROWS]],
        "hidden": max(0, len(order) - MOST_ROWS),
        "errors": results.errors(entries),
        "pictures": pictures,
        "parallel": parallel,
    }


def _row(space: Space, candidate: Candidate, seeds: int) -> list[str]:
    return [
        str(candidate.number),
        results.figure_words(candidate),
        results.epochs_words(candidate),
        results.curve_words(candidate, 20),
        results.state_words(candidate, seeds),
        *(space.words(path, candidate.values) for path in results.headings(space)),
        ", ".join(_runs(candidate.entries)),
    ]


def _runs(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.run for entry in entries if entry.run]
