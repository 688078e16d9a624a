"""Nothing that the installed Keras exports is forgotten: it is here, or a reason says why it is not."""

from __future__ import annotations

import importlib
import inspect

import keras
import pytest

from kerascli.component import families
from kerascli.left_out import ARGUMENTS, LEFT_OUT, reason
from tests.components_page import COMMAND, PAGE, PLACES, TOOLS, absent, exported, page, state


@pytest.mark.parametrize("family", PLACES)
def test_everything_that_keras_exports_is_here_or_left_out_for_a_reason(family: str) -> None:
    assert len(exported(family)) >= 4
    assert [name for name in exported(family) if state(family, name) == (None, None)] == []


@pytest.mark.parametrize("family", LEFT_OUT)
def test_what_is_left_out_is_not_here_and_keras_has_it(family: str) -> None:
    base = families()[family]
    assert [name for name in LEFT_OUT[family] if base.find(name)] == []
    models = {"Sequential", "Functional"}  # the classes of models, which a spec need not tell from each other
    known = set(vars(PLACES[family])) | (models if family == "layer" else set())
    assert [name for name in LEFT_OUT[family] if name not in known] == []


def test_every_name_of_keras_is_understood_but_those_left_out() -> None:
    for family, module in PLACES.items():
        base = families()[family]
        names = {n for n, thing in vars(module).items() if callable(thing) and n[0].isupper() and n not in TOOLS}
        assert [n for n in sorted(names) if not base.find(n) and not reason(family, n)] == [], family


@pytest.mark.parametrize("family", PLACES)
def test_every_argument_of_keras_is_taken_or_left_out_for_a_reason(family: str) -> None:
    members = {name: state(family, name)[0] for name in exported(family)}
    lacks = {name: absent(member, getattr(PLACES[family], name)) for name, member in members.items() if member}
    assert {f"{name}.{key}" for name, keys in lacks.items() for key in keys if key not in ARGUMENTS} == set()


ALIASED = ("loss", "metric", "optimizer", "initializer", "regularizer", "constraint", "activation")


@pytest.mark.parametrize("family", ALIASED)
def test_every_identifier_of_keras_names_the_same_component(family: str) -> None:
    table = importlib.import_module(f"keras.src.{PLACES[family].__name__.rsplit('.', 1)[1]}").ALL_OBJECTS_DICT
    assert len(table) >= 10
    for name, thing in table.items():
        member = families()[family].find(name)
        if member is None:
            assert reason(family, thing.__name__) or thing.__name__ == "LossFunctionWrapper", name
        elif inspect.isclass(thing):
            assert member.__name__ == thing.__name__ or name == "accuracy", name  # which goes by the output's shape
        else:
            assert thing.__name__ in families()[family].names(), name


def test_optimizers_are_known_however_they_are_capitalised_as_in_keras() -> None:
    for name in ("ADAM", "RMSProp", "Sgd"):
        found = families()["optimizer"].find(name)
        assert found is not None and found.__name__ == type(keras.optimizers.get(name)).__name__


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), f"write it anew with `{COMMAND}`"
