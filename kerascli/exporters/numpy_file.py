"""The Python file that predicts with NumPy alone: the program of a prediction, written out layer by layer."""

from __future__ import annotations

import ast
import builtins
import inspect
import keyword
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kerascli.exporters import plain
from kerascli.exporters.spelling import SPELLINGS, number, operands, scalar
from kerascli.exporters.spelling_layers import picked
from kerascli.graph import Graph, Node
from kerascli.ops.ir import LEAVES, Array, Carried, Constant, Further, Input, Value, Weight
from kerascli.program.build import trace_forward

WIDTH = 100
"""Characters up to which expressions are put into one another."""
FUNCTIONS = {
    name: made for name, made in vars(plain).items() if inspect.isfunction(made) and made.__module__ == plain.__name__
}
RESERVED = {*FUNCTIONS, *keyword.kwlist, *dir(builtins), "np", "math", "product", "sliding_window_view", "w"}


@dataclass(frozen=True)
class Source:
    """A graph's prediction as Python statements."""

    arguments: tuple[str, ...]
    """The names of the inputs, in the graph's order."""
    lines: tuple[str, ...]
    results: tuple[str, ...]
    """An expression for each output."""
    constants: Mapping[str, Array]
    """Arrays that belong into the npz beside the weights."""
    calls: tuple[str, ...]
    """The functions of `plain` that the statements need, in the order they stand there."""


def unknown(graph: Graph) -> dict[str, Node]:
    """Nodes of the graph that cannot be written in plain NumPy, by name."""
    found: dict[str, Node] = {}
    _, order, owners = _owned(graph)
    for value in order:
        known = type(value.op) in SPELLINGS or isinstance(value.op, (*LEAVES, Further))
        if not known or isinstance(value.op, Carried):
            found.setdefault(owners[value].name, owners[value])
    return found


def source(graph: Graph) -> Source:
    """Write the prediction of a graph whose nodes are all known."""
    return _Writer(graph).run()


def _owned(graph: Graph) -> tuple[dict[str, Value], list[Value], dict[Value, Node]]:
    """The result of each node, what a prediction computes, in order, and the node that each value was made for."""
    results = trace_forward(graph, training=False).values
    owners: dict[Value, Node] = {}
    for node in graph.computed.nodes:
        for value in _needed([results[node.name]]):
            owners.setdefault(value, node)
    return results, _needed([results[name] for name in graph.outputs]), owners


def _needed(wanted: Sequence[Value]) -> list[Value]:
    """All that the text of these values reads, in an order they can be computed in."""
    found, todo = set(wanted), list(wanted)
    while todo:
        for value in operands(todo.pop()):
            if value not in found:
                found.add(value)
                todo.append(value)
    return sorted(found, key=lambda value: value.number)


