"""Recurrent layers against live Keras: outputs, and the gradients of all weights and inputs, for every argument."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kerascli.layer import Context, Layer
from kerascli.ops.elementwise import add
from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Value, Weight
from kerascli.ops.reduction import weighted_sum
from kerascli.ops.shape import batch_major
from kerascli.program.differentiate import gradients
from kerascli.program.interpret import evaluate

keras = pytest.importorskip("keras")
jax = pytest.importorskip("jax")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROWS, STEPS, FEATURES, UNITS = 4, 4, 3, 2
STATES = {"SimpleRNN": 1, "GRU": 1, "LSTM": 2}

WHOLE: list[dict[str, Any]] = [
    {},
    {"return_sequences": True},
    {"go_backwards": True, "unroll": True},
    {"return_sequences": True, "go_backwards": True},
    {"use_bias": False, "return_sequences": True},
    {"activation": "relu"},
    {"activation": None, "return_sequences": True, "go_backwards": True},
]
MASKED: list[dict[str, Any]] = [
    {},
    {"return_sequences": True, "go_backwards": True},
    {"zero_output_for_mask": True},
    {"zero_output_for_mask": True, "return_sequences": True, "go_backwards": True},
    {"activation": "relu", "return_sequences": True},
]
OWN: dict[str, list[dict[str, Any]]] = {
    "SimpleRNN": [],
    "LSTM": [{"recurrent_activation": "hard_sigmoid", "return_sequences": True}],
    "GRU": [
        {"recurrent_activation": "hard_sigmoid", "return_sequences": True},
        {"reset_after": False},
        {"reset_after": False, "use_bias": False, "return_sequences": True, "go_backwards": True},
        {"activation": "relu", "use_bias": False},
    ],
}
CASES = [
    *((kind, config, False) for kind in STATES for config in [*WHOLE, *OWN[kind]]),
    *((kind, config, True) for kind in STATES for config in MASKED),
    ("GRU", {"reset_after": False}, True),
]


def ours(layer: Layer, weights: list[Array], xs: list[Array], mask: Array | None, rs: list[Array]) -> list[Array]:
    """The outputs, and the gradients of Σ r·y over all of them for the weights and the inputs."""
    trace = Trace()
    inputs = [trace.add(Input(f"x{k}", Type(x.shape[1:])), scope=Scope.BLOCK) for k, x in enumerate(xs)]
    specs = layer.declare(*(x.shape[1:] for x in xs))
    assert [s.shape for s in specs] == [w.shape for w in weights]
    w = {s.name: trace.add(Weight(s.name, s.shape), scope=Scope.WEIGHT) for s in specs}
    given: Value | None = None
    feeds: dict[str, Any] = {f"x{k}": x for k, x in enumerate(xs)}
    feeds |= {s.name: array for s, array in zip(specs, weights, strict=True)}
    if mask is not None:
        given, feeds["mask"] = trace.add(Input("mask", Type(mask.shape[1:], "bool")), scope=Scope.BLOCK), mask
    context = Context(trace, False, (given, *(None for _ in xs[1:])), "layer", {}, [])
    first = batch_major(layer.call(context, w, *inputs))
    ys = [first, *map(batch_major, context.further)]
    assert [y.shape for y in ys] == list(shapes(layer, xs))
    loss: Value | None = None
    for k, (y, r) in enumerate(zip(ys, rs, strict=True)):
        feeds[f"r{k}"] = r
        part = weighted_sum(y, trace.add(Input(f"r{k}", Type(y.shape)), scope=Scope.BLOCK))
        loss = part if loss is None else add(loss, part)
    assert loss is not None
    found = gradients(loss, [*w.values(), *inputs])
    return evaluate([*ys, *(found[v] for v in [*w.values(), *inputs])], feeds, len(xs[0]), np.float32)


def shapes(layer: Layer, xs: list[Array]) -> Iterator[tuple[int, ...]]:
    given = [x.shape[1:] for x in xs]
    yield layer.infer_shape(*given)
    yield from layer.infer_further(*given)


def theirs(layer: Any, xs: list[Array], mask: Array | None, rs: list[Array], nested: Any) -> list[Array]:
    fixed = [v.value for v in layer.non_trainable_variables]
    extra = {} if mask is None or len(xs) > 1 else {"mask": mask}  # Keras gives no mask to a layer that gets states

    def loss(weights: Any, xs: Any) -> Any:
        states = {"initial_state": nested(list(xs[1:]))} if len(xs) > 1 else {}
        found, _ = layer.stateless_call(weights, fixed, xs[0], **states, **extra)
        ys = jax.tree_util.tree_leaves(found)
        return sum((y * r).sum() for y, r in zip(ys, rs, strict=True)), ys

    trained = [v.value for v in layer.trainable_variables]
    with jax.disable_jit():  # compiling takes ten times longer than these few steps
        (_, ys), (dw, dx) = jax.value_and_grad(loss, (0, 1), has_aux=True)(trained, [np.asarray(x) for x in xs])
    return [np.asarray(g) for g in [*ys, *dw, *dx]]


def compare(config: dict[str, Any], reference: Any, states: int | tuple[int, ...], masked: bool) -> None:
    """`states`: how many initial states are given, or the units of each."""
    rng = np.random.default_rng(5)
    xs = [rng.standard_normal((ROWS, STEPS, FEATURES)).astype("f4")]
    widths = (UNITS,) * states if isinstance(states, int) else states
    xs += [rng.standard_normal((ROWS, width)).astype("f4") for width in widths]
    mask = rng.random((ROWS, STEPS)) < 0.6 if masked else None
    if mask is not None:
        mask[0], mask[1] = False, True
    reference.build((None, STEPS, FEATURES))
    weights = [rng.standard_normal(w.shape).astype("f4") for w in reference.get_weights()]
    reference.set_weights(weights)
    layer = Layer.parse(config)
    rs = [rng.standard_normal((ROWS, *shape)).astype("f4") for shape in shapes(layer, xs)]
    found = ours(layer, weights, xs, mask, rs)
    wanted = theirs(reference, xs, mask, rs, layer.nested)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5 * max(1, np.abs(other).max()))


@pytest.mark.parametrize(("kind", "config", "masked"), CASES)
def test_outputs_and_gradients_are_those_of_keras(kind: str, config: dict[str, Any], masked: bool) -> None:
    compare({"type": kind, "units": UNITS, **config}, getattr(keras.layers, kind)(UNITS, **config), 0, masked)


@pytest.mark.parametrize(("activation", "masked"), [("tanh", False), ("tanh", True), ("relu", True)])
@pytest.mark.parametrize("kind", STATES)
def test_initial_states_are_read_and_differentiated(kind: str, activation: str, masked: bool) -> None:
    config = {"units": UNITS, "return_sequences": True, "activation": activation}
    compare({"type": kind, **config}, getattr(keras.layers, kind)(**config), STATES[kind], masked)


@pytest.mark.parametrize(
    ("kind", "sequences", "merge_mode", "masked"),
    [
        ("LSTM", False, "concat", False),
        ("LSTM", False, "concat", True),
        ("LSTM", True, "concat", True),
        ("GRU", True, "sum", False),
        ("GRU", False, "mul", True),
        ("SimpleRNN", True, "ave", True),
    ],
)
def test_bidirectional_is_that_of_keras(kind: str, sequences: bool, merge_mode: str, masked: bool) -> None:
    inner = {"units": UNITS, "return_sequences": sequences}
    reference = keras.layers.Bidirectional(getattr(keras.layers, kind)(**inner), merge_mode=merge_mode)
    config = {"type": "Bidirectional", "layer": {"type": kind, **inner}, "merge_mode": merge_mode}
    compare(config, reference, 0, masked)


def test_bidirectional_with_two_different_layers_is_that_of_keras() -> None:
    inner = {"units": UNITS, "return_sequences": True}
    reference = keras.layers.Bidirectional(
        keras.layers.LSTM(**inner, go_backwards=True), backward_layer=keras.layers.GRU(**inner)
    )
    config = {
        "type": "Bidirectional",
        "layer": {"type": "LSTM", **inner, "go_backwards": True},
        "backward_layer": {"type": "GRU", **inner},
    }
    compare(config, reference, 0, True)


def test_bidirectional_takes_the_states_of_both_directions() -> None:
    reference = keras.layers.Bidirectional(keras.layers.LSTM(UNITS))
    compare({"type": "Bidirectional", "layer": {"type": "LSTM", "units": UNITS}}, reference, 4, False)


@pytest.mark.parametrize("kind", STATES)
def test_weights_lie_where_keras_files_keep_them(kind: str, tmp_path: Any) -> None:
    import h5py

    inner = getattr(keras.layers, kind)(UNITS, dropout=0.1)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), inner, keras.layers.RepeatVector(STEPS)])
    model.add(keras.layers.Bidirectional(getattr(keras.layers, kind)(UNITS)))
    model.save_weights(tmp_path / "m.weights.h5")
    plain = Layer.parse({"type": kind, "units": UNITS, "dropout": 0.1})
    both = Layer.parse({"type": "Bidirectional", "layer": {"type": kind, "units": UNITS}})
    with h5py.File(tmp_path / "m.weights.h5") as file:
        for layer, features, group in ((plain, FEATURES, inner.name), (both, UNITS, "bidirectional")):
            counts: dict[str, int] = {}
            for spec in layer.declare((STEPS, features)):
                index = counts.get(spec.group, 0)
                counts[spec.group] = index + 1
                found = [g for g in file["layers"] if g.startswith(group.rstrip("_0123456789"))]
                stored = file["layers"][found[0]][spec.group]["vars"][str(index)]
                assert stored.shape == spec.shape
            held: list[str] = []
            file["layers"][found[0]].visititems(lambda n, o, held=held: held.append(n) if hasattr(o, "shape") else None)
            assert len(held) == sum(counts.values())


def test_the_forget_gate_starts_at_one_as_in_keras() -> None:
    reference = keras.layers.LSTM(UNITS)
    reference.build((None, STEPS, FEATURES))
    spec = Layer.parse({"type": "LSTM", "units": UNITS}).declare((STEPS, FEATURES))[-1]
    np.testing.assert_array_equal(
        spec.initializer.draw(spec.shape, np.random.default_rng()), reference.get_weights()[-1]
    )
