"""The graph of a model as a picture (SVG) or as text for other programs: Mermaid (`.mmd`) and Graphviz (`.dot`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import prod

from kerascli.graph import Graph, Node, shown
from kerascli.layers.structure import _Entry, _Exit, _Part

FORMS = ("svg", "mmd", "dot")
PSEUDO = (_Part, _Entry, _Exit)
"""What is no layer of its own: a further output, the borders of a nested model."""

BOX, HEIGHT, LANE, ROW, MARGIN = 244, 58, 40, 96, 24
"""Pixels: width and height of a box, width of an arrow that passes by, distance of rows, margin."""
STYLE = """
.paper { fill: #ffffff }
.box { fill: #f6f8fa; stroke: #8b949e }
.box.trained { fill: #e7f0ff; stroke: #2563eb }
.box.end { fill: #fff4e6; stroke: #d9480f }
.arrow { fill: none; stroke: #656d76; stroke-width: 1.5 }
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; text-anchor: middle }
.type { font-weight: 600; font-size: 13px }
.small { fill: #656d76; font-size: 11px }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117 }
  .box { fill: #161b22; stroke: #6e7681 }
  .box.trained { fill: #12203a; stroke: #6ea8fe }
  .box.end { fill: #2b1d0e; stroke: #ffa94d }
  .arrow { stroke: #9198a1 }
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
}
"""


@dataclass(frozen=True)
class Box:
    """One layer: what is written in it, and which boxes it reads."""

    name: str
    title: str
    shape: str
    parameters: int
    reads: tuple[str, ...]
    end: bool
    """Whether it is an input or an output of the model."""


def picture(graph: Graph, form: str) -> str:
    """The graph in one of FORMS."""
    found = boxes(graph)
    return {"svg": _svg, "mmd": _mermaid, "dot": _dot}[form](found)


def boxes(graph: Graph) -> list[Box]:
    """The layers in order; what stands for no layer is passed through."""
    real = {node.name: node.name for node in graph.nodes}
    for node in graph.nodes:
        if isinstance(node.layer, PSEUDO):
            real[node.name] = real[node.inputs[0]]
    ends = {*graph.inputs, *(real[name] for name in graph.outputs)}
    return [_box(node, real, node.name in ends) for node in graph.nodes if not isinstance(node.layer, PSEUDO)]


def _box(node: Node, real: Mapping[str, str], end: bool) -> Box:
    own = 0 if node.shared else sum(prod(spec.shape) for spec in node.weights)
    title = node.layer.type_name() + (f" (shares `{node.shared}`)" if node.shared else "")
    reads = tuple(dict.fromkeys(real[name] for name in node.inputs))
    return Box(node.name, title, shown(node.shape), own, reads, end)


def _mermaid(found: Sequence[Box]) -> str:
    number = {box.name: f"n{k}" for k, box in enumerate(found)}
    lines = ["flowchart TD"]
    for box in found:
        lines.append(f'  {number[box.name]}["{_quoted(box.title)}<br/>{_quoted(box.name)}<br/>{box.shape}"]')
    lines += [f"  {number[name]} --> {number[box.name]}" for box in found for name in box.reads]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return escape(text, quote=False).replace('"', "&quot;")


def _dot(found: Sequence[Box]) -> str:
    def word(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = ["digraph model {", '  node [shape=box, style=rounded, fontname="sans-serif"];']
    for box in found:
        label = word(f"{box.title}\n{box.name}\n{box.shape}").replace("\n", "\\n")
        lines.append(f"  {word(box.name)} [label={label}];")
    lines += [f"  {word(name)} -> {word(box.name)};" for box in found for name in box.reads]
    return "\n".join([*lines, "}"]) + "\n"


# ------------------------------------------------------------------ the picture
Way = tuple[str, ...]
"""The places that an arrow passes: a box, places beside the boxes of the rows between, a box."""


def _svg(found: Sequence[Box]) -> str:
    ways, rows = _rows(found)
    x = _positions(rows)
    y = {place: MARGIN + k * ROW for k, row in enumerate(rows) for place in row}
    width = 2 * MARGIN + max(sum(_width(place) for place in row) for row in rows)
    height = 2 * MARGIN + (len(rows) - 1) * ROW + HEIGHT
    middle = width / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="the layers of the model and how they are connected">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#656d76"/></marker></defs>',
        f'<rect class="paper" width="{width}" height="{height}"/>',
    ]
    parts += [f'<path class="arrow" marker-end="url(#head)" d="{_line(way, x, y, middle)}"/>' for way in ways]
    for box in found:
        kind = "box" + " end" * box.end + " trained" * (box.parameters > 0 and not box.end)
        centre, top = middle + x[box.name], y[box.name]
        left = centre - BOX / 2 + 8
        more = f" · {box.parameters:,} parameters" if box.parameters else ""
        parts += [
            f'<rect class="{kind}" x="{left:.0f}" y="{top}" width="{BOX - 16}" height="{HEIGHT}" rx="6"/>',
            f'<text class="type" x="{centre:.0f}" y="{top + 19}">{escape(_cut(box.title, 30))}</text>',
            f'<text x="{centre:.0f}" y="{top + 35}">{escape(_cut(box.name, 32))}</text>',
            f'<text class="small" x="{centre:.0f}" y="{top + 50}">{escape(_cut(box.shape + more, 40))}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _rows(found: Sequence[Box]) -> tuple[list[Way], list[list[str]]]:
    """Every box in the row below the lowest that it reads; arrows over several rows get a place in each."""
    depth: dict[str, int] = {}
    for box in found:
        depth[box.name] = 1 + max((depth[name] for name in box.reads), default=-1)
    rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for box in found:
        rows[depth[box.name]].append(box.name)
    ways: list[Way] = []
    for box in found:
        for name in box.reads:
            between = [f"{name}\n{box.name}\n{row}" for row in range(depth[name] + 1, depth[box.name])]
            for row, place in enumerate(between, depth[name] + 1):
                rows[row].append(place)
            ways.append((name, *between, box.name))
    return ways, _untangled(rows, ways)


def _untangled(rows: list[list[str]], ways: Sequence[Way]) -> list[list[str]]:
    """Each row sorted by the mean place of its neighbours above and below, some times over (Sugiyama)."""
    above, below = defaultdict(list), defaultdict(list)
    for way in ways:
        for upper, lower in pairwise(way):
            above[lower].append(upper)
            below[upper].append(lower)
    for sweep in range(6):
        near, order = (above, rows[1:]) if sweep % 2 == 0 else (below, rows[-2::-1])
        for row in order:
            place = _positions(rows)
            row.sort(key=lambda p: sum(place[q] for q in near[p]) / len(near[p]) if near[p] else place[p])
    return rows


def _positions(rows: Sequence[Sequence[str]]) -> dict[str, float]:
    """The middle of each place, from the middle of the picture."""
    found = {}
    for row in rows:
        left = -sum(map(_width, row)) / 2
        for place in row:
            found[place] = left + _width(place) / 2
            left += _width(place)
    return found


def _width(place: str) -> int:
    return LANE if "\n" in place else BOX


def _line(way: Way, x: Mapping[str, float], y: Mapping[str, float], middle: float) -> str:
    start, *_, end = way
    path = f"M{middle + x[start]:.0f} {y[start] + HEIGHT}"
    before = (middle + x[start], y[start] + HEIGHT)
    for place in way[1:]:
        to = (middle + x[place], float(y[place]))
        bend = (before[1] + to[1]) / 2
        path += f" C{before[0]:.0f} {bend:.0f} {to[0]:.0f} {bend:.0f} {to[0]:.0f} {to[1]:.0f}"
        if place != end:
            path += f" V{to[1] + HEIGHT:.0f}"
        before = (to[0], to[1] + HEIGHT)
    return path
