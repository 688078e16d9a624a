"""Model files are hostile until proved otherwise: whatever is in them, an import ends with a model or in words.

The long form: `KERASCLI_FUZZ=100000 python -m pytest tests/reliability/test_hostile_models.py -k mutated`.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kerascli import importer
from kerascli.errors import Failure
from tests.reliability.hostile_models import KINDS, MODELS

COUNT = int(os.environ.get("KERASCLI_FUZZ", "1000"))
SEED = int(os.environ.get("KERASCLI_FUZZ_SEED", "1"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked, so that a crash is told")


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_end_in_a_model_or_in_words(kind: str) -> None:
    command = [sys.executable, "-m", "tests.reliability.hostile_models", kind, str(COUNT), str(SEED)]
    done = subprocess.run(command, cwd=MODELS.parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["faults"] == []
    assert result["read"] == COUNT > result["accepted"] > 0


def refused(path: Path) -> str:
    with pytest.raises(Failure) as failure:
        importer.read(path)
    return str(failure.value)


def archive(path: Path, changes: dict[str, bytes] | None = None, extra: tuple[tuple[str, bytes], ...] = ()) -> Path:
    """`bare_stack.keras` with other members."""
    with zipfile.ZipFile(MODELS / "bare_stack.keras") as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, (changes or {}).get(name, old.read(name)))
        for name, data in extra:
            new.writestr(name, data)
    return path


def config() -> dict[str, Any]:
    with zipfile.ZipFile(MODELS / "bare_stack.keras") as file:
        found: dict[str, Any] = json.loads(file.read("config.json"))
        return found


def with_config(path: Path, found: Any) -> Path:
    return archive(path, {"config.json": json.dumps(found).encode()})


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:\\out.txt", "..\\out.txt"])
def test_members_that_lead_out_of_the_archive_are_refused(name: str, tmp_path: Path) -> None:
    assert "leads out of it" in refused(archive(tmp_path / "m.keras", extra=((name, b"x"),)))
    assert [each.name for each in tmp_path.iterdir()] == ["m.keras"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "one name" in refused(archive(tmp_path / "m.keras", extra=(("config.json", b"{}"),)))


def test_members_that_grow_too_much_are_refused(tmp_path: Path) -> None:
    assert "larger than" in refused(archive(tmp_path / "m.keras", {"model.weights.h5": bytes(2**27)}))
    assert "larger than" in refused(archive(tmp_path / "m.keras", {"config.json": b" " * 2**26}))


def test_json_that_is_too_deep_or_no_json_is_refused(tmp_path: Path) -> None:
    for data in (b"[" * 100_000, b'{"config":' * 3000 + b"1" + b"}" * 3000, b"\xff\xfe", b"", b"NaN", b"12345", b"[]"):
        assert refused(archive(tmp_path / "m.keras", {"config.json": data}))


@pytest.mark.parametrize("units", [10**9, 10**12, 2**62])
def test_weights_larger_than_the_file_take_no_memory(units: int, tmp_path: Path) -> None:
    found = config()
    found["config"]["layers"][1]["config"]["units"] = units
    assert "bytes of weights" in refused(with_config(tmp_path / "m.keras", found))


def test_a_dataset_that_claims_a_giant_shape_takes_no_memory(tmp_path: Path) -> None:
    found = config()
    found["config"]["layers"][1]["config"]["units"] = 30_000
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.create_dataset("layers/dense/vars/0", (6, 2**40), "f4", chunks=(1, 1024))
        file["filler"] = np.random.default_rng(0).normal(size=400_000)
    path = archive(
        tmp_path / "m.keras", {"config.json": json.dumps(found).encode(), "model.weights.h5": memory.getvalue()}
    )
    assert "its shape there is" in refused(path)


@pytest.mark.parametrize("way", ["soft", "external", "loop", "reference", "virtual", "storage"])
def test_links_and_references_lead_nowhere(way: str, tmp_path: Path) -> None:
    memory = io.BytesIO(zipfile.ZipFile(MODELS / "bare_stack.keras").read("model.weights.h5"))
    place = "layers/dense/vars/0"
    with h5py.File(memory, "a") as file:
        del file[place]
        if way == "soft":
            file[place] = h5py.SoftLink("/layers/dense/vars/1")
        elif way == "external":
            file[place] = h5py.ExternalLink("/etc/passwd", "/x")
        elif way == "loop":
            del file["layers/dense/vars"]
            file["layers/dense/vars"] = file["layers/dense"]
        elif way == "reference":
            file.create_dataset(place, (6, 4), h5py.ref_dtype)
        elif way == "virtual":
            layout = h5py.VirtualLayout((6, 4), "f4")
            layout[:] = h5py.VirtualSource("/etc/passwd", "x", (6, 4))
            file.create_virtual_dataset(place, layout)
        else:
            file.create_dataset(place, (6, 4), "f4", external=[("/etc/passwd", 0, 96)])
    path = archive(tmp_path / "m.keras", {"model.weights.h5": memory.getvalue()})
    assert "no plain dataset" in refused(path)


@pytest.mark.parametrize(
    "layer",
    [
        {
            "class_name": "Lambda",
            "module": "keras.layers",
            "config": {"name": "l", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}},
        },
        {"class_name": "system", "module": "os", "config": {"name": "l", "command": "touch /tmp/x"}},
        {"class_name": "X", "module": "builtins", "registered_name": "Mine>X", "config": {"name": "l"}},
        {"class_name": "eval", "module": "builtins", "config": {"name": "l"}},
        {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"name": "l", "filepath": "/etc"}},
        {"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {"name": "l", "module": "gASV"}},
    ],
    ids=lambda layer: layer["class_name"],
)
def test_code_is_refused_and_never_run(layer: dict[str, Any], tmp_path: Path) -> None:
    found = config()
    found["config"]["layers"].append({"registered_name": None, **layer})
    assert " `l`: " in refused(with_config(tmp_path / "m.keras", found))


@pytest.mark.parametrize("key", ["kernel_initializer", "kernel_regularizer", "activation", "bias_constraint"])
def test_code_within_a_layer_is_refused(key: str, tmp_path: Path) -> None:
    for item in (
        {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"},
        {"class_name": "Evil", "module": "mine", "config": {}, "registered_name": "Mine>Evil"},
        {"class_name": "__lambda__", "config": {"value": "x"}},
    ):
        found = config()
        found["config"]["layers"][1]["config"][key] = item
        assert "Dense `" in refused(with_config(tmp_path / "m.keras", found))


def test_models_nested_too_deep_and_too_many_layers_are_refused(tmp_path: Path) -> None:
    found = config()
    inner: Any = found
    for number in range(40):
        inner = {
            **found,
            "config": {
                **found["config"],
                "name": f"m{number}",
                "layers": [found["config"]["layers"][0], {**inner, "name": f"n{number}"}],
            },
        }
    assert "nested" in refused(with_config(tmp_path / "m.keras", inner))
    found["config"]["layers"] += [
        {"class_name": "Flatten", "module": "keras.layers", "config": {"name": f"f{k}"}, "registered_name": None}
        for k in range(6000)
    ]
    assert "more than" in refused(with_config(tmp_path / "m.keras", found))
