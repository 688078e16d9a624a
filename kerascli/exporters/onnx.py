"""One ONNX file that any runtime of that format predicts with: standard operators, any number of samples."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascli import __version__, files
from kerascli.errors import Failure, Problem
from kerascli.exporters.base import PREPROCESSING, Exporter, Trained
from kerascli.exporters.onnx_program import translate, unknown
from kerascli.exporters.onnx_sheet import Node, element
from kerascli.exporters.quantization import WAYS, packed, unpacked
from kerascli.exporters.readback import Reading, run_python
from kerascli.graph import Graph
from kerascli.host import hosted
from kerascli.ops.ir import Array

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""Of the standard operators; runtimes read it since 2023."""
IR_VERSION = 8
"""Of the file, as old as that opset."""
BATCH = "batch"
"""What the size of the first axis is called."""
INSTALL = "`pip install kerascli[onnx]`"

READER = """
import sys
import numpy as np
import onnxruntime
path, inputs, outputs = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 3
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
with np.load(inputs, allow_pickle=False) as given:
    feeds = {x.name: given[f"input_{k}"] for k, x in enumerate(session.get_inputs())}
np.savez(outputs, **{f"output_{k}": y for k, y in enumerate(session.run(None, feeds))})
"""
"""Predicts with the file in a process of its own."""


class Onnx(Exporter):
    form = "onnx"
    suffix = ".onnx"
    quantizes = WAYS

    def problems(self, graph: Graph) -> list[Problem]:
        """The package that is missing; layers that read texts, and those whose operations have no form, all of them."""
        if importlib.util.find_spec("onnx") is None:
            return [Problem("E603", "the package `onnx` is not installed", help=INSTALL)]
        found = []
        help = "export to `keras` instead, which keeps such layers"
        for node in hosted(graph.nodes):
            message = f"an ONNX file cannot hold {node.title}: it works on the data before they enter the net"
            found.append(Problem("E603", message, help=help))
        for node, reason in unknown(graph).values():
            message = f"an ONNX file cannot hold {node.title}: {reason or 'ONNX has no operators for what it computes'}"
            found.append(Problem("E603", message, help=help))
        return found

    def write(self, trained: Trained, path: Path) -> list[Path]:
        if path.is_dir():
            message = f"`{path}` is a folder"
            raise Failure(Problem("E602", message, help=f"use `-o {path.name or 'model'}.onnx`"), exit_code=2)
        files.write_bytes(path, model(trained).SerializeToString())
        return [path]

    def read_back(self, written: list[Path], trained: Trained, inputs: Mapping[str, Array]) -> Reading:
        if importlib.util.find_spec("onnxruntime") is None:
            return Reading(skipped=f"onnxruntime is not installed: {INSTALL}, or say `--no-verify`")
        return run_python(READER, trained.graph, inputs, str(written[0].resolve()))


def model(trained: Trained) -> onnx.ModelProto:
    """The whole file."""
    from onnx import helper

    graph = trained.graph.computed
    weights = unpacked(packed(trained.weights, trained.quantize))
    program = translate(graph, weights)
    stored = [_stored(name, array) for name, array in program.constants.items()]
    inner = helper.make_graph(
        [_node(node) for node in program.nodes],
        trained.name,
        [_tensor(graph, name) for name in graph.inputs],
        [_tensor(graph, name) for name in graph.outputs],
        stored,
    )
    made = helper.make_model(
        inner,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="kerascli",
        producer_version=__version__,
    )
    helper.set_model_props(made, _facts(trained))
    return made


def _facts(trained: Trained) -> dict[str, str]:
    """What belongs to the model beside its nodes: the names of classes, and how raw columns become its inputs."""
    classes = {r.output: list(r.names) for r in trained.readings if r.names}
    facts = {"classes": json.dumps(classes, ensure_ascii=False)} if classes else {}
    if PREPROCESSING in trained.attachments:
        facts["preprocessing"] = trained.attachments[PREPROCESSING].decode()
    return facts


def _tensor(graph: Graph, name: str) -> onnx.ValueInfoProto:
    from onnx import helper

    node = graph.node(name)
    return helper.make_tensor_value_info(name, _kind(element(node.dtype)), [BATCH, *node.shape])


def _stored(name: str, array: Array) -> onnx.TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(array, name)


def _node(node: Node) -> onnx.NodeProto:
    from onnx import helper

    attributes: dict[str, Any] = dict(node.attributes)
    if node.kind == "Cast":
        attributes["to"] = _kind(np.dtype(attributes["to"]))
    return helper.make_node(node.kind, node.inputs, node.outputs, node.name, **attributes)


def _kind(dtype: Any) -> int:
    """ONNX's number for a type."""
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
