"""Broken specs beside the exact message they must give. `pytest tests/errors --update` writes the messages anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kerascli
from kerascli.check import validate
from kerascli.cli.render import diagnostic
from kerascli.codes import CODES

HERE = Path(__file__).parent
SPECS = sorted(HERE.glob("*.yaml"))


def messages(spec: Path) -> str:
    verdict = validate(Path(spec.name))
    blocks = [diagnostic(problem).plain for problem in verdict.problems]
    return "\n\n".join(blocks) + f"\n\nexit code {verdict.exit_code}\n"


@pytest.mark.parametrize("spec", SPECS, ids=[spec.stem for spec in SPECS])
def test_a_broken_spec_gives_the_message_beside_it(
    spec: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE)
    found, beside = messages(spec), spec.with_suffix(".txt")
    if request.config.getoption("update"):
        beside.write_text(found, "utf-8")
    assert found == beside.read_text("utf-8")


def test_every_message_stands_beside_a_spec() -> None:
    assert {p.stem for p in HERE.glob("*.txt")} == {p.stem for p in SPECS}


def test_no_message_has_the_form_that_helps_nobody() -> None:
    assert not [p.name for p in HERE.glob("*.txt") if "invalid value" in p.read_text("utf-8").lower()]


def test_every_code_in_the_source_is_explained() -> None:
    files = Path(kerascli.__file__).parent.rglob("*.py")
    used = {code for file in files for code in re.findall(r'"(E[1-7]\d\d)"', file.read_text("utf-8"))}
    assert used == set(CODES)
