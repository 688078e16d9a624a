"""The program run as a user runs it: in a process of its own, or in this one where only the words matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kerascli.cli.main import main

PROGRAM = "import sys; from kerascli.cli.main import main; sys.exit(main())"
SMALL = """
seed: 3
dataset: {type: digits, limit: 200, validation_split: 0.2, test_split: 0.2}
layers: [{type: Rescaling, scale: 0.0625}, Flatten, {type: Dense, units: 16, activation: relu},
  {type: Dense, units: 10, activation: softmax}]
loss: sparse_categorical_crossentropy
metrics: [accuracy]
training: {epochs: 2, batch_size: 32}
"""


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def start(*words: object, folder: Path, **variables: str) -> subprocess.Popen[str]:
    """The program as a process of its own, with pipes."""
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    environment = {**clean, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **variables}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words: object, folder: Path, input: str = "", **variables: str) -> Answer:
    """The same, to its end."""
    process = start(*words, folder=folder, **variables)
    out, err = process.communicate(input, timeout=120)
    return Answer(process.returncode, out, err)


class Shell:
    """Runs commands in this process, from a folder: quicker, with the same words and the same exit codes."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture

    def __call__(self, *words: object) -> Answer:
        self._capture.readouterr()
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            code = main([str(word) for word in words])
        finally:
            os.chdir(before)
        out, err = self._capture.readouterr()
        return Answer(code, out, err)

    def write(self, text: str, name: str = "spec.yaml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path
