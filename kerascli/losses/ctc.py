"""Connectionist temporal classification: sequences of labels that nobody aligned with the steps of the output."""

from kerascli.component import Example
from kerascli.losses.base import Fault, Loss
from kerascli.ops.ctc import ctc
from kerascli.ops.ir import Shape, Value


class CTC(Loss):
    """-log of the probability that the output spells the labels, whatever the steps at which it does so.

    Shapes: outputs (T, C) are logits, without softmax; targets (L,) are class numbers from 1, filled up with 0. Class 0
    is the blank. A mask of the output is not heeded: Keras fails on one. Source: Graves et al., 2006.
    """

    targets = "integer"
    examples = (Example(inputs=((6, 4), (3,))), Example({"reduction": "sum"}, inputs=((9, 5), (4,))))

    def values(self, y_true: Value, y_pred: Value) -> Value:
        return ctc(y_true, y_pred)

    def doubt(self, last_activation: str | None) -> Fault | None:
        if last_activation not in ("softmax", "sigmoid", "log_softmax"):
            return None
        return (
            f"{self.label} wants logits, and the last layer's {last_activation} makes probabilities",
            f"leave out the {last_activation}",
        )

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        if len(pred_shape) != 2:
            return (
                f"{self.label} wants outputs (steps, classes), and they have shape {pred_shape}",
                "end with a layer that keeps the steps, such as an RNN with `return_sequences: true` and Dense",
            )
        if len(y_shape) != 1:
            return (
                f"{self.label} wants targets (length,) of class numbers, and they have shape {y_shape}",
                "store each sample's labels as one row of whole numbers from 1, filled up with 0",
            )
        if classes and classes > pred_shape[-1]:
            return (
                f"{self.label}: the labels go up to {classes - 1}, and there are {pred_shape[-1]} outputs a step",
                f"give the last layer {classes} units: one for the blank, 0, and one for each label",
            )
        return None
