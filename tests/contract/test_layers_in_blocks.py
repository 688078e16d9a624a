"""Cut into blocks and dealt to lanes, with shared buffers and in-place ops, every layer gives what it gives whole."""

from __future__ import annotations

import numpy as np
import pytest

from kerascli.component import Example
from kerascli.engine.machine import Machine
from kerascli.engine.memory import SharedMemory
from kerascli.layer import Context, Layer
from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Value, Weight
from kerascli.ops.reduction import weighted_sum
from kerascli.program import plan as planning
from kerascli.program.differentiate import gradients
from kerascli.program.interpret import evaluate
from tests.layer_cases import cases, prepared, samples, weights
from tests.traces import fed

ROWS, SEED = 11, 3


def values_and_feeds(layer: Layer, example: Example, training: bool) -> tuple[list[Value], dict[str, Array]]:
    """Output, averages, penalties and all gradients of one layer, and the data they need."""
    trace, feeds, xs = Trace(), dict(weights(layer, example.inputs)), []
    for k, x in enumerate(samples(example, ROWS)):
        xs.append(fed(trace, f"x{k}", x))
        feeds[f"x{k}"] = x
    specs = layer.declare(*example.inputs)
    own = {s.name: trace.add(Weight(s.name, s.shape, s.trainable, s.dtype), scope=Scope.WEIGHT) for s in specs}
    context = Context(trace, training, (None,) * len(xs), "layer", {}, [])
    y = layer.call(context, own, *prepared(layer, xs))
    found = [y, *context.updates.values(), *context.penalties]
    wrt = [own[s.name] for s in specs if s.trainable] + [x for x in xs if x.dtype == "float"]
    if wrt and y.dtype == "float":
        r = trace.add(Input("r", Type(y.shape, batch_axis=y.batch_axis)), scope=Scope.BLOCK)
        feeds["r"] = np.random.default_rng(1).standard_normal((ROWS, *y.shape))
        found += gradients(weighted_sum(y, r), wrt).values()
    feeds = {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in feeds.items()}
    return [v for v in dict.fromkeys(found) if v.inputs], feeds


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("member", "example"), cases())
def test_blocks_on_lanes_equal_the_whole_batch(
    member: type[Layer], example: Example, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = member.parse({"type": member.__name__, **example.config})
    wanted, feeds = values_and_feeds(layer, example, training)
    if not wanted:
        pytest.skip("the layer passes its input on")
    share = np.array(1 / ROWS)
    expected = evaluate(wanted, {**feeds, "inverse_batch": share}, ROWS, seed=SEED)
    monkeypatch.setattr(planning, "block_and_lanes", lambda *_: (4, 2))
    plan = planning.make_plan(wanted, ROWS, "float64")
    counters = np.stack([np.arange(ROWS), np.zeros(ROWS, np.int64)], 1)
    machine = Machine(plan, SharedMemory(), feeds, {"inverse_batch": share}, np.arange(ROWS), counters, SEED)
    bound = machine.bind(ROWS, feeds, range(plan.lanes))
    for _ in range(2):  # the second step finds the buffers as the first one left them
        for stage in bound.stages:
            for calls in stage:
                for call in calls:
                    call()
    for value, whole in zip(wanted, expected, strict=True):
        np.testing.assert_allclose(machine.result(value, ROWS), whole, rtol=1e-9, atol=1e-10, err_msg=repr(value))
