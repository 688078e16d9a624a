"""YAML 1.2 text to plain values, and the place of every key and value. The only door to the yaml package.

PyYAML's parser is used for its events alone: its resolver speaks YAML 1.1, where `no` is false, `1e-3` is text and
`010` is eight. Scalars are read here by the core schema of YAML 1.2. Nothing is built that was not asked for: tags and
merge keys are refused, and size, depth and the growth by aliases are bounded.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from kerascli.errors import Problem, Span, SpecFailure

Key = str | int
Place = tuple[Key, ...]
"""The way to a value: keys of mappings and indices of lists, from the top of the document."""

SMALLEST = (
    "a small one: {dataset: iris, layers: [{type: Dense, units: 3, activation: softmax}], "
    "loss: sparse_categorical_crossentropy}"
)
"""What to write where there is nothing."""

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 64
MAX_VALUES = 200_000
MAX_DIGITS = 300

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(slots=True)
class Node:
    """A value with its place; a mapping or a list also has its parts, each with the place of its key."""

    value: Any
    span: Span
    size: int = 1
    """Values in it, aliases written out."""
    plain: bool = False
    """Whether it was written without quotes."""
    keys: dict[Key, Span] = field(default_factory=dict)
    parts: dict[Key, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """The text as plain values (`dict`, `list`, `str`, `int`, `float`, `bool`, `None`) and their places."""

    root: Node

    @property
    def value(self) -> Any:
        return self.root.value

    def trail(self, place: tuple[Any, ...]) -> list[tuple[Key, Node]]:
        """The nodes on the way to `place`; a step that the text does not have is left out."""
        node, found = self.root, []
        for step in place:
            if step in node.parts:
                node = node.parts[step]
                found.append((step, node))
        return found

    def node(self, place: tuple[Any, ...]) -> Node:
        """The node at `place`, or the nearest one around it."""
        trail = self.trail(place)
        return trail[-1][1] if trail else self.root

    def span(self, place: tuple[Any, ...]) -> Span:
        """Where the value at `place` is written."""
        return self.node(place).span

    def type_span(self, place: tuple[Any, ...]) -> Span:
        """Where a component says its type, such as a layer; the component itself where it is but a word."""
        node = self.node(place)
        return node.parts["type"].span if "type" in node.parts else node.span

    def key_span(self, place: tuple[Any, ...]) -> Span:
        """Where the last key of `place` is written."""
        return self.node(place[:-1]).keys.get(place[-1]) or self.span(place)


def read(path: Path) -> Document:
    """Read and parse a file; every fault of the text is in one SpecFailure."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SpecFailure(Problem("E101", f"cannot read `{path}`: {reason}", path, help=_unread(path))) from error
    return parse(data, str(path))


def _unread(path: Path) -> str:
    """What may have been meant by a path that is no file."""
    if path.is_dir():
        found = sorted(path.glob("*.yaml"))[:3]
        return f"a spec is one file, such as `{found[0]}`" if found else "a spec is one file"
    if str(path) == "-":
        return "a spec is a file, for its relative paths start there; `/dev/stdin` reads standard input"
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.y*ml")], 1)
    return f"did you mean `{path.with_name(near[0])}`?" if near else ""


def parse(text: bytes | str, file: str) -> Document:
    """Parse one YAML document; `file` is the name that places are given in."""
    if len(text) > MAX_BYTES:
        raise SpecFailure(
            Problem("E102", f"the text is larger than {MAX_BYTES // 2**20} MiB", Path(file), help="is this a spec?")
        )
    decoded = text if isinstance(text, str) else _decode(text, file)
    return Document(_Builder(decoded, file).document())


def dump(value: Any) -> str:
    """Plain values as YAML that reads back as the same values."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def inline(value: Any) -> str:
    """Plain values as YAML on one line."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**30, default_flow_style=True)
    return text.removesuffix("...\n").strip()


