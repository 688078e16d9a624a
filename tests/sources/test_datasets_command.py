from __future__ import annotations

import json
from contextvars import ContextVar
from pathlib import Path

import pytest
from click.testing import CliRunner

from kerascli.cli.datasets import command
from kerascli.errors import Failure
from kerascli.sources.catalogue import names


def test_list_and_show_print_text_or_one_json_document() -> None:
    run = CliRunner().invoke
    assert all(name in run(command, []).output for name in names())
    assert [found["name"] for found in json.loads(run(command, ["list", "--json"]).output)] == names()
    assert "CC BY-SA 3.0" in run(command, ["show", "mnist"]).output
    facts = json.loads(run(command, ["show", "mnist", "--json"]).output)
    assert facts["splits"] == {"train": 60_000, "test": 10_000} and facts["shape"] == [28, 28, 1]


def test_fetch_without_a_network_says_where_the_file_would_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("kerascli.sources.download.OFFLINE", ContextVar("offline", default=True))
    failure = CliRunner().invoke(command, ["fetch", "cifar10"]).exception
    assert isinstance(failure, Failure) and str(tmp_path) in failure.problems[0].message
    assert json.loads(CliRunner().invoke(command, ["fetch", "mnist", "--json"]).output) == {
        "name": "mnist",
        "files": [],
    }
