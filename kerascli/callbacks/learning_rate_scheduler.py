"""LearningRateScheduler."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from kerascli.callbacks.base import Callback, Direction, State, TrainingView
from kerascli.component import Example
from kerascli.schedules import RateSchema, Schedule

SCHEDULED = ("the optimizer's learning rate follows a schedule, so nothing else can set it", "give it a number instead")

Steps = tuple[tuple[int, float], ...]


class _ScheduleSchema:
    """A Schedule, or `[epoch, rate]` pairs, looked up by hand to keep an error's path that of the YAML."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        pair = {"type": "array", "prefixItems": [{"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0}]}
        steps = {"type": "array", "minItems": 1, "items": {**pair, "minItems": 2, "maxItems": 2}}
        return {"anyOf": [{"family": Schedule.family}, steps]}

    @classmethod
    def parse(cls, value: Any) -> Schedule | Steps:
        if not isinstance(value, (list, tuple)):
            return Schedule.parse(value)
        steps = tuple(cls._step(pair) for pair in value)
        if not steps or any(a[0] >= b[0] for a, b in pairwise(steps)):
            raise PydanticCustomError("schedule_steps", "needs `[epoch, rate]` pairs with rising epochs")
        return steps

    @staticmethod
    def _step(pair: Any) -> tuple[int, float]:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or type(pair[0]) is not int or pair[0] < 0:
            raise PydanticCustomError("schedule_step", "each step must be `[epoch, rate]`, with an epoch of 0 or more")
        rate = RateSchema.parse(pair[1])
        if isinstance(rate, Schedule):
            raise PydanticCustomError("schedule_step", "the rate of a step must be a number")
        return pair[0], rate


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    Keras takes a Python function here; a schedule component is asked for the epoch's number, and a list of
    `[epoch, rate]` steps sets each rate from its epoch on.
    """

    examples = (
        Example({"schedule": [[2, 0.01], [4, 0.001]]}),
        Example(
            {
                "schedule": {
                    "type": "ExponentialDecay",
                    "initial_learning_rate": 0.1,
                    "decay_steps": 2,
                    "decay_rate": 0.5,
                }
            }
        ),
    )

    schedule: Annotated[Schedule | Steps, _ScheduleSchema]
    """A schedule by the epoch, or a list of `[epoch, rate]` steps."""
    verbose: int = Field(0, ge=0)
    """1 says the rate of each epoch."""

    def problem(self, directions: Mapping[str, Direction | None], scheduled: bool) -> tuple[str, str] | None:
        return SCHEDULED if scheduled else None

    def overruled(self, other: Callback) -> tuple[str, str] | None:
        if isinstance(other, LearningRateScheduler):
            return "it sets the rate of each epoch after another has, which changes nothing then", "leave one out"
        return None

    def epoch_begin(self, state: State, epoch: int, view: TrainingView) -> None:
        if isinstance(self.schedule, Schedule):
            view.learning_rate = self.schedule.rate(epoch)
        else:
            view.learning_rate = next((r for at, r in reversed(self.schedule) if at <= epoch), view.learning_rate)
        if self.verbose:
            view.say(f"Epoch {epoch + 1}: learning rate is {view.learning_rate:g}")

    def epoch_end(self, state: State, epoch: int, logs: dict[str, float], view: TrainingView) -> None:
        logs["learning_rate"] = view.learning_rate
