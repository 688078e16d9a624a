"""Files and functions stay small enough to read, and say what they are for."""

from __future__ import annotations

import ast
import inspect
import pkgutil
from importlib import import_module

import pytest

from kerascli.component import MODULES, Component
from kerascli.docs import sentences
from tests.architecture.code import modules
from tests.layer_cases import STRUCTURE

LONGEST_FILE = 400
LONGEST_FUNCTION = 60


def test_files_fit_on_a_few_screens_and_functions_on_one() -> None:
    files = {module.name: len(module.text.splitlines()) for module in modules()}
    functions = {f"{module.name}.{name}": lines for module in modules() for name, lines in module.functions()}
    for what, found in (("file", files), ("function", functions)):
        longest = sorted(found.items(), key=lambda item: -item[1])[:3]
        print(f"{len(found)} {what}s, {sum(found.values()) / len(found):.0f} lines on average, the longest {longest}")
    assert {name: lines for name, lines in files.items() if lines > LONGEST_FILE} == {}
    assert {name: lines for name, lines in functions.items() if lines > LONGEST_FUNCTION} == {}


def test_every_file_says_what_it_is() -> None:
    assert [m.name for m in modules() if m.text.strip() and not ast.get_docstring(m.tree)] == []


def families() -> list[type[Component]]:
    """Every family, all its members imported."""
    for module in MODULES.values():
        for info in pkgutil.iter_modules(getattr(import_module(module), "__path__", [])):
            import_module(f"{module}.{info.name}")
    return [family for family in Component.__subclasses__() if family.family in MODULES]


def test_every_component_and_each_of_its_arguments_is_explained() -> None:
    members = [member for family in families() for member in family.members.values()]
    assert len(members) > 120
    assert [member.__name__ for member in members if not inspect.getdoc(member)] == []
    silent = {member.__name__: set(member.model_fields) - set(sentences(member)) for member in members}
    assert {name: fields for name, fields in silent.items() if fields} == {}


def test_every_component_has_an_example() -> None:
    members = [member for family in families() for member in family.members.values()]
    assert [member.__name__ for member in members if not member.examples and member not in STRUCTURE] == []


def test_no_method_takes_the_name_of_an_argument_that_keras_has() -> None:
    keras = pytest.importorskip("keras")
    places = {
        "layer": keras.layers,
        "initializer": keras.initializers,
        "regularizer": keras.regularizers,
        "constraint": keras.constraints,
        "loss": keras.losses,
        "metric": keras.metrics,
        "optimizer": keras.optimizers,
        "schedule": keras.optimizers.schedules,
        "callback": keras.callbacks,
    }
    python_only = {keras.layers.Lambda}
    for family in families():
        classes = [c for c in vars(places.get(family.family, object)).values() if inspect.isclass(c)]
        arguments = {name for c in classes if c not in python_only for name in inspect.signature(c.__init__).parameters}
        methods = {name for name, thing in vars(family).items() if callable(thing) or isinstance(thing, property)}
        assert {name for name in methods & arguments if not name.startswith("_")} == set(), family.family
