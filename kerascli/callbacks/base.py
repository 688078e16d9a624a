"""What a callback is: frozen configuration, plain-data state, and what of the training it may see and touch."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, Protocol

from kerascli.component import Component
from kerascli.ops.ir import Array

State = dict[str, Any]
"""JSON values, and dictionaries of arrays; saved with the run, so that patience survives a resume."""
Direction = Literal["up", "down"]


class TrainingView(Protocol):
    """What the trainer shows to callbacks."""

    learning_rate: float
    """The rate of the next batch, as the float32 number that Keras would keep; settable where it is not scheduled."""

    iteration: int
    """Steps of the whole training that are done."""

    @property
    def run_dir(self) -> Path:
        """The run directory; paths of callbacks are relative to it."""

    @property
    def directions(self) -> Mapping[str, Direction | None]:
        """Names of the logs without `val_`, and which way each is better."""

    def stop(self, reason: str) -> None:
        """End training after this epoch, or after this batch when called by `batch_end`."""

    def get_weights(self) -> dict[str, Array]:
        """A copy of all weights by path."""

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Put such a copy back."""

    def use_average(self, wanted: bool) -> None:
        """Let the optimizer's moving average and the weights change places, unless they stand so already."""

    def save_model(self, path: Path) -> None:
        """Write the whole model, in the format of the path's suffix."""

    def save_weights(self, path: Path) -> None:
        """Write the weights as a Keras weights file."""

    def say(self, text: str) -> None:
        """Show a line to the user, and keep it in the log."""


class Callback(Component):
    """Something that happens between the epochs or batches of a training."""

    family = "callback"
    requires: ClassVar[str] = ""
    """An optional package that it needs: the name of the package and of kerascli's extra."""
    needs_average: ClassVar[bool] = False
    """Whether it works with the optimizer's moving average of the weights."""
    writes: ClassVar[str] = ""
    """The field that names the file or folder in the run directory which it writes to."""

    @property
    def every_batch(self) -> bool:
        """Whether `batch_end` does anything; if not, nobody needs to compute the logs of a batch."""
        return False

    def problem(self, directions: Mapping[str, Direction | None], scheduled: bool) -> tuple[str, str] | None:
        """Why it cannot work in a training with such logs, and the mend; `scheduled`: so is the learning rate."""
        return None

    def conflict(self, earlier: "Callback") -> tuple[str, str] | None:
        """Why it cannot work beside one that the spec has before it, and the mend."""
        if not (self.writes and earlier.writes):
            return None
        own, other = (PurePosixPath(getattr(c, c.writes)) for c in (self, earlier))
        message = f"it writes to `{own}`, and so does the {type(earlier).__name__} before it"
        return (message, f"give it another `{self.writes}`") if own == other else None

    def overruled(self, other: "Callback") -> tuple[str, str] | None:
        """Why one of the two is of no avail, though both can work, and the mend; `other` comes first if that counts."""
        return None

    def begin(self, view: TrainingView) -> State:
        """Its state at the start of training; not called when a run resumes."""
        return {}

    def epoch_begin(self, state: State, epoch: int, view: TrainingView) -> None:
        """Before an epoch, counted from 0."""

    def batch_end(self, state: State, epoch: int, batch: int, logs: Mapping[str, float], view: TrainingView) -> None:
        """After a batch, counted from 0 in its epoch; `logs` are the epoch's means so far."""

    def test_begin(self, state: State, view: TrainingView) -> None:
        """Before a validation; again, where one was interrupted."""

    def test_end(self, state: State, view: TrainingView) -> None:
        """After a validation, before `epoch_end`."""

    def epoch_end(self, state: State, epoch: int, logs: dict[str, float], view: TrainingView) -> None:
        """After an epoch and its validation. What it adds to `logs` the callbacks after it see, as in Keras."""

    def train_end(self, state: State, view: TrainingView) -> None:
        """After the last epoch, unless training failed or was interrupted."""

    def ended(self, state: State, status: str, view: TrainingView) -> None:
        """After all else: the run is `completed` and its files are written, or it was `interrupted`, or `failed`."""