class _Dumper(yaml.SafeDumper):
    """Writes what the core schema of 1.2 reads: a text that would be read as a number is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is not yaml.ScalarNode:
            return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]
        name = _TAGS[type(scalar(value))] if implicit[0] else "str"
        return f"tag:yaml.org,2002:{name}"


_TAGS = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    words = repr(value) if math.isfinite(value) else ".nan" if math.isnan(value) else f"{'-' * (value < 0)}.inf"
    return dumper.represent_scalar("tag:yaml.org,2002:float", words)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    quoted = value == "<<" or not value.isprintable()
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if quoted else None)


_Dumper.add_representer(float, _float)
_Dumper.add_representer(str, _text)


def scalar(text: str) -> str | int | float | bool | None:
    """A scalar without quotes, by the core schema of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if sign := _INFINITE.fullmatch(text):
        return -math.inf if sign[1] == "-" else math.inf
    return math.nan if text in (".nan", ".NaN", ".NAN") else text


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        shown = data.splitlines()[line - 1].decode("utf-8", "replace") if data.splitlines() else ""
        raise SpecFailure(
            Problem(
                "E103",
                "the text is not UTF-8",
                Span(file, line, column, column + 1, shown),
                f"byte 0x{data[error.start]:02x} is no part of a UTF-8 character",
                "save the file as UTF-8",
            )
        ) from error


