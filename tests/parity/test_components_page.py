"""Nothing that the installed Keras exports is forgotten: it is here, or a reason says why it is not."""

from __future__ import annotations

import pytest

from kerascli.component import families
from kerascli.left_out import LEFT_OUT, reason
from tests.components_page import COMMAND, PAGE, PLACES, TOOLS, exported, page, state


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


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), f"write it anew with `{COMMAND}`"
