"""The program of a prediction as an ONNX graph, layer by layer: what `--format onnx` writes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kerascli.exporters.onnx_lookup import served
from kerascli.exporters.onnx_registry import FORMS, REFUSALS, kind, operands, results
from kerascli.exporters.onnx_sheet import Node, Sheet, element
from kerascli.graph import Graph
from kerascli.graph import Node as Call
from kerascli.ops.ir import Array, Carried, Constant, Further, Input, Scope, Value, Variable, Weight
from kerascli.program.build import trace_forward
from kerascli.program.interpret import evaluate

for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
    if info.name.startswith("onnx_"):
        importlib.import_module(f"{__package__}.{info.name}")


@dataclass(frozen=True)
class Program:
    """Nodes in an order they can be computed in, and the tensors that they read."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]


def unknown(graph: Graph) -> dict[str, tuple[Call, str]]:
    """Nodes of the graph that have no ONNX form, by name, and why where it is not plain."""
    trace = _Trace(graph)
    found: dict[str, tuple[Call, str]] = {}
    for value in trace.order:
        owner, refusal = trace.owners[value], REFUSALS.get(type(value.op))
        if isinstance(value.op, Carried):
            found.setdefault(owner.name, (owner, "it keeps its states from batch to batch"))
        elif refusal and (reason := refusal(value)):
            found.setdefault(owner.name, (owner, reason))
        elif type(value.op) not in FORMS and not isinstance(value.op, (Input, Further)):
            found.setdefault(owner.name, (owner, ""))
    return found


def translate(graph: Graph, weights: Mapping[str, Array]) -> Program:
    """The nodes of a graph that `unknown` finds nothing in."""
    return _Translator(graph, weights).run()


class _Trace:
    """What a prediction computes, in order, what of it depends on weights alone, and the node that it is made for."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph.computed
        self.results = trace_forward(graph, training=False).values
        self.outputs = [self.results[name] for name in self.graph.outputs]
        self.known: dict[Value, bool] = {}
        self.owners: dict[Value, Call] = {}
        for node in self.graph.nodes:
            self.owners.update(dict.fromkeys(self._read([self.results[node.name]], self.owners), node))
        self.order = sorted(self._read(self.outputs, ()), key=lambda value: value.number)

    def is_known(self, value: Value) -> bool:
        """Whether the value depends on weights and constants alone."""
        if value not in self.known:
            leaf = isinstance(value.op, (Weight, Constant))
            never = value.scope == Scope.BLOCK or isinstance(value.op, Variable)
            self.known[value] = leaf or (not never and all(map(self.is_known, value.inputs)))
        return self.known[value]

    def _read(self, wanted: Sequence[Value], before: Container[Value]) -> list[Value]:
        """All that the nodes of these values read and that is not known, but for what was found before."""
        todo, found = list(wanted), dict[Value, None]()
        while todo:
            value = todo.pop()
            if value not in found and value not in before and not self.is_known(value):
                found[value] = None
                todo += operands(value)
        return [*found]


class _Translator:
    def __init__(self, graph: Graph, weights: Mapping[str, Array]) -> None:
        self.trace = _Trace(graph)
        self.weights = weights
        self.arrays: dict[Value, Array] = {}
        self.names: dict[Value, str] = {}
        self.sheet = Sheet(self.array, {*graph.inputs, *graph.outputs})
        self.served = served(self.sheet, graph)
        self.ends: dict[str, str] = {}

    def run(self) -> Program:
        for value in self.trace.order:
            self.write(value)
        for name, value in zip(self.trace.graph.outputs, self.trace.outputs, strict=True):
            self.end(name, value)
        nodes = _leading_to(set(self.ends), self.sheet.nodes)
        read = {name for node in nodes for name in node.inputs}
        used = {name: array for name, array in self.sheet.constants.items() if name in read}
        names = self.ends | self.sheet.shortest(used)
        return Program(
            tuple(_renamed(node, names) for node in nodes), {names[name]: array for name, array in used.items()}
        )

    def end(self, name: str, value: Value) -> None:
        """Let an output's tensor bear its name."""
        self.sheet.prefix = name
        found = self.sheet.settled(self.named(value))
        if found == name:
            return  # an input is an output too
        if found in {*self.served.values(), *self.sheet.constants, *self.ends}:
            found = self.sheet.node("Identity", found)
        self.ends[found] = name

    def write(self, value: Value) -> None:
        """Put down the nodes of a value."""
        op = value.op
        if isinstance(op, Input):
            self.names[value] = self.served[op.name.removeprefix("x:")]
        elif value not in self.names:
            self.sheet.prefix = self.trace.owners[value].name
            found = FORMS[kind(value)](self.sheet, value, *map(self.named, operands(value)))
            several = (found,) if isinstance(found, str) else found
            self.names.update(zip(results(value), several, strict=False))

    def named(self, value: Value) -> str:
        """The name of a value's tensor, which is stored where the value is known."""
        if value not in self.names:
            self.names[value] = self.sheet.constant(self.array(value), self.called(value))
        return self.names[value]

    def array(self, value: Value) -> Array:
        if value not in self.arrays:
            assert self.trace.is_known(value)
            if isinstance(value.op, Weight):  # evaluated, it would be copied
                self.arrays[value] = np.asarray(self.weights[value.op.path], element(value.dtype))
            else:
                (self.arrays[value],) = evaluate([value], self.weights, 1, np.float32)
        return self.arrays[value]

    def called(self, value: Value) -> str:
        """After the one weight that a known value is made of, such as `dense/kernel`."""
        todo, paths = [value], set()
        while todo:
            op = todo[-1].op
            if isinstance(op, Weight):
                paths.add(op.path)
            todo += todo.pop().inputs
        return paths.pop() if len(paths) == 1 else f"{self.sheet.prefix}/constant"


def _leading_to(wanted: set[str], nodes: Sequence[Node]) -> list[Node]:
    """The nodes that others or the outputs read."""
    found, read = [], {*wanted}
    for node in reversed(nodes):
        if read & {*node.outputs}:
            found.append(node)
            read.update(node.inputs)
    return found[::-1]


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    def new(old: Sequence[str]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in old)

    return replace(node, inputs=new(node.inputs), outputs=new(node.outputs))
