"""`init` gives specs that train as they stand; `plot` draws every layer and every arrow."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.session import Shell

TEMPLATES = ["image", "sequence", "table"]
GRAPH = """
dataset: {type: digits, test_split: 0.2}
layers:
  - Flatten
  - {type: Dense, units: 8, activation: relu, name: "first <one>"}
  - {type: Residual, layers: [{type: Dense, units: 8, name: within}]}
  - {type: Dense, units: 10, activation: softmax}
loss: sparse_categorical_crossentropy
"""


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_trains_as_it_stands(template: str, shell: Shell) -> None:
    answer = shell("init", template, "-o", "my.yaml")
    assert answer.code == 0 and "kerascli train my.yaml" in answer.out
    quick = ["--set", "training.epochs=1", "--set", "dataset.limit=120", "-q", "--threads", 1]
    assert shell("train", "my.yaml", *quick).code == 0


def test_templates_are_listed_printed_and_never_written_over_a_file(shell: Shell) -> None:
    assert list(shell("init", "--list", "--json").document) == TEMPLATES
    assert all(name in shell("init", "--list").out for name in TEMPLATES)
    assert shell("init").out == shell("init", "image").out != ""
    shell.write("mine", "my.yaml")
    assert shell("init", "-o", "my.yaml").code == 2 and (shell.folder / "my.yaml").read_text() == "mine"
    assert "there are image, sequence, table" in shell("init", "flowers").err


def test_the_picture_has_a_box_for_every_layer_and_an_arrow_for_every_input(shell: Shell) -> None:
    shell.write(GRAPH)
    assert shell("plot", "spec.yaml", "-o", "graph.svg").code == 0
    root = ElementTree.fromstring((shell.folder / "graph.svg").read_text())
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"first <one>", "within", "Add", "Input"} <= set(texts)
    assert len([n for n in root.iter("{http://www.w3.org/2000/svg}path") if n.get("class") == "arrow"]) == 6
    layers = shell("plot", "spec.yaml", "--json").document["layers"]
    assert next(layer for layer in layers if layer["title"] == "Add")["reads"] == ["first <one>", "within"]


def test_boxes_do_not_lie_on_each_other_nor_leave_the_paper(shell: Shell) -> None:
    shell.write(GRAPH)
    shell("plot", "spec.yaml", "-o", "graph.svg")
    root = ElementTree.fromstring((shell.folder / "graph.svg").read_text())
    rects = [n for n in root.iter("{http://www.w3.org/2000/svg}rect") if "box" in str(n.get("class"))]
    places = [[float(n.get(k, "")) for k in ("x", "y", "width", "height")] for n in rects]
    width, height = (float(root.get(k, "")) for k in ("width", "height"))
    for k, (x, y, w, h) in enumerate(places):
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
        assert all(x + w <= a or a + c <= x or y + h <= b or b + d <= y for a, b, c, d in places[:k])


def test_mermaid_and_graphviz_say_the_same(shell: Shell) -> None:
    shell.write(GRAPH)
    mermaid = shell("plot", "spec.yaml").out
    assert mermaid.startswith("flowchart TD") and mermaid.count("-->") == 6 and "first &lt;one&gt;" in mermaid
    assert shell("plot", "spec.yaml", "-o", "graph.dot").out == "graph.dot\n"
    dot = (shell.folder / "graph.dot").read_text()
    assert dot.count(" -> ") == 6 and re.search(r'"first <one>" \[label=', dot)


def test_an_unknown_form_of_picture_is_refused(shell: Shell) -> None:
    shell.write(GRAPH)
    answer = shell("plot", "spec.yaml", "-o", Path("graph.png"))
    assert answer.code == 2 and ".svg, .mmd, .dot" in answer.err and not (shell.folder / "graph.png").exists()
