"""Events of a training as JSON lines, for programs that watch: one object a line, written whole and at once.

Every event has `version` (1), `event`, and `time` (ISO 8601, with the zone). Epochs and steps count from 0, as in
`history.csv`; numbers that are not finite are the strings `nan`, `inf`, `-inf`. Keys are only ever added.

    run_started       run, name, resumed, epochs, parameters, samples {split: number}
    epoch_started     epoch, epochs, steps, samples
    epoch_ended       epoch, logs {name: number}, learning_rate, seconds, best (whether it is the best so far)
    checkpoint_saved  epoch, step, iteration (where training stands), folder
    message           text
    diagnosis         name, epoch (null: before training), message, help, file, line, column
    evaluation        split, logs
    run_ended         run, status (completed, interrupted or failed); completed: epochs, seconds, best_epoch,
                      data_wait {seconds, share: of the steps' time that they waited for samples to be read},
                      expected (whether all bounds of `expect:` are met); failed: problems [{code, message}]
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from kerascli import files
from kerascli.errors import Failure, Problem
from kerascli.runner import Averages, Logs
from kerascli.trainer import Progress

VERSION = 1
START = b'{"version": '
"""Every file of events begins so; no other file is overwritten."""


class Events:
    """Writes events to a file, and passes progress on to who else watches."""

    def __init__(self, inner: Progress, path: Path, resumed: bool) -> None:
        self._inner, self._path = inner, path
        self._file: IO[bytes] | None = _opened(path, resumed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None:
        self._inner.epoch_begin(epoch, epochs, steps, samples)
        self._write("epoch_started", {"epoch": epoch, "epochs": epochs, "steps": steps, "samples": samples})

    def batch_end(self, step: int, averages: Averages) -> None:
        self._inner.batch_end(step, averages)

    def epoch_end(self, epoch: int, logs: Logs, rate: float, seconds: float, best: bool) -> str | None:
        answer = self._inner.epoch_end(epoch, logs, rate, seconds, best)
        figures = {"epoch": epoch, "logs": logs, "learning_rate": rate, "seconds": round(seconds, 3), "best": best}
        self._write("epoch_ended", figures)
        return answer

    def say(self, text: str) -> None:
        self._inner.say(text)
        self._write("message", {"text": text})

    def happened(self, what: str, facts: Mapping[str, Any]) -> None:
        self._inner.happened(what, facts)
        self._write(what, facts)

    def _write(self, event: str, facts: Mapping[str, Any]) -> None:
        """One line, by one call. Who watches may go away, or the disk be full: training is not ended for that."""
        if self._file is None:
            return
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        line = {"version": VERSION, "event": event, "time": now, **facts}
        try:
            self._file.write(json.dumps(files.finite(line), ensure_ascii=False, allow_nan=False).encode() + b"\n")
        except OSError as error:
            self._file.close()
            self._file = None
            self._inner.say(f"warning: no more events are written to `{self._path}`: {error.strerror or error}")


def _opened(path: Path, resumed: bool) -> IO[bytes]:
    """The file, empty, or to be gone on with; a Problem where it cannot be written, or is none of events."""
    try:
        if path.is_file() and path.stat().st_size:
            with path.open("rb+") as file:
                if file.read(len(START)) != START:
                    message = f"`{path}` is there already, and is no file of events"
                    raise Failure(Problem("E501", message, path, help="give another name to `--events`"), exit_code=2)
                file.seek(-1, os.SEEK_END)
                if resumed and file.read(1) != b"\n":
                    file.write(b"\n")  # the process before was killed within a line
        return path.open("ab" if resumed else "wb", buffering=0)
    except OSError as error:
        raise files.cannot_write(path, error) from error
