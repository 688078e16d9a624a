"""Every layer example gives live Keras's numbers: outputs, averages, penalties, masks, and gradients where need be."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from kerascli.component import Example
from kerascli.keras_config import layer as keras_config
from kerascli.keras_graph import AUGMENTING, RANDOM
from kerascli.layer import Context, Layer
from kerascli.layers.preprocessing import Normalization
from kerascli.left_out import ARGUMENTS
from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Weight
from kerascli.ops.reduction import weighted_sum
from kerascli.program.differentiate import gradients
from kerascli.program.interpret import evaluate
from tests.layer_cases import cases, run, samples, weights

keras = pytest.importorskip("keras")


ALONE = {"SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"}
ALONE |= {"Attention", "AdditiveAttention", "MultiHeadAttention", "GroupQueryAttention"}
"""These have parity tests of their own."""
CASES = [case for case in cases() if case.values[0].__name__ not in ALONE]


def close(ours: Any, theirs: Any, name: str = "output") -> None:
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=2e-5, atol=2e-6, err_msg=name)


def twin(layer: Layer, example: Example, w: dict[str, Array]) -> Any:
    """Keras's layer with the same arguments and weights."""
    config = keras_config(layer, "layer", example.inputs)
    made = keras.saving.deserialize_keras_object(config)
    if not made.built:
        shapes = [(None, *shape) for shape in example.inputs]
        made.build(shapes if len(shapes) > 1 else shapes[0])
    made.set_weights(list(w.values()))
    if isinstance(made, keras.layers.Normalization):
        made.finalize_state()
    return made


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("member", "example"), CASES)
def test_layer_equals_keras(member: type[Layer], example: Example, training: bool) -> None:
    if training and member.__name__ in RANDOM:
        pytest.skip("random numbers differ from Keras's")
    if member.__name__ in {*AUGMENTING, "Equalization", "ContrastLimitedAdaptiveHistogramEqualization"}:
        pytest.skip("test_image.py compares it with Keras, draw by draw")
    layer = member.parse({"type": member.__name__, **example.config})
    xs, w = samples(example, dtype=np.float32), weights(layer, example.inputs)
    theirs = twin(layer, example, w)
    several = len(xs) > 1
    said = {key: value for key in layer.call_arguments if (value := getattr(layer, key))}
    expected = theirs(xs if several else xs[0], **({"training": training} if has_training(theirs) else {}), **said)
    got = run(layer, xs, w, training)
    close(got.y, expected)
    after = dict(zip(w, theirs.get_weights(), strict=True))
    for name, value in got.updates.items():
        close(value, after[name], name)
    kept = set(after) - set(got.updates)
    assert all(np.array_equal(after[name], w[name]) for name in kept)
    activity = getattr(layer, "activity_regularizer", None)
    if activity is not None:
        penalty = float(theirs.activity_regularizer(expected)) / len(xs[0])
        np.testing.assert_allclose(got.penalty, penalty, rtol=1e-5)


def has_training(layer: Any) -> bool:
    return "training" in layer.call_signature_parameters if hasattr(layer, "call_signature_parameters") else False


@pytest.mark.parametrize(("member", "example"), CASES)
def test_regularizers_of_weights_are_those_of_keras(member: type[Layer], example: Example) -> None:
    layer = member.parse({"type": member.__name__, **example.config})
    specs = [spec for spec in layer.declare(*example.inputs) if spec.regularizer is not None and spec.trainable]
    if not specs:
        pytest.skip("no regularizer")
    w = weights(layer, example.inputs)
    trace = Trace()
    total = 0.0
    for spec in specs:
        assert spec.regularizer is not None
        value = spec.regularizer.penalty(trace.add(Weight(spec.name, spec.shape), scope=Scope.WEIGHT))
        total += float(evaluate([value], w, 1)[0])
    np.testing.assert_allclose(total, float(sum(twin(layer, example, w).losses)), rtol=1e-5)


@pytest.mark.parametrize(("member", "example"), CASES)
def test_weights_are_declared_in_keras_order_with_keras_rules(member: type[Layer], example: Example) -> None:
    layer = member.parse({"type": member.__name__, **example.config})
    w = weights(layer, example.inputs)
    theirs = twin(layer, example, w).weights
    ours = layer.declare(*example.inputs)
    assert [tuple(v.shape) for v in theirs] == [spec.shape for spec in ours]
    assert [v.trainable for v in theirs] == [spec.trainable for spec in ours]
    assert [v.name for v in theirs] == [spec.name for spec in ours]


