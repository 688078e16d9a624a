from __future__ import annotations

import json

from click.testing import CliRunner

from kerascli.cli.datasets import command
from kerascli.sources.catalogue import names


def test_list_and_show_print_text_or_one_json_document() -> None:
    run = CliRunner().invoke
    assert all(name in run(command, []).output for name in names())
    assert [found["name"] for found in json.loads(run(command, ["list", "--json"]).output)] == names()
    assert "CC BY-SA 3.0" in run(command, ["show", "mnist"]).output
    facts = json.loads(run(command, ["show", "mnist", "--json"]).output)
    assert facts["splits"] == {"train": 60_000, "test": 10_000} and facts["shape"] == [28, 28, 1]