@dataclass
class _Writer:
    graph: Graph
    lines: list[str] = field(default_factory=list)
    texts: dict[Value, str] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: set(RESERVED))

    def run(self) -> Source:
        values, order, owners = _owned(self.graph)
        outputs = [values[name] for name in self.graph.outputs]
        ends: dict[Value, str] = {}
        for node in self.graph.computed.nodes:
            ends.setdefault(values[node.name], node.name)
        readers: dict[Value, list[Value]] = {}
        for value in order:
            for read in operands(value):
                readers.setdefault(read, []).append(value)
        self.uses: Counter[Value] = Counter(read for value in order for read in operands(value))
        self.uses.update(dict.fromkeys(outputs, 2))  # outputs are never put into other expressions
        own = {node.name: self.name(node.name) for node in self.graph.computed.nodes}
        arguments = {name: own[name] for name in self.graph.computed.inputs}
        described: set[str] = set()
        for value in order:
            if self.leaf(value, arguments):
                continue
            node = owners[value]
            if node.name not in described:
                described.add(node.name)
                shape = " × ".join(map(str, node.shape)) or "a number"
                self.lines.append(f"# {' '.join(node.name.split())}: {node.layer.type_name()} → {shape}")
            here = all(owners[reader] is node for reader in readers.get(value, ()))
            name = own[ends[value]] if value in ends else ""
            self.write(value, name, own[node.name] + "_part", inline=here)
        results = tuple(ast.unparse(ast.parse(self.texts[value])) for value in outputs)
        calls = _called("\n".join((*self.lines, *results)))
        return Source(tuple(arguments.values()), tuple(self.lines), results, self.constants, calls)

    def leaf(self, value: Value, arguments: Mapping[str, str]) -> bool:
        """Whether the value is there from the start; its text is noted."""
        op = value.op
        if isinstance(op, Input):
            self.texts[value] = arguments[op.name.removeprefix("x:")]
        elif isinstance(op, Weight):
            self.texts[value] = f"w[{op.path!r}]"
        elif isinstance(op, Constant):
            array = op.array(np.dtype(np.float32))
            key = f"constants/{len(self.constants)}"
            if not scalar(value):
                self.constants[key] = array
            exact = np.frombuffer(op.data, op.dtype).reshape(()) if scalar(value) else array
            self.texts[value] = _atom(number(exact.item())) if scalar(value) else f'w["{key}"]'
        elif isinstance(op, Further):
            self.texts[value] = self.texts[value.inputs[0]].removesuffix(picked(value.inputs[0], 0))
            self.texts[value] += picked(value.inputs[0], op.index + 1)
        return value in self.texts

    def write(self, value: Value, end: str, part: str, inline: bool) -> None:
        """Note the value's text: a name that a line gives it, or all of its expression.

        The last value of a layer is called `end`, after it; those before it are its parts.
        """
        text = SPELLINGS[type(value.op)](value, *(self.texts[read] for read in operands(value)))
        if inline and self.uses[value] == 1 and len(text) < WIDTH - 30:
            self.texts[value] = _atom(_atom(text) + picked(value, 0))
            return
        several = any(self.uses[other] for other in value.further)
        name = end if end and not several else self.name(part)
        self.lines += _wrapped(f"{name} = {text}" + ("" if several else picked(value, 0)))
        self.texts[value] = name + (picked(value, 0) if several else "")

    def name(self, wanted: str) -> str:
        """A name for a variable that no other has."""
        base = re.sub(r"\W", "_", wanted, flags=re.ASCII)
        base = base if not base[:1].isdigit() and base.strip("_") else f"v_{base}"
        found, count = base, 1
        while found in self.taken:
            count += 1
            found = f"{base}_{count}"
        self.taken.add(found)
        return found


def _atom(text: str) -> str:
    """The text in brackets, where it could not stand beside an operator or before a dot without them."""
    tree = ast.parse(text, mode="eval").body
    plain_number = isinstance(tree, ast.Constant) and not isinstance(tree.value, int)
    alone = plain_number or isinstance(tree, (ast.Name, ast.Call, ast.Subscript, ast.Attribute, ast.Constant))
    return text if alone else f"({text})"


def _wrapped(line: str) -> list[str]:
    """The statement without needless brackets, broken at commas where it is too long."""
    text = ast.unparse(ast.parse(line))
    lines, start, depth, quoted = [], 0, 0, False
    commas: dict[int, int] = {}
    for k, letter in enumerate(text):
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter in "([{") - (letter in ")]}")
        found = [place for _, place in sorted(commas.items()) if place > start]
        if k - start > WIDTH and found:  # the outermost comma on the line
            lines.append(text[start : found[0]])
            start = found[0]
        if letter == " " and text[k - 1] == "," and depth and not quoted:
            commas[depth] = k + 1
    lines.append(text[start:])
    broken = [lines[0].rstrip(), *(f"    {rest.rstrip()}" for rest in lines[1:])]
    try:
        same = ast.dump(ast.parse("\n".join(broken))) == ast.dump(ast.parse(text))
    except SyntaxError:  # a comma within a name was taken for one between arguments
        same = False
    return broken if same else [text]


def _called(text: str) -> tuple[str, ...]:
    """The functions of `plain` that the text needs, and those that these need."""
    needed: set[str] = set()
    todo = [text]
    while todo:
        for node in ast.walk(ast.parse(todo.pop())):
            if isinstance(node, ast.Name) and node.id in FUNCTIONS and node.id not in needed:
                needed.add(node.id)
                todo.append(inspect.getsource(FUNCTIONS[node.id]))
    return tuple(name for name in FUNCTIONS if name in needed)