def test_renormalisation_has_keras_gradient() -> None:
    jax = pytest.importorskip("jax")
    (example,) = [e for e in (Layer.find("BatchNormalization") or Layer).examples if e.config.get("renorm")]
    layer = Layer.parse({"type": "BatchNormalization", **example.config})
    (x,), w = samples(example, dtype=np.float32), weights(layer, example.inputs)
    r = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    theirs = twin(layer, example, w)
    start = [v.value for v in theirs.trainable_variables], [v.value for v in theirs.non_trainable_variables]

    def loss(x: Any, gamma: Any, beta: Any) -> Any:
        y, _ = theirs.stateless_call([gamma, beta], start[1], x, training=True)
        return (y * r).sum()

    expected = jax.grad(loss, argnums=(0, 1, 2))(x, *start[0])
    trace = Trace()
    value = trace.add(Input("x", Type(x.shape[1:])), scope=Scope.BLOCK)
    factor = trace.add(Input("r", Type(x.shape[1:])), scope=Scope.BLOCK)
    own = {n: trace.add(Weight(n, a.shape), scope=Scope.WEIGHT) for n, a in w.items()}
    y = layer.call(Context(trace, True, (None,), "layer", {}, []), own, value)
    wrt = [value, own["gamma"], own["beta"]]
    found = gradients(weighted_sum(y, factor), wrt)
    feeds = {"x": x, "r": r, "inverse_batch": np.array(1 / len(x)), **w}
    for ours, keras_gradient in zip(evaluate([found[v] for v in wrt], feeds, len(x)), expected, strict=True):
        np.testing.assert_allclose(ours, np.asarray(keras_gradient), rtol=2e-4, atol=2e-4)


MASK = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
MASKED: list[tuple[dict[str, Any], bool]] = [
    ({"type": "GlobalAveragePooling1D"}, False),
    ({"type": "GlobalAveragePooling1D", "keepdims": True}, False),
    ({"type": "GlobalMaxPooling1D"}, False),
    ({"type": "BatchNormalization"}, False),
    ({"type": "BatchNormalization"}, True),
    ({"type": "LayerNormalization"}, False),
    ({"type": "Dense", "units": 2}, False),
    ({"type": "Activation", "activation": "tanh"}, False),
    ({"type": "Dropout", "rate": 0.5}, False),
    ({"type": "Conv1D", "filters": 2, "kernel_size": 2}, False),
    ({"type": "Flatten"}, False),
    ({"type": "Masking"}, False),
    ({"type": "Identity"}, False),
    ({"type": "PReLU"}, False),
    ({"type": "ELU"}, False),
    ({"type": "ActivityRegularization"}, False),
    ({"type": "UnitNormalization"}, False),
    ({"type": "GroupNormalization", "groups": 3}, False),
    ({"type": "RMSNormalization"}, False),
    ({"type": "GaussianDropout", "rate": 0.5}, False),
    ({"type": "AlphaDropout", "rate": 0.5}, False),
    ({"type": "EinsumDense", "equation": "abc,cd->abd", "output_shape": [5, 2]}, False),
    ({"type": "Cropping1D"}, False),
    ({"type": "ZeroPadding1D"}, False),
    ({"type": "UpSampling1D"}, False),
]


@pytest.mark.parametrize(("config", "training"), MASKED, ids=[f"{c['type']}-{t}" for c, t in MASKED])
@pytest.mark.filterwarnings("ignore:.*does not support masking")
@pytest.mark.filterwarnings("ignore:.*mask will be destroyed")
def test_masks_are_used_and_passed_on_as_in_keras(config: dict[str, Any], training: bool) -> None:
    layer = Layer.parse(config)
    x = np.random.default_rng(2).standard_normal((4, 5, 3)).astype(np.float32)
    w = weights(layer, ((5, 3),))
    theirs = twin(layer, Example(inputs=((5, 3),)), w)
    given = keras.ops.convert_to_tensor(x)
    keras.src.backend.set_keras_mask(given, keras.ops.convert_to_tensor(MASK))
    expected = theirs(given, **({"training": training} if has_training(theirs) else {}))
    got = run(layer, [x], w, training, masks=(MASK,))
    close(got.y, expected)
    mask = keras.src.backend.get_keras_mask(expected)
    assert (got.mask is None) == (mask is None)
    if got.mask is not None:
        assert np.array_equal(got.mask, np.asarray(mask))
    after = dict(zip(w, theirs.get_weights(), strict=True))
    for name, value in got.updates.items():
        close(value, after[name], name)


