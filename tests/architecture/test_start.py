"""A command imports what it needs, and of the components those alone that the spec names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kerascli.component import MODULES, _written, families

SPEC = """
dataset: digits
layers: [{type: Rescaling, scale: 0.0625}, Flatten, {type: Dense, units: 10, activation: softmax}]
loss: sparse_categorical_crossentropy
metrics: [acc]
optimizer: adam
"""
BASES = families()
NAMED = {"layer": ["Input", "Rescaling", "Flatten", "Dense"], "loss": ["sparse_categorical_crossentropy"]}
NAMED |= {"metric": ["acc"], "optimizer": ["adam"], "dataset": ["digits"]}
PLACES = {_written(family).places[name] for family, names in NAMED.items() for name in names}
NEEDLESS = {"h5py", "rich", "numpy.random", "numpy.ma", "kerascli.preprocessing", "kerascli.engine.machine"}
LOADED = "import sys; from kerascli.cli.main import main; print(main({words})); print(*sys.modules)"


def loaded(*words: str) -> tuple[str, set[str]]:
    """The exit code of a command, and the modules in its process at the end."""
    script = LOADED.format(words=list(words))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    *_, code, modules = done.stdout.splitlines()
    return code, set(modules.split())


def members(modules: set[str]) -> set[str]:
    """Those of the modules that hold members of a family which is a folder."""
    return {place for family in MODULES for place in _written(family).places.values()} & modules - {*MODULES.values()}


def test_texts_of_modules_tell_where_every_component_is() -> None:
    for family, base in BASES.items():
        written, known = _written(family), base.names()
        assert written.places == {name: member.__module__ for name, member in known.items()}
        assert {*written.members} == {*base.members}


def test_validate_imports_no_component_that_the_spec_does_not_name(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    code, modules = loaded("validate", str(spec))
    assert code == "0"
    assert members(modules) == PLACES
    assert not NEEDLESS & modules


def test_a_misspelt_name_imports_no_family_to_find_what_was_meant(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("Flatten", "Flaten"))
    code, modules = loaded("validate", str(spec))
    assert code == "2"
    assert members(modules) < PLACES
