"""`--set a.b[0].c=value`: changes to a document from the command line, with places of their own.

`search:` names places of the spec by the same paths: `placed` puts a value there.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from kerascli import yamltext
from kerascli.errors import Problem, Span, SpecFailure
from kerascli.yamltext import Document, Key, Node

FILE = "--set"
_STEP = re.compile(r"\.?([^.\[\]=]+)|\[(-?[0-9]+)\]")


DEFAULTS = {"optimizer": "RMSprop"}
"""Components that a spec may leave out, so that `--set optimizer.learning_rate=0.1` has something to change."""


def override(document: Document, settings: Sequence[str]) -> Document:
    """The document with every setting applied, in order; each setting is a line of the file `--set`."""
    for number, text in enumerate(settings, 1):
        document = dataclasses.replace(document, root=_Setting(text, number).put(document.root, 0))
    return document


def placed(document: Document, path: str, leaf: Node, where: Span) -> Document:
    """The document with `leaf` at `path`, which is written at `where`."""
    return dataclasses.replace(document, root=_Way(path, path, leaf, where).put(document.root, 0))


class _Way:
    """A path, where it is written, and what is put at its end."""

    def __init__(self, text: str, path: str, leaf: Node, where: Span) -> None:
        self.text, self.where, self.leaf = text, where, leaf
        self.steps, self.spans = self.path(path)

    def path(self, path: str) -> tuple[list[Key], list[Span]]:
        steps: list[Key] = []
        spans: list[Span] = []
        at = 0
        while at < len(path):
            found = _STEP.match(path, at)
            if not found or (at == 0) == path.startswith((".", "["), at) or not (found[2] or found[1].strip()):
                self.fail(
                    at, f"`{path}` is not a path", "write keys with dots and indices in brackets: `layers[0].units`"
                )
            steps.append(int(found[2]) if found[2] else found[1].strip())
            group = 2 if found[2] else 1
            spans.append(self.span(found.start(group), found.end(group)))
            at = found.end()
        if not steps:
            self.fail(0, "a path is empty", "write it as in `training.epochs`")
        return steps, spans

    def span(self, start: int, end: int) -> Span:
        at = self.where.column
        return Span(self.where.file, self.where.line, at + start, at + max(end, start + 1), self.where.text)

    def start(self, depth: int) -> int:
        """Where in the text a step of the path begins."""
        return self.spans[depth].column - self.where.column

    def put(self, node: Node | None, depth: int) -> Node:
        """`node` with the value at the rest of the path; nodes on the way are copied, for aliases share them."""
        if depth == len(self.steps):
            return self.leaf
        step, span = self.steps[depth], self.spans[depth]
        if isinstance(step, int):
            return self.put_item(node, step, depth)
        if node is None and depth == 1 and self.steps[0] in DEFAULTS:
            node = Node(DEFAULTS[str(self.steps[0])], self.spans[0], plain=True)
        if node is None or node.value is None:
            node = Node({}, span)
        elif isinstance(node.value, str):
            node = Node({"type": node.value}, node.span, 2, True, {"type": node.span}, {"type": node})
        elif not isinstance(node.value, dict):
            where = self.text[: self.start(depth) - 1]
            help = self.numbered(depth) if isinstance(node.value, list) else ""
            self.fail(self.start(depth), f"`{where}` is {yamltext.describe(node.value)}: it has no `{step}`", help)
        part = self.put(node.parts.get(step), depth + 1)
        parts = {**node.parts, step: part}
        keys = {**node.keys, step: span}
        return dataclasses.replace(node, value={k: p.value for k, p in parts.items()}, keys=keys, parts=parts)

    def numbered(self, depth: int) -> str:
        """How to name an item of a list: what was typed, if that is a number, in brackets."""
        start = self.start(depth) - 1
        where, step = self.text[:start], str(self.steps[depth])
        if not step.isdecimal():
            return f"number its items from 0: `{where}[0]`"
        return f"items are numbered in brackets, from 0: write `{where}[{step}]{self.text[start + 1 + len(step) :]}`"

    def put_item(self, node: Node | None, index: int, depth: int) -> Node:
        where = self.text[: self.start(depth) - 1]
        if node is None or not isinstance(node.value, list):
            given = "not set" if node is None else yamltext.describe(node.value)
            self.fail(self.start(depth), f"`{where}` is {given}, not a list")
        count = len(node.parts)
        at = index + count if index < 0 else index
        if not 0 <= at < count:
            self.fail(self.start(depth), f"`{where}` has {_items(count)}, numbered from 0; got {index}")
        parts = {**node.parts, at: self.put(node.parts[at], depth + 1)}
        return dataclasses.replace(node, value=[p.value for p in parts.values()], parts=parts)

    def fail(self, column: int, message: str, help: str = "") -> NoReturn:
        end = next((k for k in range(column + 1, len(self.text)) if self.text[k] in ".[]="), len(self.text))
        raise SpecFailure(Problem("E206", message, self.span(column, end), help=help))


class _Setting(_Way):
    """A setting from the command line: a line of the file `--set`."""

    def __init__(self, text: str, number: int) -> None:
        self.text, self.where = text, Span(FILE, number, 1, 0, text)
        path, equals, value = text.partition("=")
        if not equals:
            self.fail(0, "`--set` needs a key, `=` and a value", "write it as `--set training.epochs=3`")
        if not path:
            self.fail(0, "`--set` needs a key before `=`", "write it as `--set training.epochs=3`")
        super().__init__(text, path, self.value(value, len(path) + 1), self.where)

    def value(self, text: str, start: int) -> Node:
        """The value, YAML-typed; an empty one is null."""
        if not text.strip():
            return Node(None, self.span(start, start + 1), plain=True)
        try:
            node = yamltext.parse(text, FILE).root
        except SpecFailure as failure:
            problems = [dataclasses.replace(p, where=self.shifted(p.where, start)) for p in failure.problems]
            raise SpecFailure(problems) from failure
        return self.moved(node, start)

    def moved(self, node: Node, start: int) -> Node:
        return dataclasses.replace(
            node,
            span=self.shifted(node.span, start),
            keys={key: self.shifted(span, start) for key, span in node.keys.items()},
            parts={key: self.moved(part, start) for key, part in node.parts.items()},
        )

    def shifted(self, where: Any, start: int) -> Span:
        if not isinstance(where, Span):
            return self.span(start, len(self.text))
        return Span(FILE, self.where.line, where.column + start, where.end_column + start, self.text)


def _items(count: int) -> str:
    return "one item" if count == 1 else f"{count} items"
