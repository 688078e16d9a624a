"""ModelCheckpoint."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.callbacks import paths
from kerascli.callbacks.base import Direction, State, TrainingView
from kerascli.callbacks.monitor import _Monitor
from kerascli.component import Example


class ModelCheckpoint(_Monitor):
    """Saves the model, or its weights, after epochs or batches, all or only the best.

    In `filepath`, `{epoch}` counts from 1 and any figure of the logs may stand, as in Keras.
    Departure: with `save_best_only` and a number as `save_freq`, Keras fails before its first epoch ends.
    """

    examples = (
        Example({"filepath": "best.keras", "save_best_only": True}),
        Example({"filepath": "saved/{epoch:02d}-{loss:.3f}.weights.h5", "save_weights_only": True}),
        Example({"filepath": "saved/{epoch}-{batch}.keras", "save_freq": 3}),
        Example({"filepath": "best.keras", "monitor": "loss", "save_best_only": True, "initial_value_threshold": 0.5}),
    )

    writes: ClassVar[str] = "filepath"

    filepath: paths.PathPattern
    """File in the run directory: `.keras` or `.h5`, or `.weights.h5` with `save_weights_only`."""
    verbose: int = Field(0, ge=0)
    """1 says what is saved."""
    save_best_only: bool = False
    """Whether to save only when the figure has improved."""
    save_weights_only: bool = False
    """Whether to save the weights alone."""
    save_freq: Literal["epoch"] | Annotated[int, Field(gt=0)] = "epoch"
    """`epoch`, or a number of batches after which to save."""
    initial_value_threshold: float | None = None
    """The figure that the first save must beat."""

    @model_validator(mode="after")
    def _suffix(self) -> Self:
        wanted = (".weights.h5",) if self.save_weights_only else (".keras", ".h5")
        if not self.filepath.endswith(wanted):
            raise PydanticCustomError(
                "checkpoint_suffix",
                "`filepath` must end in {wanted}",
                {"wanted": " or ".join(f"`{w}`" for w in wanted)},
            )
        return self

    @property
    def every_batch(self) -> bool:
        return self.save_freq != "epoch"

    def problem(self, directions: Mapping[str, Direction | None], scheduled: bool) -> tuple[str, str] | None:
        known = {"epoch", "learning_rate", *directions}
        known |= {"batch"} if self.every_batch else {f"val_{name}" for name in directions}
        for name in sorted(paths.names(self.filepath) - known):
            return f"`filepath` asks for `{name}`, which the logs lack then", f"known are {', '.join(sorted(known))}"
        return super().problem(directions, scheduled) if self.save_best_only else None

    def begin(self, view: TrainingView) -> State:
        direction = self._direction(view.directions)
        watched = super().begin(view) if self.save_best_only else {"direction": direction, "warned": False}
        return {**watched, "best": self.initial_value_threshold, "batches": 0, "last_batch": None}

    def batch_end(self, state: State, epoch: int, batch: int, logs: Mapping[str, float], view: TrainingView) -> None:
        if self.save_freq == "epoch":
            return
        last = state["last_batch"]
        state["batches"] += batch + 1 if last is None or batch <= last else batch - last
        state["last_batch"] = batch
        if state["batches"] >= self.save_freq:
            state["batches"] = 0
            self._save(state, epoch, {"batch": batch + 1, **logs}, view)

    def epoch_end(self, state: State, epoch: int, logs: dict[str, float], view: TrainingView) -> None:
        if self.save_freq == "epoch":
            self._save(state, epoch, logs, view)

    def _save(self, state: State, epoch: int, logs: Mapping[str, float], view: TrainingView) -> None:
        name = paths.fill(self.filepath, {"epoch": epoch + 1, **logs})
        if self.save_best_only and not self._best(state, epoch, logs, view):
            return
        path = paths.place(view.run_dir, name)
        if self.save_weights_only:
            view.save_weights(path)
        else:
            view.save_model(path)
        if self.verbose:
            view.say(f"Epoch {epoch + 1}: saved {name}")

    def _best(self, state: State, epoch: int, logs: Mapping[str, float], view: TrainingView) -> bool:
        current, best = self._current(state, logs, view), state["best"]
        if current is None:
            return True
        better = self._better(state, current, best)
        if better:
            state["best"] = current
        if self.verbose:
            before = "none" if best is None else f"{float(best):.5f}"
            view.say(f"Epoch {epoch + 1}: {self.monitor} {'improved' if better else 'did not improve'} from {before}")
        return better
