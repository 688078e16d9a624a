"""What is not answered, and how that is said: JSON problems that name the place, and never a traceback."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from kerascli.errors import Failure
from kerascli.serving.bodies import Body, File
from kerascli.serving.refusal import Limits
from kerascli.stored import Stored
from tests.serving.conftest import Served, serving
from tests.serving.test_predictions import TABLE, features, form

Server = Callable[[str], Served]
JSON = "application/json"


def refused(answer: Any, status: int, *words: str) -> None:
    assert answer.status == status and all(word in answer.problem for word in words), (answer.status, answer.body)


DIGIT = [[0] * 28 for _ in range(28)]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "no JSON"),
        (b'{"inputs": [', 400, "no JSON"),
        (b'{"inputs": [1,\n]}', 400, "E701"),
        (b"\xff\xfe{}", 400, "not UTF-8"),
        (b'{"inputs": [NaN]}', 400, "`NaN`, which is no JSON"),
        (b'{"inputs": [' + b"9" * 5000 + b"]}", 400, "a number too long"),
        (b"[" * 1_000_000, 400, "without end"),
        (b'{"inputs": ' + b'{"a":' * 200_000, 400, "without end"),
        (b'{"inputs": ["\\ud800"]}', 400, "not UTF-8"),
        (b"3", 422, "the body is the number 3"),
        (b"[[1, 2]]", 422, "the body is a list of 1, and an object is expected"),
        (b'{"instances": [[1]]}', 422, "unknown key `instances`"),
        (b'{"top_k": 2}', 422, "no `inputs`"),
        (b'{"inputs": {"a": 1}}', 422, "a list of rows is expected"),
        (b'{"inputs": []}', 422, "no row"),
        (b'{"inputs": [1], "top_k": 0}', 422, "a whole number from 1"),
        (b'{"inputs": [1], "top_k": true}', 422, "`top_k` is true"),
        (b'{"inputs": [null]}', 422, "row 1, `input_layer`: expected a list of 28 lists, found null"),
        (b'{"inputs": [{"x": 1}]}', 422, "found an object"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value)[:30],
)
def test_json_that_is_none_or_of_another_form(body: bytes, status: int, words: str, served: Server) -> None:
    refused(served("mnist").predict(body), status, words)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((2, 5), None, "row 2, `input_layer`[2][5]: expected a number, found null"),
        ((2, 5), True, "[2][5]: expected a number, found true"),
        ((2, 5), "7", 'found the text "7"'),
        ((2, 5), [7], "[2][5]: expected a number, found a list of 1"),
        ((2,), [1, 2], "row 2, `input_layer`[2]: expected a list of 28 numbers, found a list of 2"),
        ((2, 5), 256, "row 2, `input_layer`[2][5]: expected a whole number from 0 to 255, found 256"),
        ((2, 5), -1, "found -1"),
        ((2, 5), 0.5, "found 0.5"),
        ((2, 5), 10**400, "that no computer holds"),
    ],
)
def test_rows_of_numbers_are_named_by_row_and_place(
    place: tuple[int, ...], value: object, words: str, served: Server
) -> None:
    row: Any = json.loads(json.dumps(DIGIT))
    last: Any = row
    for index in place[:-1]:
        last = last[index]
    last[place[-1]] = value
    refused(served("mnist").predict({"inputs": [DIGIT, row]}), 422, words)


def test_numbers_too_large_for_the_net_are_named(served: Server) -> None:
    row = {"left": [[1, 2, 3], [4, 5, 6]], "right": [1, 2, 3, 4]}
    arrays = served("arrays")
    assert arrays.predict({"inputs": [row]}).status == 200
    body = json.dumps({"inputs": [row, row]}).replace("6]]", "1e999]]", 1).encode()
    refused(arrays.predict(body), 422, "E408", "row 1, `left`[1][2]: expected a 32-bit number, found inf")
    refused(arrays.predict({"inputs": [row, {"left": row["left"]}]}), 422, "row 2: expected input `right`")
    ids = [row] * 80 + [row | {"right": [1, 2, 9, 4]}]
    refused(arrays.predict({"inputs": ids}), 422, "E420", "row 81, column 3 has the id 9")


def test_rows_of_features_are_named_by_row_and_column(served: Server) -> None:
    penguins = served("penguins")
    good = features(penguins.stored.preprocessing.kinds)[0]
    for change, words in (
        ({"year": "soon"}, 'row 2, column `year`: `"soon"` is not a number'),
        ({"year": [1]}, "row 2, column `year`: `[1]` is not a number"),
        ({"island": {"a": 1}}, "row 2, column `island`"),
        ({"year": True}, "`true` is not a number"),
        ({"year": 10**400}, "row 2, column `year`"),
    ):
        refused(penguins.predict({"inputs": [good, good | change]}), 422, words)
    body = json.dumps({"inputs": [good | {"year": 7.25}]}).replace("7.25", "1e999").encode()
    refused(penguins.predict(body), 422, "E404", "row 1, column `year`: expected a finite number, found inf")
    renamed = {("jahr" if k == "year" else k): v for k, v in good.items()}
    refused(penguins.predict({"inputs": [good, renamed]}), 422, "row 2, column `year`: expected a value")
    assert "`jahr`" not in penguins.predict({"inputs": [renamed]}).document["problems"][0]["label"]
    near = {("yaer" if k == "year" else k): v for k, v in good.items()}
    assert "`yaer`" in penguins.predict({"inputs": [near]}).document["problems"][0]["label"]
    refused(penguins.predict({"inputs": [{}]}), 422, "row 1, column `island`: expected a value")
    refused(penguins.predict({"inputs": [[1, 2]]}), 422, "row 1: expected an object of features, found a list of 2")


def test_tables_are_named_by_line_and_column(served: Server) -> None:
    penguins = served("penguins")
    lines = TABLE.read_text("utf-8").splitlines()[:3]
    for text, status, words in (
        ("", 422, "empty"),
        (lines[0], 422, "no samples"),
        ("\n".join([*lines, "a,b"]), 422, "row 3 has 2 values"),
        ("\n".join(lines).replace("island", "land"), 422, "no column `island`"),
        ("\n".join([lines[0], '"Biscoe' + lines[1]]), 422, "cannot be read as a table"),
        (
            "\n".join([*lines, lines[1].replace(lines[1].split(",")[3], "-inf")]),
            422,
            "column `bill_depth_mm`: expected a f",
        ),
        ('{"inputs": []}', 422, "holds JSON"),
        ("\n".join(lines).replace(lines[1].split(",")[2], "wide"), 422, "row 1, column `bill_length_mm`: `wide`"),
    ):
        refused(penguins.predict(text.encode(), type="text/csv"), status, words)
    refused(penguins.predict(b"\xff\xfe\xff", type="text/csv"), 400, "byte 0xff in line 1")
    for charset in ("idna", "rot13", "nonsense", "utf-7"):
        refused(penguins.predict(b"a", type=f"text/csv; charset={charset}"), 415, "charset")


def png(width: int, height: int) -> bytes:
    """A small file that claims to be large, and is, once unpacked."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def test_images_that_are_none_or_unpack_to_more_than_memory_are_refused(served: Server) -> None:
    mnist = served("mnist")
    refused(mnist.predict(png(9000, 9000), type="image/png"), 422, "E402", "9,000 × 9,000 pixels")
    refused(mnist.predict(png(60_000, 60_000), type="image/png"), 422, "E402")
    refused(mnist.predict(png(200, 200)[:60], type="image/png"), 422, "E402")
    refused(mnist.predict(b"<svg/>", type="image/png"), 422, "none of PNG, JPEG, BMP, GIF")
    refused(mnist.predict(b"", type="image/png"), 422, "E402")
    refused(mnist.predict(*form([("../../a/b.png", b"no image")])), 422, "`b.png` is no image")
    assert mnist.predict(*form([])).status in (400, 422)  # older parsers take no empty form
    refused(mnist.predict(b"nothing", type="multipart/form-data; boundary=XX"), 400, "E701")
    refused(mnist.predict(b"--XX", type="multipart/form-data"), 400, "boundary")
    text = b'--XX\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc\r\n--XX--\r\n'
    refused(
        mnist.predict(text, type="multipart/form-data; boundary=XX"), 422, "the field `image` of the form is no file"
    )


