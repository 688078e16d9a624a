"""What is in a dataset before training, and what is suspicious about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kerascli.check import check
from kerascli.errors import Failure, Problem
from kerascli.inspection.columns import columns
from kerascli.inspection.facts import Finding, Inspection
from kerascli.inspection.findings import Context, findings
from kerascli.inspection.look import Look, Progress
from kerascli.inspection.pictures import pictures
from kerascli.model import Model
from kerascli.sources.base import Dataset, Split
from kerascli.spec import Loaded, load
from kerascli.training import read_data

__all__ = ["Finding", "Inspection", "inspect"]


def inspect(
    path: Path | str,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    progress: Progress = lambda done, total: None,
) -> Inspection:
    """Look at every sample of every split, or of those in `only`.

    Where the network does not fit the data they are shown nevertheless, with what is wrong in `problems`.
    """
    loaded = load(path, overrides)
    model, data, problems = _read(loaded, path, overrides)
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    splits = {name: split for name, split in parts.items() if split is not None}
    if absent := [name for name in only if name not in splits]:
        raise Failure(Problem("E507", f"the dataset has no {absent[0]} split", help=f"it has {', '.join(splits)}"))
    chosen = {name: split for name, split in splits.items() if not only or name in only}
    return look_at(loaded, model, data, chosen, problems, progress)


def look_at(
    loaded: Loaded,
    model: Model | None,
    data: Dataset,
    splits: Mapping[str, Split],
    problems: Sequence[Problem] = (),
    progress: Progress = lambda done, total: None,
) -> Inspection:
    """The same of data that are read already."""
    samples = {name: len(split) for name, split in splits.items()}
    dataset, graph = loaded.spec.dataset, model.graph if model else None
    look = Look(data.preprocessing, graph, getattr(dataset, "oov_char", None), progress, sum(samples.values()))
    for name, split in splits.items():
        look.at(name, split)
    seen = look.found(loaded.spec.training.class_weight)
    table = columns(dataset, loaded.base, data.preprocessing)
    files = pictures(dataset, loaded.base)
    return Inspection(
        loaded.spec.name,
        dataset.type_name(),
        data.fingerprint,
        samples,
        getattr(dataset, "stratify", False),
        seen.inputs,
        seen.targets,
        table,
        seen.sample_weight,
        seen.copies,
        data.notes,
        findings(Context(loaded, graph, samples, seen, table, files)),
        files,
        tuple(problems),
    )


def _read(
    loaded: Loaded, path: Path | str, overrides: Sequence[str]
) -> tuple[Model | None, Dataset, Sequence[Problem]]:
    """The data as training reads them; where the rest of the spec is wrong, as they are by themselves."""
    try:
        model = Model.of(check(path, overrides))
        return model, read_data(model), ()
    except Failure as failure:
        try:
            return None, loaded.spec.dataset.load(loaded.base, loaded.spec.seed), failure.problems
        except Failure:
            raise failure from None
