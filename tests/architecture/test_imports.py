"""Imports go one way, and everything from outside has one door."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.architecture.code import Module, modules

STAGES = """
errors component left_out docs codes files downloads yamltext hdf5
ops hashes
constraints initializers regularizers activations schedules learned
layer layers losses metrics optimizers
text dates columns features encoders
images preprocessing data templates sources callbacks
slips diagnose overrides search spec
draft reuse expand outline host graph objective
program engine
keras_graph keras_config keras_backend check
model bounds feed runner trainer adaptation diagnosis
keras_layout keras_archive confined keras_files keras_named predictions exporters
curves run checkpoint stored engines
outcome resume training launch verify importer
inspection
explain schema overview comparison summary plot
report serving
api bench sweep
cli
__main__
"""
"""A file or folder imports only what stands before it here. A new stage finds its place in this list."""
ORDER = STAGES.split()

DOORS = {
    "yaml": ("yamltext",),
    "h5py": ("hdf5", "keras_files", "keras_named", "sources.hdf5"),
    "click": ("cli",),
    "rich": ("cli.render", "cli.progress", "cli.download_bar", "cli.sweep_view"),
    "pickle": ("sources.restricted_pickle",),
    "threadpoolctl": ("engine.team",),
    "pyarrow": ("sources.parquet",),
    "tensorboard": ("callbacks.tensorboard",),
    "mlflow": ("callbacks.mlflow",),
    "PIL": ("images",),
    "matplotlib": ("report.charts", "sweep.plots"),
    "jinja2": ("report.template",),
    "pygments": ("report.page",),
    "ctypes": ("engine.team", "bench"),
    "mmap": ("engine.memory",),
    "threading": ("engine.team", "engines.meeting", "training"),
    "fcntl": ("run",),
    "onnx": ("exporters.onnx",),
    "optuna": ("sweep",),
    "safetensors": ("exporters.safetensors",),
    "starlette": ("serving.app", "serving.guard"),
    "uvicorn": ("serving.server",),
    "subprocess": ("run", "bench", "sweep.crew", "exporters.readback"),
}
"""What only these may import."""

EVERYWHERE = {"numpy", "pydantic", "pydantic_core"}
FORBIDDEN = {"dill", "marshal", "shelve", "multiprocessing", "joblib", "scipy", "pandas", "sklearn"}
FRAMEWORKS = {"keras", "tensorflow", "torch", "jax", "jaxlib", "onnxruntime", "flax"}


def test_a_module_imports_only_what_stands_below_it() -> None:
    faults = []
    for module in modules():
        if module.name == "kerascli":
            continue
        assert module.part in ORDER, f"give `{module.part}` its place in ORDER"
        place = ORDER.index(module.part)
        for name in module.imports():
            part = name.split(".")[1] if name.startswith("kerascli.") else module.part
            if part not in (module.part, "__version__") and ORDER.index(part) > place:
                faults.append(f"{module.name} imports {name}, which is above it")
    assert not faults


def test_what_comes_from_outside_comes_through_one_door() -> None:
    faults = [f"{module.name}: {name}" for module in modules() for name in module.imports() if not _may(module, name)]
    assert not faults


def _may(module: Module, name: str) -> bool:
    top, own = name.split(".")[0], module.name.removeprefix("kerascli.")
    if top in FRAMEWORKS:
        return module.part == "bench" or own == f"engines.{top}_backend" or (module.part, top) == ("engines", "keras")
    if top in DOORS:
        return any(own == door or own.startswith(f"{door}.") for door in DOORS[top])
    return top not in FORBIDDEN and (top in sys.stdlib_module_names or top in {"kerascli", *EVERYWHERE})


def test_no_text_becomes_code_and_no_pickle_is_read() -> None:
    faults = []
    for module in modules():
        for node in ast.walk(module.tree):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if called in ("eval", "exec", "compile", "__import__"):
                faults.append(f"{module.name}: {called}")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                faults.append(f"{module.name}:{node.value.lineno}: allow_pickle")
    assert not faults


LOADED = "import sys; from kerascli.cli.main import main; main({words}); print(*sys.modules, file=sys.stderr)"


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["runs", "list", "--runs-dir", "nowhere"]], ids=str)
def test_help_and_lists_load_no_heavy_library(words: list[str]) -> None:
    script = LOADED.format(words=words)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"numpy", "pydantic", "rich", "yaml", "h5py"} & set(done.stderr.split())
