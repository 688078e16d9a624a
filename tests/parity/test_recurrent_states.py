"""Last states, initial states, cells and wrapped cells against live Keras: outputs and all gradients."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.test_recurrent import STATES, UNITS, compare

keras = pytest.importorskip("keras")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RETURNED: list[tuple[dict[str, Any], bool]] = [
    ({}, False),
    ({"return_sequences": True}, False),
    ({"go_backwards": True}, True),
    ({"return_sequences": True, "go_backwards": True, "zero_output_for_mask": True}, True),
    ({"zero_output_for_mask": True}, True),
    ({"unroll": True, "zero_output_for_mask": True, "return_sequences": True}, True),
    ({"activation": "softsign", "return_sequences": True}, True),
]


@pytest.mark.parametrize(("config", "masked"), RETURNED)
@pytest.mark.parametrize("kind", STATES)
def test_the_last_states_are_those_of_keras(kind: str, config: dict[str, Any], masked: bool) -> None:
    config = {"units": UNITS, "return_state": True, **config}
    compare({"type": kind, **config}, getattr(keras.layers, kind)(**config), 0, masked)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("kind", STATES)
def test_states_go_in_and_out(kind: str, sequences: bool) -> None:
    config = {"units": UNITS, "return_state": True, "return_sequences": sequences}
    compare({"type": kind, **config}, getattr(keras.layers, kind)(**config), STATES[kind], False)


@pytest.mark.parametrize(
    ("config", "merge_mode", "masked"),
    [
        ({}, "concat", True),
        ({"return_sequences": True}, "sum", True),
        ({"return_sequences": True}, None, False),
        ({"go_backwards": False, "return_sequences": True, "unroll": True}, "concat", True),
    ],
)
def test_bidirectional_gives_the_last_states_of_both(config: dict[str, Any], merge_mode: Any, masked: bool) -> None:
    inner = {"units": UNITS, "return_state": True, **config}
    reference = keras.layers.Bidirectional(keras.layers.LSTM(**inner), merge_mode=merge_mode)
    compare(
        {"type": "Bidirectional", "layer": {"type": "LSTM", **inner}, "merge_mode": merge_mode}, reference, 0, masked
    )


CELLS: list[Any] = [
    {"type": "SimpleRNNCell", "units": UNITS},
    {"type": "LSTMCell", "units": UNITS, "unit_forget_bias": False},
    {"type": "GRUCell", "units": UNITS, "reset_after": False},
    {"type": "GRUCell", "units": UNITS, "use_bias": False},
    [{"type": "LSTMCell", "units": 3}, {"type": "LSTMCell", "units": UNITS}],
    [{"type": "GRUCell", "units": 3}, {"type": "LSTMCell", "units": 2}, {"type": "GRUCell", "units": UNITS}],
]


def twin(cell: Any) -> Any:
    """The same of Keras."""
    if isinstance(cell, list):
        return [twin(each) for each in cell]
    return getattr(keras.layers, cell["type"])(**{k: v for k, v in cell.items() if k != "type"})


def widths(cell: Any) -> tuple[int, ...]:
    """Units of every state."""
    if isinstance(cell, list):
        return sum(map(widths, cell), ())
    units: int = cell["units"]
    return (units,) * (1 + (cell["type"] == "LSTMCell"))


@pytest.mark.parametrize(
    ("config", "masked"),
    [
        ({}, False),
        ({"return_sequences": True, "go_backwards": True}, True),
        ({"return_sequences": True, "return_state": True, "zero_output_for_mask": True}, True),
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_cells_along_a_sequence_are_those_of_keras(cell: Any, config: dict[str, Any], masked: bool) -> None:
    compare({"type": "RNN", "cell": cell, **config}, keras.layers.RNN(twin(cell), **config), 0, masked)


@pytest.mark.parametrize("cell", [CELLS[1], CELLS[-1]])
def test_cells_take_and_give_states(cell: Any) -> None:
    config = {"return_state": True}
    compare({"type": "RNN", "cell": cell, **config}, keras.layers.RNN(twin(cell), **config), widths(cell), False)


@pytest.mark.parametrize("cell", [CELLS[1], CELLS[4]])
def test_cells_are_walked_both_ways(cell: Any) -> None:
    config = {"return_state": True, "return_sequences": True}
    reference = keras.layers.Bidirectional(keras.layers.RNN(twin(cell), **config))
    compare({"type": "Bidirectional", "layer": {"type": "RNN", "cell": cell, **config}}, reference, 0, True)
