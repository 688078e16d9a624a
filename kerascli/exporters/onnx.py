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
from kerascli.exporters.onnx_lookup import refusal
from kerascli.exporters.onnx_program import translate, unknown
from kerascli.exporters.onnx_sheet import Node, element
from kerascli.exporters.quantization import SCALE, WAYS, packed, unpacked
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
MOST = 2**31 - 2**24
"""Bytes of weights; a file of this form ends at 2 GiB, nodes included."""
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
    looks_up = True

    def problems(self, graph: Graph) -> list[Problem]:
        """The package that is missing; layers that read texts, and those whose operations have no form, all of them."""
        if importlib.util.find_spec("onnx") is None:
            return [Problem("E603", "the package `onnx` is not installed", help=INSTALL)]
        found = []
        help = "export to `keras` instead, which keeps such layers"
        for node in hosted(graph.nodes):
            if reason := refusal(node.layer):
                found.append(Problem("E603", f"an ONNX file cannot hold {node.title}: {reason}", node.where, help=help))
        for node, reason in unknown(graph).values():
            message = f"an ONNX file cannot hold {node.title}: {reason or 'ONNX has no operators for what it computes'}"
            found.append(Problem("E603", message, node.where, help=help))
        return found

    def write(self, trained: Trained, path: Path) -> list[Path]:
        if path.is_dir():
            message = f"`{path}` is a folder"
            raise Failure(Problem("E602", message, help=f"use `-o {path.name or 'model'}.onnx`"), exit_code=2)
        if sum(array.nbytes for array in packed(trained.weights, trained.quantize).values()) > MOST:
            message = "the weights are larger than the 2 GB that an ONNX file can hold"
            raise Failure(Problem("E603", message, help="export to `keras` or `numpy` instead"))
        files.write_bytes(path, model(trained).SerializeToString())
        return [path]

    def read_back(self, written: list[Path], trained: Trained, inputs: Mapping[str, Array]) -> Reading:
        if importlib.util.find_spec("onnxruntime") is None:
            return Reading(skipped=f"onnxruntime is not installed: {INSTALL}, or say `--no-verify`")
        return run_python(READER, trained.graph, inputs, str(written[0].resolve()))


def model(trained: Trained) -> onnx.ModelProto:
    """The whole file."""
    from onnx import helper

    graph = trained.graph
    program = translate(graph, unpacked(packed(trained.weights, trained.quantize)))
    inputs, outputs = ([_tensor(graph, name) for name in names] for names in (graph.inputs, graph.outputs))
    made = helper.make_model(
        helper.make_graph([], trained.name, inputs, outputs),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="kerascli",
        producer_version=__version__,
    )
    for name, array in program.constants.items():  # one by one: all of this is copied
        tensors, nodes = _kept(name, array, trained.quantize)
        made.graph.initializer.extend(tensors)
        made.graph.node.extend(nodes)
    made.graph.node.extend(_node(node) for node in program.nodes)
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


def _kept(name: str, array: Array, way: str | None) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """The tensors that an array is kept as, and the nodes that make it of them, if it is not kept as it is.

    Rounded weights may lie in another order here, or be parts of an array: so the array is kept in fewer bits wherever
    that gives it back as it is. Runtimes do these nodes once, when they load the file. They would not do
    DequantizeLinear then; and onnxruntime makes a product behind it one of whole numbers, whose results are others.
    """
    from onnx import helper, numpy_helper

    if array.dtype != np.float32 or array.ndim == 0 or way is None:
        return [numpy_helper.from_array(array, name)], []
    few, to = f"{name}:{way}", _kind(np.float32)
    if way == "float16":
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if np.array_equal(half.astype(np.float32), array, equal_nan=True):
            return [numpy_helper.from_array(half, few)], [helper.make_node("Cast", [few], [name], few, to=to)]
    elif (found := _scaled(array)) is not None:
        numbers, scale = (
            numpy_helper.from_array(part, each) for part, each in zip(found, (few, name + SCALE), strict=True)
        )
        cast = helper.make_node("Cast", [few], [f"{few}:float"], few, to=to)
        return [numbers, scale], [cast, helper.make_node("Mul", [f"{few}:float", name + SCALE], [name], name + SCALE)]
    return [numpy_helper.from_array(array, name)], []


def _scaled(array: Array) -> tuple[Array, Array] | None:
    """Whole numbers, and their scales along one of the axes, where the array is the one times the other."""
    for axis in range(array.ndim):
        over = tuple(k for k in range(array.ndim) if k != axis)
        largest = np.abs(array).max(axis=over, keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        numbers = np.rint(array / scale)
        if 4 * scale.size < array.size and np.allclose(numbers * scale, array, rtol=1e-6, atol=0):
            return numbers.astype(np.int8), scale
    return None


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
