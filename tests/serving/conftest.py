"""Small trained runs of each kind, each served by a real server on a free port of this machine."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")

from kerascli.cli.main import main
from kerascli.run import find
from kerascli.serving import server
from kerascli.serving.app import Application
from kerascli.serving.predictor import Predictor
from kerascli.serving.refusal import Limits
from kerascli.stored import Stored
from tests.cli.conftest import PENGUINS

HOSTILE = "<img src=x onerror='window.hacked = 1'>"
SPECS = {
    "penguins": PENGUINS,
    "mnist": """
dataset: {type: mnist, limit: 1500}
layers: [{type: Rescaling, scale: 0.00392156862745098}, Flatten, {type: Dense, units: 48, activation: relu},
  {type: Dense, units: 10, activation: softmax}]
loss: sparse_categorical_crossentropy
optimizer: adam
training: {epochs: 3}
""",
    "reviews": """
dataset: {type: csv, path: reviews.csv, target: verdict, features: {review: {kind: text, output: multi_hot}}}
layers: [{type: Dense, units: 1, activation: sigmoid}]
loss: binary_crossentropy
optimizer: {type: Adam, learning_rate: 0.1}
training: {epochs: 5}
""",
    "arrays": """
dataset: {type: npz, path: d.npz, inputs: {left: left, right: right}, targets: {kind: kind, size: size}}
layers:
  - {type: Input, name: left, shape: [2, 3]}
  - {type: Input, name: right, shape: [4], dtype: int32}
  - {type: Flatten, name: flat, inputs: left}
  - {type: Embedding, name: table, input_dim: 9, output_dim: 2, inputs: right}
  - {type: Flatten, name: other, inputs: table}
  - {type: Concatenate, name: both, inputs: [flat, other]}
  - {type: Dense, units: 3, activation: softmax, name: kind, inputs: both}
  - {type: Dense, units: 1, name: size, inputs: both}
outputs: [kind, size]
loss: {kind: sparse_categorical_crossentropy, size: mse}
training: {epochs: 1}
""",
    "pictures": """
dataset: {type: image_folder, path: pictures, image_size: [12, 10], color_mode: rgb}
layers: [{type: Rescaling, scale: 0.004}, Flatten, {type: Dense, units: 2, activation: softmax}]
loss: sparse_categorical_crossentropy
training: {epochs: 1}
""",
    "hostile": f"""
description: "</script>{HOSTILE}"
dataset: {{type: csv, path: hostile.csv, target: target}}
layers: [{{type: Dense, units: 2, activation: softmax}}]
loss: sparse_categorical_crossentropy
training: {{epochs: 1}}
""",
}


def _write_data(folder: Path) -> None:
    from PIL import Image

    rng, chance = np.random.default_rng(0), random.Random(0)
    words = {"good": ["lovely", "moving", "great", "fine"], "bad": ["dull", "awful", "poor", "boring"]}
    rows = [(kind, " ".join(chance.choices(words[kind], k=4))) for kind in chance.choices(list(words), k=120)]
    (folder / "reviews.csv").write_text("review,verdict\n" + "".join(f"{text},{kind}\n" for kind, text in rows))
    table = [f'{chance.random():.2f},"{HOSTILE}","{chance.choice((HOSTILE, "b"))}"\n' for _ in range(40)]
    (folder / "hostile.csv").write_text(f'n,"{HOSTILE}",target\n' + "".join(table))
    left, right = rng.normal(size=(30, 2, 3)).astype("f4"), rng.integers(0, 9, (30, 4), "i4")
    np.savez(
        folder / "d.npz",
        left_train=left,
        right_train=right,
        kind_train=rng.integers(0, 3, 30),
        size_train=left.sum((1, 2)),
    )
    for kind in ("dark", "light"):
        (folder / "pictures" / kind).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 100, (20, 15, 3), np.uint8) + 150 * (kind == "light")
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "pictures" / kind / f"{number}.png")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("served")
    _write_data(found)
    return found


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The code and message of the first problem; every refusal has one, and no traceback."""
        assert b"Traceback" not in self.body and self.headers["content-type"] == "application/json", self.body[:300]
        first = self.document["problems"][0]
        return f"{first['code']}: {first['message']}"


@dataclass
class Served:
    """A run and its server."""

    stored: Stored
    app: Application
    url: str
    lines: list[str] = field(default_factory=list)

    def ask(self, path: str, body: bytes | None = None, method: str = "", **headers: str) -> Answer:
        """Underscores of header names are hyphens."""
        connection = http.client.HTTPConnection(self.url.split("/")[2], timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if body is None else "POST"), path, body, named)
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def predict(self, body: Any, query: str = "", type: str = "application/json", **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask(f"/predict{query}", data, Content_Type=type, **headers)

    def rows(self, *rows: Any, **more: Any) -> Any:
        """The predictions of such rows."""
        answer = self.predict({"inputs": list(rows), **more})
        assert answer.status == 200, answer.body
        return answer.document["predictions"]


@contextmanager
def serving(stored: Stored, limits: Limits | None = None) -> Iterator[Served]:
    """A server in a thread, until the end of the block."""
    limits = limits or Limits()
    app, lines = Application(Predictor(stored), limits), list[str]()
    listener = server.listening("127.0.0.1", 0)
    listener.listen()
    made = server.made(app.guarded("127.0.0.1", say=lines.append))
    thread = threading.Thread(target=made.run, args=([listener],))
    thread.start()
    try:
        yield Served(stored, app, server.url("127.0.0.1", listener.getsockname()[1]), lines)
    finally:
        made.should_exit = True
        thread.join(20)
        app.worker.close()


@pytest.fixture(scope="session")
def trained(folder: Path) -> Callable[[str], Stored]:
    """A run of one of the specs, trained when it is first asked for."""

    def train(name: str) -> Stored:
        runs = folder / "runs"
        if not list(runs.glob(f"{name}-*")):
            (folder / f"{name}.yaml").write_text(SPECS[name])
            assert main(["train", str(folder / f"{name}.yaml"), "--runs-dir", str(runs), "-q", "--threads", "1"]) == 0
        return Stored(find(name, runs))

    return train


@pytest.fixture(scope="session")
def served(trained: Callable[[str], Stored]) -> Iterator[Callable[[str], Served]]:
    """Its server, with the usual limits; kept for the tests that follow."""
    running: dict[str, tuple[Any, Served]] = {}

    def serve(name: str) -> Served:
        if name not in running:
            context = serving(trained(name))
            running[name] = context, context.__enter__()
        return running[name][1]

    yield serve
    for context, _ in running.values():
        context.__exit__(None, None, None)
