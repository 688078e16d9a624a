"""One readable Python file and one npz beside it, which predict with NumPy alone."""

from __future__ import annotations

import ast
import inspect
import io
import re
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from pprint import pformat

import numpy as np

from kerascli import __version__, files
from kerascli.encoders import Category, Date, Numeric, Text
from kerascli.errors import Failure, Problem
from kerascli.exporters import numpy_main
from kerascli.exporters.base import PREPROCESSING, Exporter, Trained
from kerascli.exporters.numpy_file import FUNCTIONS, Source, source, unknown
from kerascli.exporters.quantization import WAYS, packed
from kerascli.exporters.readback import Reading, run_python
from kerascli.graph import Graph
from kerascli.host import hosted
from kerascli.ops.ir import Array
from kerascli.preprocessing import Preprocessing

READER = """
import sys
import numpy as np
folder, module, inputs, outputs = sys.argv[1:]
sys.path.insert(0, folder)
made = __import__(module)
with np.load(inputs, allow_pickle=False) as given:
    found = made.predict(*(given[f"input_{k}"] for k in range(len(given.files))))
found = list(found.values()) if isinstance(found, dict) else [found]
np.savez(outputs, **{f"output_{k}": y for k, y in enumerate(found)})
"""
"""Predicts with the file in a process of its own."""


class Numpy(Exporter):
    form = "numpy"
    suffix = ".py"
    quantizes = WAYS

    def problems(self, graph: Graph) -> list[Problem]:
        """Layers that read texts, and those whose operations have no plain form, all of them."""
        found, help = [], "export to `keras` instead, which keeps such layers"
        for node in hosted(graph.nodes):
            message = f"a NumPy file cannot hold {node.title}: it works on the data before they enter the net"
            found.append(Problem("E603", message, node.where, help=help))
        for node in unknown(graph).values():
            message = f"a NumPy file cannot hold {node.title}"
            if getattr(node.layer, "stateful", False):
                message += ": it keeps its states from batch to batch"
            found.append(Problem("E603", message, node.where, help=help))
        return found

    def write(self, trained: Trained, path: Path) -> list[Path]:
        if path.suffix != ".py" or path.is_dir():
            message = f"`{path}` is no name for a Python file"
            raise Failure(Problem("E602", message, help=f"use `-o {path.stem or 'model'}.py`"), exit_code=2)
        text = source(trained.graph)
        arrays = packed(trained.weights, trained.quantize)
        beside = path.with_suffix(".npz")
        stream = io.BytesIO()
        np.savez(stream, **arrays, **text.constants)  # type: ignore[arg-type]
        files.write_bytes(beside, stream.getvalue())
        files.write_text(path, _file(trained, text, path, beside))
        return [path, beside]

    def read_back(self, written: list[Path], trained: Trained, inputs: Mapping[str, Array]) -> Reading:
        folder = written[0].resolve().parent
        return run_python(READER, trained.graph, inputs, str(folder), written[0].stem)


IMPORTS = {
    "csv": "import csv",
    "math": "import math",
    "sys": "import sys",
    "Any": "from typing import Any",
    "product": "from itertools import product",
    "Path": "from pathlib import Path",
    "np": "import numpy as np",
    "sliding_window_view": "from numpy.lib.stride_tricks import sliding_window_view",
}


def _file(trained: Trained, text: Source, path: Path, beside: Path) -> str:
    """The whole text of the file."""
    graph, layout = trained.graph.computed, _columns(trained)
    table = bool(layout) and all(layout.get(name) for name in graph.inputs)
    inputs = {name: (graph.node(name).shape, _kind(graph.node(name).dtype)) for name in graph.inputs}
    classes = {r.output: (list(r.names), r.kind, r.logits) for r in trained.readings if r.kind in ("classes", "binary")}
    facts: dict[str, object] = {"INPUTS": inputs, "OUTPUTS": tuple(graph.outputs), "CLASSES": classes}
    if table:
        facts |= {"FEATURES": {name: layout[name] for name in graph.inputs}, "DECIMAL": _known(trained).decimal}
    reader = _text(numpy_main.read)
    tables = [_text(numpy_main.encode), _text(numpy_main.numbers), reader] if table else [_without_tables(reader)]
    parts = [
        *(_text(FUNCTIONS[name]) for name in text.calls),
        _text(numpy_main.load_weights),
        "w = load_weights(WEIGHTS)",
        _forward(text, inputs),
        _text(numpy_main.predict),
        _text(numpy_main.labels),
        *tables,
        _text(numpy_main.main),
        'if __name__ == "__main__":\n    main(sys.argv[1:])\n',
    ]
    used = {node.id for node in ast.walk(ast.parse("\n".join(parts))) if isinstance(node, ast.Name)}
    imports = [line for name, line in IMPORTS.items() if name in used | {"Any", "Path"}]
    if abstract := [name for name in ("Mapping", "Sequence") if name in used]:
        imports.append(f"from collections.abc import {', '.join(abstract)}")
    standard, numeric = ([line for line in imports if ("numpy" in line) == wanted] for wanted in (False, True))
    head = [
        _about(trained, text, path, beside, table),
        "",
        *sorted(standard, key=lambda line: (line.startswith("from"), line)),
        "",
        *numeric,
        "",
        "Array = np.ndarray[Any, Any]",
        "Sizes = tuple[int, ...]",
        'WEIGHTS = Path(__file__).with_suffix(".npz")',
        "BATCH = 256  # samples at a time",
        *(f"{name} = {pformat(fact, width=100, sort_dicts=False)}" for name, fact in facts.items()),
    ]
    return "\n\n\n".join(["\n".join(head), *parts])


