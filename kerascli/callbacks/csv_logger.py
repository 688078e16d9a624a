"""CSVLogger."""

import csv
import io
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from kerascli import files
from kerascli.callbacks import paths
from kerascli.callbacks.base import Callback, State, TrainingView
from kerascli.component import Example


class CSVLogger(Callback):
    """Writes the logs of each epoch to a CSV file, as Keras's: epochs from 0, names sorted, `NA` for what is missing.

    The state knows how long the file is, so that a resumed run overwrites rows written after its checkpoint.
    """

    examples = (Example({"filename": "log.csv"}), Example({"filename": "log.tsv", "separator": ";", "append": True}))

    writes: ClassVar[str] = "filename"

    filename: paths.InsidePath
    """File in the run directory."""
    separator: str = Field(",", min_length=1, max_length=1, pattern=r'[^\r\n"]')
    """Character between the fields."""
    append: bool = False
    """Whether to go on with a file that is there already."""

    def begin(self, view: TrainingView) -> State:
        path = paths.place(view.run_dir, self.filename)
        size = path.stat().st_size if self.append and path.exists() else 0
        _write(path, size, b"")
        return {"names": None, "size": size, "header": size == 0}

    def epoch_end(self, state: State, epoch: int, logs: dict[str, float], view: TrainingView) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self.separator)
        names: list[str] = state["names"] or _columns(logs)
        if state["names"] is None and state["header"]:
            writer.writerow(("epoch", *names))
        state["names"] = names
        writer.writerow((epoch, *(logs.get(name, "NA") for name in names)))
        path, data = paths.place(view.run_dir, self.filename), text.getvalue().encode()
        state["size"] = _write(path, state["size"], data)


def _columns(logs: dict[str, float]) -> list[str]:
    """Sorted names; without any of a validation, those of one are kept free, because it may come in a later epoch."""
    found = sorted(logs)
    return found if any(n.startswith("val_") for n in found) else [*found, *(f"val_{n}" for n in found)]


def _write(path: Path, size: int, data: bytes) -> int:
    """Put `data` after the first `size` bytes, in place of what follows them; the new size."""
    with files.writing(path):
        kept = path.read_bytes()[:size] if size else b""
    files.write_bytes(path, kept + data)
    return len(kept) + len(data)
