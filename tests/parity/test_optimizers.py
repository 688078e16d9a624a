"""Every optimizer, with every option, moves weights and slots as Keras does."""

from __future__ import annotations

from typing import Any

import jax
import keras
import numpy as np
import pytest

from kerascli.component import load_family
from kerascli.optimizers.base import ACCUMULATOR, Optimizer

load_family("optimizer")
SHAPES = ((7, 5), (5,), (2, 3, 4))
STEPS = 12
DECAY = {"type": "ExponentialDecay", "initial_learning_rate": 0.05, "decay_steps": 3, "decay_rate": 0.7}
OPTIONS: list[dict[str, Any]] = [
    {"weight_decay": 0.05},
    {"clipnorm": 0.5},
    {"clipvalue": 0.1},
    {"clipvalue": 0.0},
    {"global_clipnorm": 1.5},
    {"use_ema": True},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    {"loss_scale_factor": 8.0},
    {"learning_rate": DECAY},
]
AVERAGED = {"use_ema": True, "ema_overwrite_frequency": 2, "clipnorm": 0.3, "weight_decay": 0.1}
ACCUMULATION: list[dict[str, Any]] = [
    {"gradient_accumulation_steps": 2, **AVERAGED},
    {"gradient_accumulation_steps": 3, "learning_rate": DECAY, "weight_decay": 0.1},
]
RULES = [(name, example.config) for name, member in Optimizer.members.items() for example in member.examples]
PLAIN = [(name, rule, {}) for name, rule in RULES]
WITH_OPTIONS = [(name, member.examples[1].config, o) for name, member in Optimizer.members.items() for o in OPTIONS]
ACCUMULATING = [(name, {}, o) for name in ("SGD", "Adam", "Nadam", "Muon", "ScheduleFreeAdamW") for o in ACCUMULATION]


def keras_optimizer(name: str, config: dict[str, Any]) -> Any:
    rate = config.get("learning_rate")
    if isinstance(rate, dict):
        schedule = getattr(keras.optimizers.schedules, rate["type"])
        config = {**config, "learning_rate": schedule(**{k: v for k, v in rate.items() if k != "type"})}
    return getattr(keras.optimizers, name)(**config)


def gradients(rng: np.random.Generator) -> list[np.ndarray]:
    """Gradients of very different sizes, with zeros, as they occur."""
    found = [rng.normal(size=s).astype(np.float32) * rng.choice([0, 1e-4, 1, 3]) for s in SHAPES]
    found[0][0] = 0
    return found


def keras_runs(theirs: Any, start: list[np.ndarray], grads: list[list[np.ndarray]]) -> tuple[list[Any], list[Any]]:
    """Weights and optimizer variables after all steps. Accumulation is compiled: op by op, JAX takes seconds."""
    weights = [keras.Variable(w, name=str(k)) for k, w in enumerate(start)]
    theirs.build(weights)
    if not theirs.gradient_accumulation_steps:
        for g in grads:
            theirs.apply([keras.ops.convert_to_tensor(x) for x in g])
        return weights, theirs.variables
    apply = jax.jit(theirs.stateless_apply)
    values, state = [v.value for v in weights], [v.value for v in theirs.variables]
    for g in grads:
        values, state = apply(state, g, values)
    return values, state


def ours_runs(
    ours: Optimizer, start: list[np.ndarray], grads: list[list[np.ndarray]]
) -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    weights = [w.copy() if not ours.elementwise else w.reshape(-1).copy() for w in start]
    rules = [ours.rule_of(str(k), w.shape) for k, w in enumerate(weights)]
    slots = [{n: np.full(w.shape, first, np.float32) for n, first in ours.slots().items()} for w in weights]
    scratch = [[np.empty_like(w) for _ in range(ours.scratches)] for w in weights]
    current = ours.learning_rate if isinstance(ours.learning_rate, float) else 0.0
    for iteration, whole in enumerate(grads):
        flat = [g.reshape(w.shape).copy() for g, w in zip(whole, weights, strict=True)]
        ours.prepare(flat, [s[ACCUMULATOR] for s in slots if ACCUMULATOR in s], iteration)
        rate = ours.rate(iteration, current)
        for rule, *arrays in zip(rules, weights, flat, slots, scratch, strict=True):
            rule.advance(*arrays, iteration, rate)
    return weights, slots


@pytest.mark.parametrize(
    ("name", "rule", "options"),
    PLAIN + WITH_OPTIONS + ACCUMULATING,
    ids=lambda p: p if isinstance(p, str) else ",".join(p) or "default",
)
def test_weights_and_slots_are_keras_s(name: str, rule: dict[str, Any], options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    config = {**rule, **options}
    ours, theirs = Optimizer.parse({"type": name, **config}), keras_optimizer(name, config)
    start = [rng.normal(size=s).astype(np.float32) for s in SHAPES]
    grads = [gradients(rng) for _ in range(STEPS)]
    weights, slots = ours_runs(ours, start, grads)
    scale = np.float32(theirs.loss_scale_factor or 1)  # Keras gets the gradients of the scaled loss
    expected, state = keras_runs(theirs, start, [[g * scale for g in whole] for whole in grads])
    for w, v in zip(weights, expected, strict=True):
        np.testing.assert_allclose(w.reshape(-1), np.asarray(v).reshape(-1), rtol=1e-6, atol=5e-7)
    saved = [np.asarray(v) for v in state][1 if "learning_rate" in options else 2 :]
    order = list(ours.variables({str(k): s for k, s in enumerate(SHAPES)}))
    totals = list(ours.totals(STEPS).values())
    assert len(order) + len(totals) == len(saved)
    for (slot, path, shape), value in zip(order, saved, strict=False):
        assert value.shape == shape
        kept = slots[int(path)][slot].reshape(-1)[: value.size]
        np.testing.assert_allclose(kept, value.reshape(-1), rtol=2e-6, atol=5e-7, err_msg=slot)
    np.testing.assert_allclose(totals, saved[len(order) :], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_names_defaults_and_identifiers_are_keras_s() -> None:
    for name, member in Optimizer.members.items():
        config = getattr(keras.optimizers, name)().get_config()
        ours = member().dump()
        assert Optimizer.find(name.lower()) is member
        assert float(np.float32(ours.pop("learning_rate"))) == config.pop("learning_rate")
        assert {k: v for k, v in ours.items() if k != "type"} == {**config, "name": None}
        slots = [v.name for v in built(name).variables][2:]
        numbers = [n for n in slots if n.startswith("variable")]
        own = [s for s, _, _ in member().variables({"w": (2,)})]
        if name == "Adafactor":  # Keras leaves the slots of rows and columns without a name
            own[:2] = "w", "w"
        assert [*own, *numbers] == [n.removeprefix("w_") for n in slots]
        assert len(member().totals(0)) == len(numbers)


def built(name: str) -> Any:
    optimizer = getattr(keras.optimizers, name)()
    optimizer.build([keras.Variable(np.zeros(2, np.float32), name="w")])
    return optimizer
