"""Forms that a trained model is written in, one file per form."""

from __future__ import annotations

import importlib
import pkgutil

from kerascli.component import nearest
from kerascli.errors import Failure, Problem
from kerascli.exporters.base import Exporter


def exporters() -> dict[str, Exporter]:
    """Every form by its name, found by importing this folder."""
    for info in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{info.name}")
    found = _leaves(Exporter)
    return {kind.form: kind() for kind in sorted(found, key=lambda kind: kind.form)}


def exporter(form: str) -> Exporter:
    """The form of that name."""
    known = exporters()
    if form not in known:
        near = nearest(form, list(known))
        help = f"there are {', '.join(known)}"
        problem = Problem(
            "E602", f"unknown format `{form}`", label=f"did you mean `{near}`?" if near else "", help=help
        )
        raise Failure(problem, exit_code=2)
    return known[form]


def _leaves(kind: type[Exporter]) -> list[type[Exporter]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in _leaves(each)] if below else [kind]
