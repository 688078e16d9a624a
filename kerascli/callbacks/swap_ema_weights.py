"""SwapEMAWeights."""

from typing import ClassVar

from kerascli.callbacks.base import Callback, State, TrainingView
from kerascli.component import Example


class SwapEMAWeights(Callback):
    """Validates with the moving average of the weights in their place, and puts them back for training.

    Needs an optimizer with `use_ema: true`, whose average becomes the weights at the end of training anyhow.
    Departure: a training that ends before its last epoch keeps the average too; with `swap_on_epoch` Keras then keeps
    the weights that it was to replace.
    """

    needs_average: ClassVar[bool] = True
    examples = (Example(), Example({"swap_on_epoch": True}))

    swap_on_epoch: bool = False
    """Whether the average stays in place from the end of an epoch to the next one's start, so that callbacks that
    follow, such as ModelCheckpoint, save it."""

    def epoch_begin(self, state: State, epoch: int, view: TrainingView) -> None:
        if self.swap_on_epoch:
            view.use_average(False)

    def test_begin(self, state: State, view: TrainingView) -> None:
        view.use_average(True)

    def test_end(self, state: State, view: TrainingView) -> None:
        view.use_average(False)

    def epoch_end(self, state: State, epoch: int, logs: dict[str, float], view: TrainingView) -> None:
        if self.swap_on_epoch:
            view.use_average(True)
