"""TerminateOnNaN."""

import math
from collections.abc import Mapping

from kerascli.callbacks.base import Callback, State, TrainingView
from kerascli.component import Example
from kerascli.errors import Failure, Problem


class TerminateOnNaN(Callback):
    """Ends training at once when the loss is not a finite number."""

    examples = (Example(), Example({"raise_error": True}))

    raise_error: bool = False
    """Whether the run then counts as failed, rather than as ended early."""

    @property
    def every_batch(self) -> bool:
        return True

    def batch_end(self, state: State, epoch: int, batch: int, logs: Mapping[str, float], view: TrainingView) -> None:
        loss = logs.get("loss")
        if loss is None or math.isfinite(loss):
            return
        message = f"the loss is {loss} in batch {batch + 1} of epoch {epoch + 1}"
        if self.raise_error:
            raise Failure(Problem("E511", message, help="try a lower learning rate, or `clipnorm`"))
        view.say(f"{message}: training ends")
        view.stop(message)
