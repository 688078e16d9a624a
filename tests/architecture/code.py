"""The package's source as data: which module imports what, how long things are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import kerascli

ROOT = Path(kerascli.__file__).parent


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    """Such as `kerascli.ops.linear`."""
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def part(self) -> str:
        """The stage it is, or the folder it stands in: `ops`."""
        return self.name.split(".")[1] if "." in self.name else self.name

    def imports(self) -> Iterator[str]:
        """Every module that it imports, anywhere in the file, but for the sake of types alone."""
        for node in _running(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module == "kerascli":
                yield from (f"kerascli.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}: a relative import"
                yield node.module or ""

    def functions(self) -> Iterator[tuple[str, int]]:
        """Every function and method with its number of lines."""
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """The tree without `if TYPE_CHECKING:` blocks."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _running(child)


@cache
def modules() -> list[Module]:
    """Every file of the package."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found.append(Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found
