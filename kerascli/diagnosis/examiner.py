"""Looks at a training before it begins, after its epochs, and when its numbers break; tells each finding once a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from kerascli.callbacks.terminate_on_nan import TerminateOnNaN
from kerascli.diagnosis import gradients
from kerascli.diagnosis.curves import Curves, Rows
from kerascli.diagnosis.data import shared, unscaled
from kerascli.diagnosis.finding import Finding
from kerascli.diagnosis.origin import Origin
from kerascli.diagnosis.ranges import misplaced
from kerascli.errors import Failure, Span
from kerascli.model import Model
from kerascli.sources.base import Dataset
from kerascli.trainer import Trainer

NOT_FINITE = "not_finite"
Facts = dict[str, Any]


class Examiner:
    """What was found so far, and who looks further. Nothing of the training changes by it."""

    def __init__(
        self, model: Model, data: Dataset, trainer: Trainer, tell: Callable[[list[Facts], Finding | None], None]
    ) -> None:
        self.model, self.data, self.trainer, self._tell = model, data, trainer, tell
        self.found: list[Facts] = []
        """In the order of their finding: part of the training's state."""
        self._origin = Origin(trainer)
        self._curves = Curves(model, data)

    def before(self) -> None:
        """The samples."""
        model, train = self.model, self.data.train
        self._note(chain(unscaled(model, train), misplaced(model, train), shared(model, self.data)), None)

    def before_steps(self) -> None:
        self._origin.keep()

    def after_step(self) -> None:
        self._origin.after_step()

    def require_finite(self) -> None:
        """Weights may break in a step whose loss is still a number."""
        if self._origin.is_lost():
            self.broken()

    def broken(self) -> None:
        """Training ends where its numbers break, unless a callback ends it in its own way, as Keras's does."""
        if self._is_broken():
            return
        self.trainer.say("the numbers are not finite any more: looking for where that began")
        problem = self._origin.find(self.trainer.iteration)
        where = problem.where
        assert isinstance(where, Span)
        ends = any(isinstance(c, TerminateOnNaN) and not c.raise_error for c in self.model.spec.callbacks)
        if not ends:
            problem = replace(problem, help=f"{problem.help}; `callbacks: [TerminateOnNaN]` would end without an error")
        message = f"{problem.message} ({problem.label})" if problem.label else problem.message
        finding = Finding(NOT_FINITE, message, problem.help, where)
        self._note([finding], self.trainer.epoch, aloud=ends)
        if not ends:
            raise Failure(problem)

    def epoch_end(self, epoch: int, rows: Rows) -> None:
        """The figures so far, and now and then the gradients."""
        if self._is_broken():
            return
        with np.errstate(all="ignore"):  # numbers may be near infinity
            self._note(self._curves.examine(rows), epoch)
            if gradients.is_due(epoch):
                trainer = self.trainer
                self._note(gradients.examine(trainer.runner, self.data.train, trainer.learning_rate), epoch)

    def _is_broken(self) -> bool:
        return any(facts["name"] == NOT_FINITE for facts in self.found)

    def _note(self, findings: Iterable[Finding], epoch: int | None, aloud: bool = True) -> None:
        for finding in findings:
            if finding.name not in {facts["name"] for facts in self.found}:
                self.found.append(finding.facts(epoch))
                self._tell(self.found, finding if aloud else None)