def test_content_types_that_the_model_does_not_read_are_415(served: Server) -> None:
    for name, kind in (("penguins", "image/png"), ("arrays", "text/csv"), ("reviews", "text/plain"), ("mnist", "")):
        refused(served(name).predict(b"x", type=kind), 415, "E702")
    refused(served("mnist").predict(b"x", Content_Encoding="gzip"), 415, "packed by `gzip`")
    refused(served("arrays").predict(b"x", type="image/png"), 422, "the network 2 inputs")
    refused(served("mnist").predict(b"{}", "?topk=3"), 422, "no parameter `topk`")
    refused(served("mnist").predict(b"{}", "?top_k=-3"), 422, "whole number")


def test_requests_are_only_heard_under_own_names_and_from_own_pages(served: Server) -> None:
    mnist = served("mnist")
    port = mnist.url.split(":")[2].strip("/")
    refused(mnist.ask("/", Host="evil.example"), 421, "E705", "evil.example")
    refused(mnist.ask("/", Host=f"evil.example:{port}"), 421)
    for host in (f"localhost:{port}", f"[::1]:{port}", "127.0.0.1", "192.168.1.7:80", "LOCALHOST"):
        assert mnist.ask("/healthz", Host=host).status == 200
    body = {"inputs": [DIGIT]}
    for origin in ("http://evil.example", "null", f"http://127.0.0.1.evil.example:{port}", "http://127.0.0.1:1"):
        refused(mnist.predict(body, Origin=origin), 403, "E705")
    answer = mnist.predict(body, Origin=mnist.url.strip("/"))
    assert answer.status == 200 and "access-control-allow-origin" not in answer.headers
    refused(mnist.ask("/predict", method="OPTIONS"), 405)
    refused(mnist.ask("/predict"), 405)
    for path in ("/nowhere", "/../app.py", "/%2e%2e/app.py", "/page.html", "//etc/passwd"):
        refused(mnist.ask(path), 404)


