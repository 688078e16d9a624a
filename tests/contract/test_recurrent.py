"""What recurrent layers promise: derivatives of every example, dropout that stays through a sequence, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kerascli.layer import Context, Layer
from kerascli.ops.elementwise import Multiply
from kerascli.ops.ir import Array, Input, Scope, ShapeError, Trace, Type, Value, Weight
from kerascli.ops.lstm import Lstm
from kerascli.ops.recurrent import SequenceOp
from kerascli.program.interpret import evaluate
from tests.gradients import check

KINDS = ["SimpleRNN", "LSTM", "GRU"]
WITH_WRAPPERS = [*KINDS, "Bidirectional", "RNN"]
EXAMPLES = [(kind, example) for kind in WITH_WRAPPERS for example in (Layer.find(kind) or Layer).examples]


def context(trace: Trace, training: bool = False, mask: Value | None = None) -> Context:
    return Context(trace, training, (mask, None, None), "layer", {}, [])


@pytest.mark.parametrize(("kind", "example"), EXAMPLES)
def test_every_example_has_its_shape_and_derivative(kind: str, example: Any) -> None:
    layer = Layer.parse({"type": kind, **example.config})
    rng = np.random.default_rng(3)
    blocks = {f"x{k}": rng.standard_normal((2, *shape)) for k, shape in enumerate(example.inputs)}
    specs = layer.declare(*example.inputs)
    weights = {spec.name: rng.standard_normal(spec.shape) for spec in specs}

    def build(**values: Value) -> Value:
        xs = [values[name] for name in blocks]
        y = layer.call(context(xs[0].trace), {name: values[name] for name in weights}, *xs)
        assert y.shape == layer.infer_shape(*example.inputs)
        return y

    check(build, blocks, weights)


def training_values(config: dict[str, Any], shape: tuple[int, ...] = (6, 3), mask: bool = False) -> tuple[Value, Any]:
    layer = Layer.parse(config)
    trace = Trace()
    x = trace.add(Input("x", Type(shape)), scope=Scope.BLOCK)
    given = trace.add(Input("mask", Type(shape[:1], "bool")), scope=Scope.BLOCK) if mask else None
    specs = layer.declare(shape)
    w = {spec.name: trace.add(Weight(spec.name, spec.shape), scope=Scope.WEIGHT) for spec in specs}
    y = layer.call(context(trace, True, given), w, x)
    rng = np.random.default_rng(1)
    feeds: dict[str, Array] = {spec.name: rng.standard_normal(spec.shape) for spec in specs}
    return y, {**feeds, "x": rng.standard_normal((50, *shape)), "mask": rng.random((50, shape[0])) < 0.7}


def recurrence(trace: Trace) -> dict[str, Value]:
    """The inputs of the one coarse op, by role."""
    (found,) = [v for v in trace.values if isinstance(v.op, SequenceOp)]
    assert isinstance(found.op, SequenceOp)
    return found.op.by_role(found.inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_dropped_inputs_are_the_same_at_every_step(kind: str) -> None:
    y, feeds = training_values({"type": kind, "units": 2, "dropout": 0.5})
    (x,) = evaluate([recurrence(y.trace)["x"]], feeds, 50)
    kept = x / feeds["x"].transpose(1, 0, 2)
    assert set(np.round(np.unique(kept), 6)) == {0.0, 2.0}
    assert (kept == kept[0]).all()
    assert 0.3 < (kept[0] == 0).mean() < 0.7


@pytest.mark.parametrize(("kind", "gates"), [("SimpleRNN", 1), ("LSTM", 4), ("GRU", 3)])
def test_with_recurrent_dropout_every_gate_drops_its_own(kind: str, gates: int) -> None:
    y, feeds = training_values({"type": kind, "units": 2, "dropout": 0.25, "recurrent_dropout": 0.5})
    (drop,) = evaluate([recurrence(y.trace)["drop"]], feeds, 50)
    assert drop.shape == (50, gates * 2)
    assert set(np.unique(drop)) == {0.0, 2.0}
    assert len(np.unique(drop.T, axis=0)) == 2 * gates, "two gates drop the same units"
    inputs = [v for v in y.trace.values if isinstance(v.op, Multiply) and v.shape == (6, 3)]
    assert len(inputs) == gates


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_dropped_outside_training(kind: str) -> None:
    layer = Layer.parse({"type": kind, "units": 2, "dropout": 0.5, "recurrent_dropout": 0.5})
    trace = Trace()
    x = trace.add(Input("x", Type((6, 3))), scope=Scope.BLOCK)
    w = {s.name: trace.add(Weight(s.name, s.shape), scope=Scope.WEIGHT) for s in layer.declare((6, 3))}
    layer.call(context(trace), w, x)
    assert "drop" not in recurrence(trace) and trace.streams == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_steps_written_out_give_what_the_coarse_op_gives(
    kind: str, dropout: float, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"type": kind, "units": 2, "dropout": dropout, "recurrent_dropout": dropout, "return_sequences": True}
    coarse, feeds = training_values(config, mask=masked)
    monkeypatch.setattr(type(Layer.parse(config)), "_is_standard", lambda layer: False)
    written, _ = training_values(config, mask=masked)
    assert not any(isinstance(v.op, SequenceOp) for v in written.trace.values)
    np.testing.assert_allclose(evaluate([written], feeds, 50)[0], evaluate([coarse], feeds, 50)[0], atol=1e-13)


@pytest.mark.parametrize("shape", [(5,), (5, 4, 3)])
def test_what_is_no_sequence_of_vectors_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="sequences of vectors"):
        Layer.parse({"type": "LSTM", "units": 2}).infer_shape(shape)


def test_initial_states_must_fit() -> None:
    layer = Layer.parse({"type": "LSTM", "units": 2})
    with pytest.raises(ShapeError, match="2 initial states"):
        layer.infer_shape((5, 4), (2,))
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        layer.infer_shape((5, 4), (2,), (3,))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"layer": {"type": "Bidirectional", "layer": {"type": "GRU", "units": 2}}}, "recurrent layer"),
        ({"layer": {"type": "GRU", "units": 2}, "backward_layer": {"type": "GRU", "units": 2}}, "go_backwards"),
        ({"layer": {"type": "GRU", "units": 2}, "merge_mode": "max"}, "merge_mode"),
    ],
)
def test_what_bidirectional_cannot_wrap_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Layer.parse({"type": "Bidirectional", **config})


def test_bidirectional_layers_have_weights_of_their_own() -> None:
    layer = Layer.parse({"type": "Bidirectional", "layer": {"type": "LSTM", "units": 2, "trainable": False}})
    specs = layer.declare((5, 4))
    assert [s.name for s in specs][::3] == ["forward_kernel", "backward_kernel"]
    assert {s.group for s in specs} == {"forward_layer/cell", "backward_layer/cell"}
    assert not any(s.trainable for s in specs)


def test_the_mask_goes_on_only_with_the_sequence() -> None:
    trace = Trace()
    mask = trace.add(Input("mask", Type((5,), "bool")), scope=Scope.BLOCK)
    for config in ({"type": "GRU", "units": 2}, {"type": "Bidirectional", "layer": {"type": "GRU", "units": 2}}):
        assert Layer.parse(config).mask(context(trace, mask=mask)) is None
    assert Layer.parse({"type": "GRU", "units": 2, "return_sequences": True}).mask(context(trace, mask=mask)) is mask


def test_the_activity_regularizer_is_a_mean_over_the_batch() -> None:
    layer = Layer.parse({"type": "GRU", "units": 2, "activity_regularizer": {"type": "l2", "l2": 1.0}})
    trace = Trace()
    x = trace.add(Input("x", Type((3, 2))), scope=Scope.BLOCK)
    w = {s.name: trace.add(Weight(s.name, s.shape), scope=Scope.WEIGHT) for s in layer.declare((3, 2))}
    around = context(trace, True)
    y = layer.call(around, w, x)
    rng = np.random.default_rng(0)
    feeds: dict[str, Any] = {s.name: rng.standard_normal(s.shape) for s in layer.declare((3, 2))}
    feeds |= {"x": rng.standard_normal((4, 3, 2)), "inverse_batch": 0.25}
    got, outputs = evaluate([around.penalties[0], y], feeds, 4)
    assert got == pytest.approx((outputs**2).sum() / 4)


def test_a_standard_layer_is_one_op_forward() -> None:
    y, _ = training_values({"type": "LSTM", "units": 2})
    assert sum(isinstance(v.op, Lstm) for v in y.trace.values) == 1