class _Builder:
    """Builds nodes from the parser's events, and collects what is wrong on the way."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.lines = text.splitlines() or [""]
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | None] = {}
        self.count = 0

    def document(self) -> Node:
        if bad := _UNPRINTABLE.search(self.text):
            line = self.text.count("\n", 0, bad.start()) + 1
            column = bad.start() - self.text.rfind("\n", 0, bad.start())
            self.fail("E103", f"the character U+{ord(bad[0]):04X} may not stand in YAML", self.at(line, column))
        events: Iterator[Any] = yaml.parse(self.text, Loader=_LOADER)
        try:
            root = self.top(events)
        except yaml.MarkedYAMLError as error:
            self.fail(*self.syntax(error))
        except yaml.YAMLError as error:
            self.fail("E104", f"the text is not YAML: {error}", self.at(1, 1))
        if self.problems:
            raise SpecFailure(self.problems)
        return root

    def top(self, events: Iterator[Any]) -> Node:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    where = self.span(event)
                    self.fail("E104", "the file holds more than one YAML document", where, "a second one begins")
                root = self.node(next(events), events, 0)
        if root is None or (root.value is None and root.size == 1 and not self.text.strip("- \t\r\n.")):
            self.fail("E102", "the file is empty", self.at(1, 1), help=SMALLEST)
        return root

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        span = self.span(event)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.note("E107", f"the tag `{tag}` is not allowed", span, help="write the plain value, without a tag")
        if depth > MAX_DEPTH:
            self.fail("E108", f"values are nested more than {MAX_DEPTH} deep", span)
        if event.anchor:
            self.anchors[event.anchor] = None
        node = Node(None, span)
        if isinstance(event, yaml.ScalarEvent):
            node.plain = not event.style
            node.value = self.scalar(event.value, span) if node.plain else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            self.sequence(node, events, depth)
        else:
            self.mapping(node, events, depth)
        if event.anchor:
            self.anchors[event.anchor] = node
        self.grow(1, span)
        return node

    def sequence(self, node: Node, events: Iterator[Any], depth: int) -> None:
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            part = self.node(event, events, depth + 1)
            index = len(node.parts)
            node.keys[index], node.parts[index] = part.span, part
            node.size += part.size
        node.value = [part.value for part in node.parts.values()]

    def mapping(self, node: Node, events: Iterator[Any], depth: int) -> None:
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self.node(event, events, depth + 1)
            part = self.node(next(events), events, depth + 1)
            node.size += key.size + part.size
            if self.is_key(key) and not self.is_repeated(key, node):
                node.keys[key.value], node.parts[key.value] = key.span, part
        node.value = {name: part.value for name, part in node.parts.items()}

    def is_key(self, key: Node) -> bool:
        if key.plain and key.value == "<<":
            self.note("E107", "merge keys are not allowed", key.span, help="write the keys out")
            return False
        if isinstance(key.value, str) or type(key.value) is int:
            return True
        given = describe(key.value)
        self.note("E106", f"a key must be text or an integer, not {given}", key.span, help="put it in quotes")
        return False

    def is_repeated(self, key: Node, node: Node) -> bool:
        """Whether the mapping has the key already: `True == 1` cannot happen here, and 1 is not "1"."""
        first = node.keys.get(key.value)
        if first is None:
            return False
        place = f"line {first.line}, column {first.column}"
        self.note(
            "E105", f"the key `{key.value}` is repeated", key.span, f"first given at {place}", "keep one of the two"
        )
        return True

    def alias(self, event: Any) -> Node:
        span = self.span(event)
        if event.anchor not in self.anchors:
            self.fail("E109", f"the alias `*{event.anchor}` has no anchor `&{event.anchor}` before it", span)
        target = self.anchors[event.anchor]
        if target is None:
            self.fail("E109", f"the alias `*{event.anchor}` stands inside its own anchor", span)
        self.grow(target.size, span)
        return target

    def grow(self, size: int, span: Span) -> None:
        self.count += size
        if self.count > MAX_VALUES:
            self.fail("E108", f"the text has more than {MAX_VALUES:,} values, aliases written out", span)

    def scalar(self, text: str, span: Span) -> Any:
        if len(text) > MAX_DIGITS and (_INTEGER.fullmatch(text) or _FLOAT.fullmatch(text)):
            self.note("E106", f"a number has more than {MAX_DIGITS} digits", span)
            return 0
        return scalar(text)

    def span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        column = start.column + 1
        if isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
            same = end.line == start.line
            last = end.column + 1 if same else len(self.line(start.line + 1).rstrip()) + 1
            return self.at(start.line + 1, column, max(last, column + 1))
        return self.at(start.line + 1, column)

    def line(self, number: int) -> str:
        return self.lines[number - 1] if number <= len(self.lines) else ""

    def at(self, line: int, column: int, end: int = 0) -> Span:
        return Span(self.file, line, column, end or column + 1, self.line(line))

    def syntax(self, error: yaml.MarkedYAMLError) -> tuple[str, str, Span, str, str]:
        """The parser's complaint as the arguments of a Problem."""
        mark = error.problem_mark or error.context_mark
        if error.context_mark and (
            mark is None or mark.line >= len(self.lines) or "end of stream" in str(error.problem)
        ):
            mark = error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = (error.problem or "cannot be read").strip()
        where = self.at(line, column)
        if self.line(line)[column - 1 : column] == "\t":
            return "E104", "a tab cannot indent YAML", where, "a tab", "indent with spaces"
        help = next((mend for words, mend in _MENDS.items() if words in said), "")
        opened = error.context_mark
        if opened and (opened.line + 1, opened.column + 1) != (line, column) and error.context:
            help = help or f"the part at line {opened.line + 1}, column {opened.column + 1} was not finished"
        return "E104", f"the text is not YAML: {said}", where, "", help

    def note(self, code: str, message: str, where: Span, label: str = "", help: str = "") -> None:
        self.problems.append(Problem(code, message, where, label, help))

    def fail(self, code: str, message: str, where: Span, label: str = "", help: str = "") -> NoReturn:
        """Give up: what comes after cannot be read."""
        self.note(code, message, where, label, help)
        raise SpecFailure(self.problems)


_MENDS = {
    "mapping values are not allowed": "check the indentation; a text that holds `: ` needs quotes",
    "cannot start any token": "a text that begins with this character needs quotes",
    "did not find expected ',' or ']'": "close the list with `]`",
    "did not find expected ',' or '}'": "close the mapping with `}`; inside of one, a key with brackets needs quotes",
    "could not find expected ':'": "a key needs `: ` and a value",
    "did not find expected '-'": "items of a list begin with `- ` in the same column",
    "did not find expected key": "check the indentation: keys of one mapping begin in the same column",
    "unexpected end of stream": "a quotation mark is not closed",
}


def describe(value: Any) -> str:
    """A value in the words of YAML, short enough for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 40 else f'"{value[:37]}…"'
    if isinstance(value, (Mapping, list, tuple)):
        kind = "a mapping" if isinstance(value, Mapping) else "a list"
        words = dump(value).strip() if not value else ""
        if not isinstance(value, Mapping) and all(not isinstance(v, (list, tuple, Mapping)) for v in value):
            words = f"[{', '.join(describe(v) for v in value)}]"
        return words if words and len(words) <= 40 else kind
    return repr(value)
