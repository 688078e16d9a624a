"""BackupAndRestore."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kerascli.callbacks import paths
from kerascli.callbacks.base import Callback
from kerascli.component import Example


class BackupAndRestore(Callback):
    """Says where and how often a run keeps its checkpoints, which `kerascli train --resume RUN` goes on from.

    Every run keeps checkpoints without it: in `checkpoints/`, at the end of epochs and every minute of a long one, the
    last two of them. This callback is for those who want it otherwise, in Keras's words.
    Departures: training goes on only where `--resume` asks for it, and then exactly: Keras forgets what its callbacks
    and random numbers had come to, and begins a broken epoch anew. `save_freq: false` saves when training is
    interrupted, and only then; Keras 3.15 saves after every batch.
    """

    examples = (
        Example({"backup_dir": "backup"}),
        Example({"backup_dir": "backup", "save_freq": 2, "double_checkpoint": True, "delete_checkpoint": False}),
        Example({"backup_dir": "deep/er", "save_freq": False}),
    )

    writes: ClassVar[str] = "backup_dir"

    backup_dir: paths.InsidePath
    """Folder in the run directory that the checkpoints go to."""
    save_freq: Literal["epoch", False] | Annotated[int, Field(gt=0)] = "epoch"
    """`epoch`, or a number of batches after which to save, or `false`: only when training is interrupted."""
    double_checkpoint: bool = False
    """Whether the last two checkpoints stay, so that a damaged one costs no more than the time between them."""
    delete_checkpoint: bool = True
    """Whether they go when training is completed; the run can then not be extended by more epochs."""

    def conflict(self, earlier: Callback) -> tuple[str, str] | None:
        if isinstance(earlier, BackupAndRestore):
            return "a run keeps its checkpoints in one place, and another has said where", "leave one of the two out"
        return super().conflict(earlier)
