"""A finding: what is wrong, where the spec says it, and the mend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kerascli.errors import Span
from kerascli.spec import Loaded
from kerascli.yamltext import Place


@dataclass(frozen=True)
class Finding:
    """One thing that training shows to be wrong; it is told once a run."""

    name: str
    """Stable, for programs: `dead_relu`."""
    message: str
    help: str
    where: Span
    """The line of the spec to change."""

    @property
    def line(self) -> str:
        """As people read it."""
        return f"diagnosis: {self.where.file}:{self.where.line}: {self.message}; {self.help}"

    def facts(self, epoch: int | None) -> dict[str, Any]:
        """As `run.json` and events keep it; `epoch` counts from 0, None is before training."""
        place = {"file": self.where.file, "line": self.where.line, "column": self.where.column}
        return {"name": self.name, "epoch": epoch, "message": self.message, "help": self.help, **place}


def place(loaded: Loaded, *paths: Place) -> Span:
    """The key of the first of these paths that the spec writes; its first line where it writes none."""
    for path in paths:
        if len(loaded.document.trail(path)) == len(path):
            return loaded.document.key_span(path)
    return loaded.document.root.span
