"""RNN."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from kerascli.component import Example
from kerascli.layers.rnn_base import _Sequence
from kerascli.layers.rnn_cells import Cell, StackedRNNCells, _Cell
from kerascli.ops.ir import Shape


def _stacked(value: Any) -> Any:
    return StackedRNNCells.model_validate({"cells": value}) if isinstance(value, list) else value


CellOrCells = Annotated[Cell, BeforeValidator(_stacked, json_schema_input_type=Cell | list[Cell])]


class RNN(_Sequence):
    """A recurrent layer made of a cell, or of several that work one after the other within each step.

    Shapes: (T, E) → (units,) of the last cell, or (T, units) with `return_sequences`. The initial and last states are
    those of all cells, in their order. The standard cells are as fast as the layers of the same names.
    """

    cell: CellOrCells
    """The cell: SimpleRNNCell, LSTMCell, GRUCell or StackedRNNCells, which a list of cells is short for."""

    examples = (
        Example({"cell": {"type": "LSTMCell", "units": 3}}, ((4, 2),)),
        Example({"cell": {"type": "GRUCell", "units": 3}, "return_sequences": True, "go_backwards": True}, ((4, 2),)),
        Example({"cell": {"type": "SimpleRNNCell", "units": 3, "activation": "sigmoid"}}, ((4, 2),)),
        Example(
            {"cell": [{"type": "LSTMCell", "units": 3}, {"type": "LSTMCell", "units": 2}], "return_sequences": True},
            ((4, 2),),
        ),
        Example({"cell": [{"type": "LSTMCell", "units": 3}, {"type": "GRUCell", "units": 2}]}, ((4, 2),)),
    )

    def named_cells(self) -> dict[str, _Cell]:
        if isinstance(self.cell, StackedRNNCells):
            return self.cell.named()
        assert isinstance(self.cell, _Cell)
        return {"": self.cell}

    def group(self, name: str) -> str:
        return f"cell/cells/{name}" if name else "cell"

    def wrapped_shapes(self, *shapes: Shape) -> tuple[Shape, ...]:
        return (shapes[0][1:],)
