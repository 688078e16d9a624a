"""Circle loss: embeddings of one class near each other, those of different classes apart."""

from pydantic import Field

from kerascli.component import Example
from kerascli.losses.base import Fault, Loss
from kerascli.ops import elementwise
from kerascli.ops.circle import circle
from kerascli.ops.ir import Shape, Value
from kerascli.ops.shape import reshape


class Circle(Loss):
    """softplus(log Σ exp of the pairs of one class + log Σ exp of the others), for each sample with all of its batch.

    The pairs' terms are γ·max(e + m, 0)·(e - m), where e is the cosine distance of a pair of one class, and 1 less it
    of another. Shapes: embeddings (D,) of unit length, as UnitNormalization makes them; class numbers. Samples without
    a loss, such as those alone in their class, do not count in the mean, as in Keras. Source: Sun et al., 2020.
    """

    targets = "integer"
    examples = (
        Example(inputs=((4,), ())),
        Example({"gamma": 4.0, "margin": 0.2, "remove_diagonal": False}, inputs=((5,), (1,))),
    )

    gamma: float = Field(80.0, gt=0)
    """How much the worst pairs count."""
    margin: float = 0.4
    """How far apart classes shall be, and how near the samples of one: m above."""
    remove_diagonal: bool = True
    """Whether a sample makes no pair with itself."""

    def values(self, y_true: Value, y_pred: Value) -> Value:
        return circle(reshape(y_true, ()), y_pred, self.gamma, self.margin, self.remove_diagonal)

    def numbered(self, pred_shape: Shape) -> int | None:
        return None

    def counted(self, y_true: Value, values: Value) -> Value | None:
        return elementwise.greater(values, 0.0)

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        if len(pred_shape) != 1:
            return (
                f"{self.label} wants one embedding a sample, and outputs have shape {pred_shape}",
                "end with Flatten, Dense and UnitNormalization",
            )
        if y_shape not in ((), (1,)):
            return (
                f"{self.label} wants one class number a sample, and targets have shape {y_shape}",
                "use `target_encoding: integer`",
            )
        return None