@pytest.mark.parametrize(
    ("config", "masks"),
    [
        ({"type": "Add"}, (MASK, ~MASK)),
        ({"type": "Add"}, (MASK, None)),
        ({"type": "Subtract"}, (MASK, ~MASK)),
        ({"type": "Average"}, (None, MASK)),
        ({"type": "Dot", "axes": 2}, (MASK, MASK)),
        ({"type": "Concatenate"}, (MASK, MASK[::-1])),
        ({"type": "Concatenate", "axis": 1}, (MASK, None)),
        ({"type": "Concatenate", "axis": 1}, (MASK, ~MASK)),
    ],
)
def test_masks_of_merged_inputs_are_those_of_keras(config: dict[str, Any], masks: tuple[Array | None, ...]) -> None:
    layer = Layer.parse(config)
    rng = np.random.default_rng(3)
    xs = [rng.standard_normal((4, 5, 3)).astype(np.float32) for _ in masks]
    theirs = twin(layer, Example(inputs=((5, 3), (5, 3))), {})
    expected = theirs.compute_mask(xs, [None if m is None else keras.ops.convert_to_tensor(m) for m in masks])
    got = run(layer, xs, {}, masks=masks)
    assert (got.mask is None) == (expected is None)
    if got.mask is not None:
        assert np.array_equal(got.mask, np.asarray(expected))


@pytest.mark.parametrize("kind", ["Multiply", "Maximum", "Minimum", "Add", "Average"])
@pytest.mark.parametrize(
    "masks",
    [(MASK, ~MASK), (MASK, None), (None, MASK), (MASK, MASK[::-1], ~MASK)],
    ids=["both", "one", "other", "three"],
)
def test_merged_numbers_heed_masks_as_in_keras(kind: str, masks: tuple[Array | None, ...]) -> None:
    layer = Layer.parse({"type": kind})
    rng = np.random.default_rng(3)
    xs = [rng.standard_normal((4, 5, 3)).astype(np.float32) for _ in masks]
    given = [keras.ops.convert_to_tensor(x) for x in xs]
    for x, mask in zip(given, masks, strict=True):
        if mask is not None:
            keras.src.backend.set_keras_mask(x, keras.ops.convert_to_tensor(mask))
    expected = twin(layer, Example(inputs=((5, 3),) * len(xs)), {})(given)
    got = run(layer, xs, {}, masks=masks)
    close(got.y, expected)
    mask = keras.src.backend.get_keras_mask(expected)
    assert (got.mask is None) == (mask is None)
    if got.mask is not None:
        assert np.array_equal(got.mask, np.asarray(mask))


def test_embedding_masks_zero_as_keras_does() -> None:
    layer = Layer.parse({"type": "Embedding", "input_dim": 5, "output_dim": 2, "mask_zero": True})
    ids = np.array([[0, 1, 4], [3, 0, 0]], np.int32)
    w = weights(layer, ((3,),))
    theirs = twin(layer, Example(inputs=((3,),)), w)
    got = run(layer, [ids], w)
    np.testing.assert_array_equal(got.y, np.asarray(theirs(ids)))
    np.testing.assert_array_equal(got.mask, np.asarray(theirs.compute_mask(ids)))


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), None])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_normalization_adapts_as_keras_does(axis: Any, dtype: Any) -> None:
    x = (np.random.default_rng(4).random((50, 3, 4)) * 200 + np.arange(4) * 10).astype(dtype)
    theirs = keras.layers.Normalization(axis=axis)
    theirs.adapt(x)
    layer = Normalization(axis=axis)
    found = layer.adapt(iter([x[:7], x[7:7], x[7:30], x[30:]]))
    for name, expected in zip(("mean", "variance", "count"), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, err_msg=name)
        assert found[name].shape == expected.shape
    assert [spec.shape for spec in layer.declare((3, 4))] == [a.shape for a in found.values()]


def test_every_argument_of_keras_is_there_with_its_default() -> None:
    for member in {case.values[0] for case in CASES}:
        theirs = getattr(keras.layers, member.__name__)
        signature = list(inspect.signature(theirs.__init__).parameters.values())[1:]
        arguments = {p.name: p.default for p in signature if p.name not in {*ARGUMENTS, "kwargs", "name"}}
        fields = {k: f for k, f in member.model_fields.items() if k not in ("name", "inputs", "trainable")}
        for name, default in arguments.items():
            if isinstance(default, (int, float, bool)) and not isinstance(fields[name].default, tuple):
                assert fields[name].default == default, f"{member.__name__}.{name}"
