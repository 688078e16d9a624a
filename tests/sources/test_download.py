"""Downloads against a server on this machine: whole, cut off and resumed, wrong, absent, too long."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kerascli.downloads import OFFLINE, PROGRESS
from kerascli.sources.download import Remote, fetch
from tests.sources.helpers import fails

DATA = bytes(range(256)) * 4096


class Server(ThreadingHTTPServer):
    """Serves DATA; `cuts` says after how many bytes each answer breaks off."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts: list[int] = []
        self.asked: list[str] = []
        self.ranges = True
        self.status = 200
        self.data = DATA

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append(wanted)
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        data, start = self.server.data, 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_error(416)
                return
        body = data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(body)
        self.wfile.write(body[:cut])
        if cut < len(body):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with Server() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def remote(server: Server, data: bytes = DATA) -> Remote:
    return Remote("file.bin", server.url, len(DATA), f"sha256:{hashlib.sha256(data).hexdigest()}")


def test_a_file_is_fetched_once_and_put_in_place_whole(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    token = PROGRESS.set(lambda name, done, total: seen.append((name, done, total)))
    path = fetch(remote(server))
    PROGRESS.reset(token)
    assert path == tmp_path / "datasets" / "file.bin" and path.read_bytes() == DATA
    assert seen[-1] == ("file.bin", len(DATA), len(DATA))
    assert fetch(remote(server)) == path and len(server.asked) == 1
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_a_cut_connection_goes_on_where_it_was_cut(server: Server) -> None:
    server.cuts = [300_000, 200_000]
    assert fetch(remote(server)).read_bytes() == DATA
    assert server.asked == ["", "bytes=300000-", "bytes=500000-"]


def test_what_three_tries_brought_is_kept_for_the_next_command(server: Server) -> None:
    server.cuts = [1000, 1000, 1000]
    with fails("E411", "3,000 bytes are kept"):
        fetch(remote(server))
    assert fetch(remote(server)).read_bytes() == DATA
    assert server.asked[-1] == "bytes=3000-"


def test_a_server_that_knows_no_ranges_sends_all_again(server: Server) -> None:
    server.cuts, server.ranges = [5000], False
    assert fetch(remote(server)).read_bytes() == DATA


def test_a_wrong_digest_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    with fails("E411", "gave other bytes", "try again"):
        fetch(remote(server, b"something else"))
    assert not list((tmp_path / "datasets").iterdir())


def test_a_damaged_file_in_the_cache_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "file.bin").write_bytes(b"half")
    token = OFFLINE.set(True)
    with fails("E411", "is damaged", "--offline"):
        fetch(remote(server))
    OFFLINE.reset(token)
    assert fetch(remote(server)).read_bytes() == DATA


def test_leftovers_of_another_file_do_not_spoil_the_next_try(server: Server, tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / ".file.bin.part").write_bytes(DATA + b"more")
    assert fetch(remote(server)).read_bytes() == DATA


@pytest.mark.parametrize("status", [404, 403, 500])
def test_the_servers_refusal_is_told(server: Server, status: int) -> None:
    server.status = status
    with fails("E411", f"the server answered {status}", "or put the file at"):
        fetch(remote(server))
    assert len(server.asked) == (3 if status == 500 else 1)


def test_a_server_that_sends_without_end_is_stopped(server: Server) -> None:
    server.data = DATA * 4
    with fails("E411", "sends more than"):
        fetch(remote(server))


def test_no_server_is_a_problem_and_no_traceback(server: Server) -> None:
    server.shutdown()
    server.server_close()
    with fails("E411", "cannot fetch", "nothing was kept"):
        fetch(remote(server))