def _about(trained: Trained, text: Source, path: Path, beside: Path, table: bool) -> str:
    """The file's first words, which are its help too."""
    given = " ".join(f"{name}.npy" for name in text.arguments)
    call = f"python {shlex.quote(path.name)}"
    lines = [
        f"{trained.name}: a trained network that predicts with NumPy alone.",
        "",
        f"{call} {given}    prints predictions",
        *([f"{call} rows.csv    takes the columns of a table"] if table else []),
        f"{call} {given} -o predictions.npy    writes the outputs to a file",
        "",
        *([f"As a module: from {path.stem} import predict"] if path.stem.isidentifier() else []),
        f"Written by kerascli {__version__}; the weights are in {beside.name}, which belongs beside this file.",
    ]
    plain = ("".join(c for c in line if c.isprintable() and c not in '"\\') for line in lines)
    return '"""' + "\n".join(plain) + '\n"""'


def _forward(text: Source, inputs: Mapping[str, tuple[tuple[int, ...], str]]) -> str:
    """The function that computes a batch."""
    names = ", ".join(f"{name}: Array" for name in text.arguments)
    shapes = ", ".join(f"{name} {shape}" for name, (shape, _) in zip(text.arguments, inputs.values(), strict=True))
    lines = [f'"""The outputs of a batch. Shapes of one sample: {shapes}"""', *text.lines]
    lines.append(f"return [{', '.join(text.results)}]")
    return "\n".join([f"def forward({names}) -> list[Array]:", *(f"    {line}" for line in lines)])


def _text(made: object) -> str:
    """A function's source, without what only a type checker reads."""
    assert callable(made)
    return re.sub(r"  # type: ignore\[.*?\]", "", textwrap.dedent(inspect.getsource(made))).rstrip()


def _without_tables(reader: str) -> str:
    """The function that reads files, for inputs that are no tables."""
    lines = reader.split("\n")
    start = next(k for k, line in enumerate(lines) if line.lstrip().startswith("if FEATURES"))
    return "\n".join(lines[:start] + lines[start + 3 :])


def _kind(dtype: str) -> str:
    return "float32" if dtype == "float" else dtype


def _known(trained: Trained) -> Preprocessing:
    found = trained.attachments.get(PREPROCESSING)
    return Preprocessing.from_json(found) if found else Preprocessing()


def _columns(trained: Trained) -> dict[str, list[dict[str, object]]]:
    """For each input the columns that it is made of: how each is scaled or encoded.

    Nothing where a column is a text, a date or a category for Embedding: then the file takes arrays alone.
    """
    known = _known(trained)
    if any(isinstance(f, Date | Text) or (isinstance(f, Category) and f.encoding == "integer") for f in known.features):
        return {}
    columns: dict[str, dict[str, object]] = {}
    for feature in known.features:
        column: dict[str, object] = {"name": feature.name, "kind": feature.kind, "fill": None, "needed": True}
        match feature:
            case Numeric():
                column |= {"fill": feature.fill, "offset": feature.offset, "factor": feature.factor}
            case Category():
                column |= {"fill": feature.fill, "needed": feature.drop, "categories": list(feature.categories)}
            case _:
                column |= {"offset": 0, "factor": 1}
        columns[feature.name] = column
    return {name: [columns[f] for f in layout.features] for name, layout in known.inputs.items()}
