"""EarlyStopping."""

from pydantic import Field

from kerascli.callbacks.base import Callback, State, TrainingView
from kerascli.callbacks.monitor import _Monitor
from kerascli.component import Example


class EarlyStopping(_Monitor):
    """Ends training when a figure has stopped improving.

    The first figure is always an improvement, and the first epoch never ends training, as in Keras. The best weights
    come back at the end of training, whatever ended it but a failure.
    """

    examples = (
        Example({"patience": 2}),
        Example({"monitor": "accuracy", "mode": "max", "min_delta": 0.01, "restore_best_weights": True}),
        Example({"monitor": "loss", "patience": 1, "baseline": 0.5, "start_from_epoch": 2}),
    )

    min_delta: float = 0.0
    """How much better counts as an improvement; the sign does not matter."""
    patience: int = Field(0, ge=0)
    """Epochs without improvement after which training ends."""
    verbose: int = Field(0, ge=0)
    """1 says when training was ended."""
    baseline: float | None = None
    """A figure that must be beaten, too, for the patience to start anew."""
    restore_best_weights: bool = False
    """Whether the weights of the best epoch come back at the end."""
    start_from_epoch: int = Field(0, ge=0)
    """Epochs at the start that are not looked at."""

    def overruled(self, other: Callback) -> tuple[str, str] | None:
        if isinstance(other, EarlyStopping) and self.restore_best_weights and other.restore_best_weights:
            message = f"it puts its best weights in place of those that the one for `{other.monitor}` puts back"
            return message, "leave `restore_best_weights` out of one of the two"
        return None

    def begin(self, view: TrainingView) -> State:
        return {**super().begin(view), "wait": 0, "stopped_epoch": 0, "best_epoch": 0, "best_weights": None}

    def epoch_end(self, state: State, epoch: int, logs: dict[str, float], view: TrainingView) -> None:
        current = self._current(state, logs, view)
        if current is None or epoch < self.start_from_epoch:
            return
        state["wait"] += 1
        if self._better(state, current, state["best"], self.min_delta):
            state.update(best=current, best_epoch=epoch)
            if self.restore_best_weights:
                state["best_weights"] = view.get_weights()
            if self.baseline is None or self._better(state, current, self.baseline, self.min_delta):
                state["wait"] = 0
        elif state["wait"] >= self.patience and epoch > 0:
            state["stopped_epoch"] = epoch
            view.stop(f"`{self.monitor}` has not improved for {state['wait']} epochs")

    def train_end(self, state: State, view: TrainingView) -> None:
        if state["stopped_epoch"] > 0 and self.verbose:
            view.say(f"Epoch {state['stopped_epoch'] + 1}: early stopping")
        if state["best_weights"] is not None:
            if self.verbose:
                view.say(f"weights of the best epoch, {state['best_epoch'] + 1}, are back")
            view.set_weights(state["best_weights"])
