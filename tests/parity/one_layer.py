"""One layer beside Keras's: outputs, masks' effects, averages, and the gradients of all weights and inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from kerascli.keras_config import layer as keras_config
from kerascli.layer import Context, Layer
from kerascli.ops.elementwise import add, cast
from kerascli.ops.ir import Array, Input, Scope, Shape, Trace, Type, Value, Weight
from kerascli.ops.reduction import weighted_sum
from kerascli.ops.shape import batch_major
from kerascli.program.differentiate import gradients
from kerascli.program.interpret import evaluate
from tests.layer_cases import weights as drawn

keras = pytest.importorskip("keras")
jax = pytest.importorskip("jax")

ROWS = 3


class Numbers:
    """What a call gives: outputs, penalties in all, new averages, gradients of trained weights and float inputs."""

    def __init__(self, outputs: Sequence[Any], penalty: float, averages: Sequence[Any], found: Sequence[Any]) -> None:
        self.outputs = [np.asarray(y) for y in outputs]
        self.penalty = penalty
        self.averages = [np.asarray(a) for a in averages]
        self.gradients = [np.asarray(g) for g in found]


def compare(
    config: dict[str, Any],
    shapes: Sequence[Shape],
    training: bool = False,
    mask: Array | None = None,
    integers: int = 0,
    **changes: Any,
) -> None:
    """Both on random numbers (or integers below `integers`); `changes` are arguments of Keras's layer alone."""
    layer = Layer.parse(config)
    rng = np.random.default_rng(5)
    xs = [rng.standard_normal((ROWS, *shape)).astype("f4") for shape in shapes]
    if integers:
        xs = [rng.integers(0, integers, x.shape).astype("i4") for x in xs]
    w = drawn(layer, tuple(shapes))
    mine = ours(layer, w, xs, mask, training)
    other = theirs(layer, w, xs, mask, training, changes)
    for one, two in zip(mine.outputs, other.outputs, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=2e-5)
    for one, two in zip(mine.averages, other.averages, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    assert mine.penalty == pytest.approx(other.penalty, rel=1e-4)
    for one, two in zip(mine.gradients, other.gradients, strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-4, atol=2e-4 * max(1, np.abs(two).max(initial=0)))


def factors(shapes: Sequence[Shape]) -> list[Array]:
    """What the outputs are multiplied by before they are summed up to one number."""
    rng = np.random.default_rng(8)
    return [rng.standard_normal((ROWS, *shape)).astype("f4") for shape in shapes]


def ours(layer: Layer, w: dict[str, Array], xs: list[Array], mask: Array | None, training: bool) -> Numbers:
    trace, shapes = Trace(), [x.shape[1:] for x in xs]
    feeds: dict[str, Any] = {f"x{k}": x for k, x in enumerate(xs)} | {"inverse_batch": np.array(1 / ROWS)} | w
    kinds = ["float" if x.dtype.kind == "f" else x.dtype.name for x in xs]
    inputs = [
        trace.add(Input(f"x{k}", Type(shape, kind)), scope=Scope.BLOCK)
        for k, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))
    ]
    specs = layer.declare(*shapes)
    own = {s.name: trace.add(Weight(s.name, s.shape, s.trainable), scope=Scope.WEIGHT) for s in specs}
    given: Value | None = None
    if mask is not None:
        given, feeds["mask"] = trace.add(Input("mask", Type(mask.shape[1:], "bool")), scope=Scope.BLOCK), mask
    context = Context(trace, training, (given, *(None for _ in xs[1:])), "layer", {}, [])
    outputs = [batch_major(y) for y in (layer.call(context, own, *inputs), *context.further)]
    assert [y.shape for y in outputs] == [layer.infer_shape(*shapes), *layer.infer_further(*shapes)]
    loss: Value | None = None
    for k, (y, r) in enumerate(zip(outputs, factors([y.shape for y in outputs]), strict=True)):
        feeds[f"r{k}"] = r
        part = weighted_sum(cast(y, "float"), trace.add(Input(f"r{k}", Type(y.shape)), scope=Scope.BLOCK))
        loss = part if loss is None else add(loss, part)
    penalties = list(context.penalties)
    penalties += [s.regularizer.penalty(own[s.name]) for s in specs if s.regularizer is not None]
    for penalty in penalties:
        assert loss is not None
        loss = add(loss, penalty)
    assert loss is not None
    wrt = [own[s.name] for s in specs if s.trainable] + [x for x in inputs if x.dtype == "float"]
    found = gradients(loss, wrt)
    after = [context.updates.get(s.name, own[s.name]) for s in specs if not s.trainable]
    wanted = [*outputs, *after, *(found[v] for v in wrt), *penalties]
    numbers = evaluate(wanted, feeds, ROWS, np.float32)
    averages, slopes = len(outputs), len(outputs) + len(after)
    end = slopes + len(wrt)
    total = sum((float(array) for array in numbers[end:]), 0.0)
    return Numbers(numbers[:averages], total, numbers[averages:slopes], numbers[slopes:end])


def theirs(
    layer: Layer, w: dict[str, Array], xs: list[Array], mask: Array | None, training: bool, changes: dict[str, Any]
) -> Numbers:
    entry = keras_config(layer, "layer", [x.shape[1:] for x in xs])
    entry["config"] |= changes
    made = keras.saving.deserialize_keras_object(entry)
    specs = layer.declare(*(x.shape[1:] for x in xs))
    made.set_weights([w[s.name] for s in specs])
    fixed = [v.value for v in made.non_trainable_variables]
    extra: dict[str, Any] = {} if mask is None else {"mask": mask}
    if "training" in made._call_signature.parameters:
        extra["training"] = training

    def loss(trained: Any, xs: Any) -> Any:
        states = {"initial_state": list(xs[1:])} if len(xs) > 1 else {}
        y, after, penalties = made.stateless_call(trained, fixed, xs[0], **states, **extra, return_losses=True)
        outputs = list(y) if isinstance(y, (list, tuple)) else [y]
        rs = factors([each.shape[1:] for each in outputs])
        total = sum((each * r).sum() for each, r in zip(outputs, rs, strict=True))
        return total + sum(penalties), (outputs, after, sum(penalties))

    trained = [v.value for v in made.trainable_variables]
    floats = [np.asarray(x) for x in xs]
    whole = (0, 1) if xs[0].dtype.kind == "f" else 0
    with jax.disable_jit():  # compiling takes ten times longer than these few steps
        (_, (outputs, after, penalty)), found = jax.value_and_grad(loss, whole, has_aux=True)(trained, floats)
    slopes = [*found[0], *found[1]] if whole else list(found)
    seeds = [k for k, v in enumerate(made.non_trainable_variables) if "seed" in v.path]
    kept = [a for k, a in enumerate(after) if k not in seeds]
    return Numbers(outputs, float(penalty), kept, slopes)
