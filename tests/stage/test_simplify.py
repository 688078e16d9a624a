"""Simplified programs compute what the plain ones do, and planned programs what the interpreter does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from kerascli.engine.machine import Machine
from kerascli.engine.memory import SharedMemory
from kerascli.ops.activation import Relu, Tanh
from kerascli.ops.batch_norm import batch_norm
from kerascli.ops.convolution import conv
from kerascli.ops.elementwise import Add, Multiply, add, multiply
from kerascli.ops.ir import Array, Input, Op, Scope, Shape, Trace, Type, Value, Weight
from kerascli.ops.linear import BiasAdd, bias_add, matmul
from kerascli.ops.pooling import MaxPool, average_pool, max_pool
from kerascli.ops.reduction import weighted_sum
from kerascli.ops.shape import reshape
from kerascli.ops.window import Im2Col, Phase, Unphase
from kerascli.ops.winograd import OutputTransform, Patches, TileProduct, TileTransform
from kerascli.program.differentiate import gradients
from kerascli.program.interpret import evaluate
from kerascli.program.plan import make_plan, reachable
from kerascli.program.simplify import simplify


class Net:
    """A forward pass under construction, with the shapes of its weights."""

    def __init__(self, shape: Shape) -> None:
        self.trace = Trace()
        self.shapes: dict[str, Shape] = {}
        self.h = self.trace.add(Input("x", Type(shape)), scope=Scope.BLOCK)

    def weight(self, *shape: int) -> Value:
        path = f"w{len(self.shapes)}"
        self.shapes[path] = shape
        return self.trace.add(Weight(path, shape), scope=Scope.WEIGHT)

    def convolve(
        self, filters: int, padding: str = "same", kernel: tuple[int, int] = (3, 3), bias: bool = False
    ) -> None:
        self.h = conv(self.h, self.weight(*kernel, self.h.shape[-1], filters), padding=padding)
        if bias:
            self.h = bias_add(self.h, self.weight(filters))

    def normalise(self) -> None:
        channels = self.h.shape[-1]
        self.h, _ = batch_norm(self.h, self.weight(channels), self.weight(channels), 1e-3)

    def apply(self, op: Op) -> None:
        self.h = self.trace.add(op, self.h)

    def head(self, classes: int = 3) -> None:
        self.h = reshape(self.h, (self.h.size,))
        self.h = bias_add(matmul(self.h, self.weight(self.h.size, classes)), self.weight(classes))


def ops(value: Value) -> list[type[Op]]:
    return [type(v.op) for v in reachable([value])]


def differentiated(net: Net, exact: bool | None) -> tuple[list[Value], list[str]]:
    """The output, the loss Σ r·tanh(y) and its gradients; `exact` None leaves the trace as it is."""
    y = net.h if exact is None else simplify([net.h], exact)[net.h]
    r = y.trace.add(Input("r", Type(y.shape)), scope=Scope.BLOCK)
    loss = weighted_sum(y.trace.add(Tanh(), y), r)
    weights = {v: v.op.path for v in y.trace.values if isinstance(v.op, Weight)}
    found = gradients(loss, weights)
    by_path = {weights[v]: g for v, g in found.items()}
    return [y, loss, *(by_path[path] for path in net.shapes)], list(net.shapes)


def feeds_for(net: Net, rows: int, seed: int) -> dict[str, Array | float]:
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array | float] = {"inverse_batch": 1 / rows}
    for path, shape in net.shapes.items():
        feeds[path] = rng.standard_normal(shape) * (2 / max(np.prod(shape[:-1]), 1)) ** 0.5
    feeds["x"] = rng.standard_normal((rows, *net.trace.values[0].shape))
    feeds["r"] = rng.standard_normal((rows, *net.h.shape))
    return feeds


def run_planned(wanted: list[Value], feeds: Mapping[str, Array | float], rows: int, batch: int) -> list[Array]:
    """The wanted values by the planned machine in float64, all lanes one after another."""
    plan = make_plan(wanted, batch, "float64")
    arrays = {k: np.asarray(v, np.float64) for k, v in feeds.items()}
    machine = Machine(
        plan,
        SharedMemory(),
        {k: v for k, v in arrays.items() if k.startswith("w")},
        {"inverse_batch": arrays["inverse_batch"]},
        np.arange(batch),
        np.zeros((batch, 2), np.int64),
        0,
    )
    for stage in machine.bind(rows, {k: arrays[k] for k in "xr"}, range(plan.lanes)).stages:
        for lane in stage:
            for call in lane:
                call()
    return [machine.result(v, rows).copy() for v in wanted]


def agree(got: list[Array], expected: list[Array], tolerance: float) -> None:
    for g, e in zip(got, expected, strict=True):
        assert np.linalg.norm(g - e) <= tolerance * max(np.linalg.norm(e), 1e-6)


def check_net(net: Net, rows: int = 5, batch: int = 8, seed: int = 0) -> None:
    """Plain, direct and Winograd programs agree in the interpreter, and the last two on planned blocks."""
    feeds = feeds_for(net, rows, seed)
    expected = evaluate(differentiated(net, None)[0], feeds, rows)
    for exact in (True, False):
        wanted, _ = differentiated(net, exact)
        agree(evaluate(wanted, feeds, rows), expected, 1e-8)
        agree(run_planned(wanted, feeds, rows, batch), expected, 1e-8)


def random_net(rng: np.random.Generator) -> Net:
    net = Net((int(rng.integers(5, 18)), int(rng.integers(5, 18)), int(rng.choice([1, 3, 16]))))
    for _ in range(rng.integers(1, 5)):
        padding = str(rng.choice(["same", "valid"])) if min(net.h.shape[:2]) > 4 else "same"
        kernel = (3, 3) if rng.random() < 0.8 else (int(rng.integers(1, 4)), 2)
        skip = net.h
        net.convolve(int(rng.choice([4, 16, 17])), padding, kernel, bool(rng.random() < 0.5))
        steps = ["normalise", "relu", "tanh", "pool", "average", "skip"]
        for step in rng.permutation(steps)[: rng.integers(0, 5)]:
            if step == "normalise":
                net.normalise()
            elif step == "pool" and min(net.h.shape[:2]) > 3:
                size = (int(rng.integers(1, 4)), int(rng.integers(2, 5)))
                net.h = (
                    max_pool(net.h, size, size)
                    if min(net.h.shape[0] - size[0], net.h.shape[1] - size[1]) > 0
                    else net.h
                )
            elif step == "average" and min(net.h.shape[:2]) > 3 and rng.random() < 0.3:
                net.h = average_pool(net.h, (2, 2), (2, 2))
            elif step in ("relu", "tanh"):
                net.apply(Relu() if step == "relu" else Tanh())
            elif step == "skip" and skip.shape == net.h.shape:
                net.h = add(multiply(net.h, 0.5), skip)
    net.head()
    return net


@pytest.mark.parametrize("seed", range(25))
def test_random_nets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    check_net(random_net(rng), rows=int(rng.integers(1, 8)), seed=seed)


def block(net: Net, filters: int) -> None:
    net.convolve(filters)
    net.normalise()
    net.apply(Relu())


def test_chains_of_same_convolutions_stay_on_tiles() -> None:
    net = Net((8, 16, 3))
    for filters in (32, 32, 33):
        block(net, filters)
    skip = net.h
    block(net, 33)
    net.h = add(net.h, skip)
    net.convolve(32)
    net.h = max_pool(net.h, (2, 2), (2, 2))
    net.head()
    used = ops(simplify([net.h])[net.h])
    assert used.count(TileTransform) == 4
    assert used.count(Im2Col) == 1
    assert Phase not in used
    assert used.count(Unphase) == 1  # behind the pool
    check_net(net)


def test_extents_that_tiles_do_not_divide() -> None:
    net = Net((13, 13, 32))
    net.convolve(64, "valid", bias=True)
    net.apply(Relu())
    net.h = max_pool(net.h, (2, 2), (2, 2))
    net.head()
    values = reachable([simplify([net.h])[net.h]])
    (patches,) = [v for v in values if isinstance(v.op, Patches)]
    assert patches.shape == (6, 6, 3, 3, 32)  # 10 of 11 outputs are pooled: three tiles
    check_net(net)


@pytest.mark.parametrize(
    ("shape", "filters", "exact", "winograd"),
    [
        ((8, 8, 16), 4, False, True),
        ((8, 8, 16), 4, True, False),
        ((8, 8, 15), 32, False, False),
        ((8, 8, 32), 3, False, False),
        ((5, 5, 32), 32, False, False),  # four tiles for 25 outputs
        ((11, 11, 32), 32, False, True),
    ],
)
def test_winograd_depends_on_shapes_and_can_be_switched_off(
    shape: Shape, filters: int, exact: bool, winograd: bool
) -> None:
    net = Net(shape)
    net.convolve(filters)
    assert (TileProduct in ops(simplify([net.h], exact)[net.h])) is winograd


@pytest.mark.parametrize(
    ("kernel", "strides", "dilation"), [((5, 5), (1, 1), (1, 1)), ((3, 3), (2, 1), (1, 1)), ((3, 3), (1, 1), (2, 2))]
)
def test_other_windows_stay_direct(
    kernel: tuple[int, int], strides: tuple[int, int], dilation: tuple[int, int]
) -> None:
    net = Net((12, 12, 32))
    net.h = conv(net.h, net.weight(*kernel, 32, 32), strides, "same", dilation)
    assert OutputTransform not in ops(simplify([net.h])[net.h])


def test_a_maximum_goes_before_bias_and_relu() -> None:
    net = Net((8, 8, 3))
    net.convolve(4, bias=True)
    net.apply(Relu())
    net.h = max_pool(net.h, (2, 2), (2, 2))
    used = ops(simplify([net.h])[net.h])
    assert used.index(MaxPool) < used.index(Relu)
    check_net(net)


@pytest.mark.parametrize("bias", [False, True])
def test_channel_factors_and_shifts_go_into_the_weights(bias: bool) -> None:
    net = Net((8, 8, 3))
    net.convolve(4, bias=bias)
    net.h = add(net.weight(4), multiply(net.h, net.weight(4)))
    net.apply(Relu())
    net.h = max_pool(net.h, (2, 2), (2, 2))
    net.h = add(multiply(conv(net.h, net.weight(1, 1, 4, 4)), net.weight(4)), net.h)
    net.h = multiply(net.h, net.weight(4, 4, 4))
    values = reachable([simplify([net.h])[net.h]])
    on_samples = [v for v in values if v.scope == Scope.BLOCK and isinstance(v.op, (Add, Multiply))]
    assert [type(v.op) for v in on_samples] == [Add, Multiply]  # the skip, and what differs from place to place
    assert sum(isinstance(v.op, BiasAdd) for v in values) == 1
    check_net(net)


def test_a_value_read_twice_is_not_scaled_in_its_weights() -> None:
    net = Net((4, 4, 3))
    net.convolve(4)
    net.h = add(multiply(net.h, net.weight(4)), net.h)
    assert Multiply in [type(v.op) for v in reachable([simplify([net.h])[net.h]]) if v.scope == Scope.BLOCK]
    check_net(net)


def test_a_value_read_twice_is_not_pooled_early() -> None:
    net = Net((8, 8, 32))
    net.convolve(32, bias=True)
    net.apply(Relu())
    pooled = max_pool(net.h, (2, 2), (2, 2))
    net.convolve(32)
    net.h = add(max_pool(net.h, (2, 2), (2, 2)), pooled)
    net.head()
    check_net(net)
