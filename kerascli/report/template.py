"""Pages in one style, for reports of runs and of sweeps. The only door to Jinja2, which escapes all from outside."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from kerascli import __version__
from kerascli.report.words import number


def filled(package: str, content: Mapping[str, Any]) -> str:
    """The package's `page.html` with its content; `macros.html` and the style sheet are those of reports."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("kerascli.report", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = number
    style = (resources.files("kerascli.report") / "page.css").read_text("utf-8")
    text: str = environment.get_template("page.html").render(content, style=style, version=__version__)
    return text.lstrip()
