"""`kerascli serve` as a process: it says where it listens, ends when told to, and explains why it cannot begin."""

from __future__ import annotations

import http.client
import importlib.util
import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kerascli.serving import server
from kerascli.stored import Stored
from tests.cli.session import Shell, start


@pytest.fixture
def shell(folder: Path, trained: Callable[[str], Stored], capfd: pytest.CaptureFixture[str]) -> Shell:
    trained("penguins")
    return Shell(folder, capfd)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches every process of a console there")
def test_it_prints_its_url_answers_and_ends_with_ctrl_c(folder: Path, trained: Callable[[str], Stored]) -> None:
    run = trained("penguins").path
    process = start("serve", run, "--port", 0, "--json", folder=folder)
    assert process.stdout is not None
    lines = ""
    while not lines.endswith("}\n"):
        lines += (line := process.stdout.readline())
        assert line, process.communicate()
    facts = json.loads(lines)
    assert (
        facts["port"] > 0 and facts["url"] == f"http://127.0.0.1:{facts['port']}/" and facts["process"] == process.pid
    )
    connection = http.client.HTTPConnection("127.0.0.1", facts["port"], timeout=20)
    connection.request("GET", "/healthz")
    assert json.loads(connection.getresponse().read())["run"] == run.name
    process.send_signal(signal.SIGINT)  # a connection is kept alive, and holds nothing up
    out, err = process.communicate(timeout=20)
    connection.close()
    assert process.returncode == 130 and not out and "Traceback" not in err
    assert err.splitlines()[0].startswith("GET /healthz 200 ") and err.endswith("interrupted\n")


def test_a_port_that_is_taken_and_hosts_that_are_not_here_are_problems(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = shell("serve", "penguins", "--port", port)
    assert answer.code == 1 and "E708" in answer.err and f"port {port} of 127.0.0.1 is taken" in answer.err
    assert "--port 0" in answer.err and answer.out == ""
    answer = shell("serve", "penguins", "--host", "192.0.2.1", "--json")
    assert answer.code == 1 and answer.document["problems"][0]["code"] == "E708"
    answer = shell("serve", "penguins", "--host", "no such host.invalid")
    assert answer.code == 2 and "there is no host" in answer.err
    assert shell("serve", "penguins", "--port", 70000).code == 2
    assert shell("serve", "absent").code == 1


def test_absent_packages_are_told_with_what_to_type(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find(name: str, *more: Any) -> Any:
        return None if name == "uvicorn" else real(name, *more)

    monkeypatch.setattr(server.importlib.util, "find_spec", find)
    answer = shell("serve", "penguins")
    assert answer.code == 1 and "E516" in answer.err and "`uvicorn`" in answer.err
    assert 'pip install "kerascli[serve]"' in answer.err
