"""TensorBoard."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from kerascli import files
from kerascli.callbacks import paths
from kerascli.callbacks.base import Callback, State, TrainingView
from kerascli.component import Example
from kerascli.ops.ir import Array

BUCKETS = 30
"""Of a histogram, as many as TensorFlow's summaries have."""


class TensorBoard(Callback):
    """Writes figures, histograms and the model to event files, which `tensorboard --logdir` shows.

    Needs `pip install "kerascli[tensorboard]"`, not TensorFlow. As Keras: figures of training go to `train/`, those of
    validation to `validation/`, by epoch as `epoch_loss`, by batch as `batch_loss`, the evaluations also by step.
    Departures: neither images of weights, nor embeddings, nor profiles; a resumed run goes on with its files.
    """

    requires: ClassVar[str] = "tensorboard"
    writes: ClassVar[str] = "log_dir"
    examples = (
        Example(),
        Example({"log_dir": "board", "histogram_freq": 1, "update_freq": "batch", "write_graph": False}),
        Example({"update_freq": 10, "write_steps_per_second": True}),
    )

    log_dir: paths.InsidePath = "logs"
    """Folder in the run directory."""
    histogram_freq: int = Field(0, ge=0)
    """Number of epochs after which the weights' histograms are written; 0 is never."""
    write_graph: bool = True
    """Whether the model is written, layer by layer, as Keras describes it; the operations of a step are not."""
    write_images: bool = False
    """Only `false`: weights are not written as images."""
    write_steps_per_second: bool = False
    """Whether the speed is written too."""
    update_freq: Literal["epoch", "batch"] | Annotated[int, Field(gt=0)] = "epoch"
    """`epoch`, `batch`, or the number of batches after which figures are written beside those of each epoch."""
    profile_batch: int = 0
    """Only 0: nothing is profiled; `kerascli bench` and `kerascli plan` show what takes time."""
    embeddings_freq: int = 0
    """Only 0: embeddings are not written."""
    embeddings_metadata: str | None = None
    """Only null, for embeddings are not written."""

    @field_validator("write_images", "profile_batch", "embeddings_freq", "embeddings_metadata")
    @classmethod
    def _left_out(cls, value: object) -> object:
        if value:
            raise PydanticCustomError("tensorboard_left_out", "is not written by kerascli: leave it out")
        return value

    @property
    def every_batch(self) -> bool:
        return self.update_freq != "epoch" or self.write_steps_per_second

    def begin(self, view: TrainingView) -> State:
        state: State = {"files": {}, "epoch": None, "batch": None}
        described = view.run_dir / "model.json"  # every run has it before training
        if self.write_graph and described.is_file():
            self._write(state, "train", 0, {"keras": _model(described.read_text("utf-8"))}, view)
        return state

    def epoch_begin(self, state: State, epoch: int, view: TrainingView) -> None:
        state["epoch"] = state["batch"] = [view.iteration, time.time()]

    def batch_end(self, state: State, epoch: int, batch: int, logs: Mapping[str, float], view: TrainingView) -> None:
        figures = {f"batch_{name}": value for name, value in logs.items()}
        if self.write_steps_per_second:
            figures = {"batch_steps_per_second": _speed(state["batch"], view), **figures}
            state["batch"] = [view.iteration, time.time()]
        every = {"epoch": 0, "batch": 1}.get(str(self.update_freq), self.update_freq)
        if every and view.iteration % int(every) == 0:
            self._write(state, "train", view.iteration, _scalars(figures), view)

    def epoch_end(self, state: State, epoch: int, logs: dict[str, float], view: TrainingView) -> None:
        held = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        own = {name: value for name, value in logs.items() if not name.startswith("val_")}
        own["learning_rate"] = view.learning_rate
        if self.write_steps_per_second:
            own["steps_per_second"] = _speed(state["epoch"], view)
        summaries = _scalars({f"epoch_{name}": value for name, value in own.items()})
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            summaries |= {f"{path}/histogram": _histogram(array) for path, array in view.get_weights().items()}
        self._write(state, "train", epoch, summaries, view)
        if held:
            by_step = {f"evaluation_{name}_vs_iterations": value for name, value in held.items()}
            self._write(state, "validation", view.iteration, _scalars(by_step), view)
            by_epoch = {f"epoch_{name}": value for name, value in held.items()}
            self._write(state, "validation", epoch, _scalars(by_epoch), view)

    def _write(self, state: State, part: str, step: int, summaries: Mapping[str, Any], view: TrainingView) -> None:
        """Append one event. The state knows how long each file is, so that a resumed run goes on from its checkpoint.

        `summaries` are by tag: the plugin that shows it, that plugin's data, and the array.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.util.tensor_util import make_tensor_proto

        name, size = state["files"].get(part) or (f"events.out.tfevents.{time.time():.0f}.kerascli", 0)
        values = []
        for tag, (plugin, content, array) in summaries.items():
            data = SummaryMetadata.PluginData(plugin_name=plugin, content=content)
            metadata = SummaryMetadata(plugin_data=data)
            values.append(Summary.Value(tag=tag, metadata=metadata, tensor=make_tensor_proto(array)))
        first = [] if size else [Event(wall_time=time.time(), file_version="brain.Event:2")]
        events = [*first, Event(wall_time=time.time(), step=step, summary=Summary(value=values))]
        path = paths.place(view.run_dir, f"{self.log_dir}/{part}/{name}")
        try:
            state["files"][part] = [name, _append(path, size, [event.SerializeToString() for event in events])]
        except OSError as error:
            raise files.cannot_write(path, error) from error


def _append(path: Path, size: int, records: list[bytes]) -> int:
    """Put records after the first `size` bytes, in place of what follows them; the new size."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(size)
        file.seek(size)
        writer = RecordWriter(file)
        for record in records:
            writer.write(record)
        return file.tell()


def _scalars(figures: Mapping[str, float]) -> dict[str, Any]:
    return {tag: ("scalars", b"", np.float32(value)) for tag, value in figures.items()}


def _model(text: str) -> tuple[str, bytes, bytes]:
    """The model as Keras describes it, which the board's graph page draws."""
    return "graph_keras_model", b"1", text.encode()


def _histogram(values: Array) -> tuple[str, bytes, Array]:
    """(buckets, 3): left end, right end, count. Where all values are one, all ends are that one."""
    numbers = values.astype(np.float64).reshape(-1)
    numbers = numbers[np.isfinite(numbers)]
    low, high = (numbers.min(), numbers.max()) if numbers.size else (0.0, 0.0)
    if low == high:
        ends, counts = np.full(BUCKETS + 1, low), np.zeros(BUCKETS)
        counts[-1] = numbers.size
    else:
        counts, ends = np.histogram(numbers, BUCKETS, (low, high))
    return "histograms", b"", np.stack([ends[:-1], ends[1:], counts], axis=1)


def _speed(since: list[float], view: TrainingView) -> float:
    """Steps a second since then."""
    steps, began = since
    return float((view.iteration - steps) / max(time.time() - began, 1e-9))
