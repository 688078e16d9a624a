"""The sentence under each field of a model, read from the source when somebody asks.

Pydantic could collect them as it makes a class, but that costs more than all the rest of starting up.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from pathlib import Path

from pydantic import BaseModel


def sentences(model: type[BaseModel]) -> dict[str, str]:
    """The sentence of each field that has one, inherited ones included."""
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if issubclass(part, BaseModel) and part is not BaseModel:
            found |= _of_module(part.__module__).get(part.__qualname__, {})
    return {name: text for name, text in found.items() if name in model.model_fields}


@functools.cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    """For each class of a module: the sentence under each annotated name."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return {}
    tree = ast.parse(Path(file).read_text("utf-8"))
    return {node.name: _of_class(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, after in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            found[field.target.id] = inspect.cleandoc(after.value.value)
    return found