def test_answers_forbid_browsers_what_they_need_not_do(served: Server) -> None:
    mnist = served("mnist")
    for path in ("/", "/page.js", "/healthz", "/nowhere"):
        headers = mnist.ask(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and "server" not in headers


def test_bodies_and_rows_have_limits(trained: Callable[[str], Stored]) -> None:
    with serving(trained("penguins"), Limits(bytes=4000, rows=3)) as small:
        row = features(small.stored.preprocessing.kinds)[0]
        assert small.predict({"inputs": [row] * 3}).status == 200
        refused(small.predict({"inputs": [row] * 4}), 413, "4 rows or more, and 3")
        lines = TABLE.read_bytes().splitlines()
        refused(small.predict(b"\n".join(lines[:9]), type="text/csv"), 413, "E703")
        refused(small.predict(b"x" * 5000), 413, "more than 4,000 bytes")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody listens to that much
            refused(small.predict(b" " * 4_000_000), 413, "more than 4,000 bytes")
        chunks = http.client.HTTPConnection(small.url.split("/")[2], timeout=20)
        chunks.request("POST", "/predict", iter([b"x" * 3000] * 3), {"Content-Type": JSON}, encode_chunked=True)
        assert chunks.getresponse().status == 413
        chunks.close()
        assert small.predict({"inputs": [row]}).status == 200


def test_slow_bodies_waiting_and_slow_predictions_have_an_end(
    trained: Callable[[str], Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(trained("mnist"), Limits(seconds=0.8)) as quick:
        place = quick.url.split("/")[2].split(":")
        with socket.create_connection((place[0], int(place[1])), timeout=20) as slow:
            slow.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nContent-Type: text/csv\r\n\r\n"
            )
            assert b" 408 " in slow.recv(100)
        hold, predictor = threading.Event(), quick.app.predictor
        real = predictor._padded

        def held(part: Any) -> Any:
            hold.wait(20)
            return real(part)

        monkeypatch.setattr(predictor, "_padded", held)
        refused(quick.predict({"inputs": [DIGIT] * 70}), 504, "E704", "more than 0.8 seconds")
        answer = quick.predict({"inputs": [DIGIT]})
        refused(answer, 503, "E704")
        assert answer.headers["retry-after"] == "1"
        hold.set()
        for _ in range(100):
            if quick.predict({"inputs": [DIGIT]}).status == 200:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("the worker did not recover")


def test_more_requests_than_may_wait_are_told_to_come_back(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist = served("mnist")
    monkeypatch.setattr(mnist.app, "requests", 32)
    refused(mnist.predict({"inputs": [DIGIT]}), 503, "32 requests")
    monkeypatch.undo()
    assert mnist.predict({"inputs": [DIGIT]}).status == 200 and mnist.app.requests == 0


def test_a_fault_of_the_server_is_written_down_there_and_not_sent(
    served: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mnist = served("mnist")

    def fails(*words: Any) -> Any:
        raise RuntimeError("secret /path")

    with monkeypatch.context() as patch:
        patch.setattr(mnist.app.predictor, "outputs", fails)
        answer = mnist.predict({"inputs": [DIGIT]})
    refused(answer, 500, "E707")
    assert b"secret" not in answer.body and "secret /path" in capfd.readouterr().err
    assert mnist.predict({"inputs": [DIGIT]}).status == 200


def test_every_request_is_a_line_that_cannot_steer_a_terminal(served: Server) -> None:
    mnist = served("mnist")
    mnist.ask("/%1b%5b2J%0aPOST")
    for _ in range(200):  # the line comes after the answer
        if any(line.startswith("GET /\\x1b[2J\\nPOST 404 ") for line in mnist.lines):
            return
        time.sleep(0.02)
    raise AssertionError(mnist.lines)


def test_no_more_faults_are_told_than_somebody_reads(served: Server) -> None:
    penguins, mnist = served("penguins"), served("mnist")
    keys = {f"key {number}": 1 for number in range(5000)}
    for answer in (
        penguins.predict(b"," * 5000, type="text/csv"),
        penguins.predict(b",".join([b"a"] * 5000) + b"\n", type="text/csv"),
        penguins.predict(keys),
        penguins.predict({"inputs": [keys] * 100}),
        mnist.predict({"inputs": [DIGIT, *[3] * 5000]}),
    ):
        assert answer.status == 422 and 0 < len(answer.document["problems"]) <= 10 and len(answer.body) < 10_000


@pytest.mark.parametrize("name", ["penguins", "mnist", "reviews", "arrays"])
def test_damaged_bodies_are_answered_or_refused_in_words(name: str, served: Server) -> None:
    server, chance = served(name), random.Random(name)
    kinds = {JSON: json.dumps({"inputs": [server.ask("/model.json").document["example"]] * 2}).encode()}
    if name == "penguins":
        kinds["text/csv"] = b"\n".join(TABLE.read_bytes().splitlines()[:5])
    if name == "mnist":
        kinds["image/png"] = png(28, 28)
    for media, good in kinds.items():
        for _ in range(60):
            damaged = damage(good, chance)
            try:
                server.app._answer(Body(media, None, (File(damaged),)), JSON, None, lambda: None)
            except Failure as failure:
                assert failure.problems and all(p.code and p.message for p in failure.problems)


def damage(good: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, left out, repeated or put in."""
    found = bytearray(good)
    for _ in range(chance.randint(1, 3)):
        place, length = chance.randrange(len(found) + 1), chance.choice((1, 1, 2, 9))
        piece = chance.choice(
            (b"", b"\0", b'"', b"[", b"{", b"-", b"e999", b",", b"null", b"\xff", b"\n", bytes(found[:20]))
        )
        found[place : place + length] = piece
    return bytes(found)
