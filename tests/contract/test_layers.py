"""What every layer must satisfy, enumerated from the registry and each layer's examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kerascli.component import Example
from kerascli.docs import sentences
from kerascli.layer import Context, Layer
from kerascli.ops.ir import Array, ShapeError, Value
from tests.gradients import check
from tests.layer_cases import cases, layers, prepared, run, samples, weights


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("member", "example"), cases())
def test_shapes_are_as_inferred_and_float32_stays(member: type[Layer], example: Example, training: bool) -> None:
    layer = member.parse({"type": member.__name__, **example.config})
    xs = samples(example, dtype=np.float32)
    result = run(layer, xs, weights(layer, example.inputs), training)
    assert result.y.shape == (len(xs[0]), *layer.infer_shape(*example.inputs))
    kind = layer.infer_dtype(*("float" if x.dtype.kind == "f" else x.dtype.name for x in xs))
    assert result.y.dtype == (np.float32 if kind == "float" else kind)
    assert all(u.dtype == np.float32 for u in result.updates.values())


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("member", "example"), cases())
def test_derivatives_agree_with_finite_differences(member: type[Layer], example: Example, training: bool) -> None:
    layer = member.parse({"type": member.__name__, **example.config})
    xs = {f"x{k}": x for k, x in enumerate(samples(example))}
    specs = layer.declare(*example.inputs)
    w = {k: a.astype(np.float64) for k, a in weights(layer, example.inputs).items() if a.dtype.kind == "f"}
    fixed = [spec.name for spec in specs if not spec.trainable]
    floats = [k for k, x in xs.items() if x.dtype.kind == "f"]
    if not floats and len(fixed) == len(specs):
        pytest.skip("nothing to differentiate")
    if member.__name__ == "Discretization":
        pytest.skip("no gradient goes through steps")
    if training and member.__name__ == "SpectralNormalization":
        pytest.skip("its gradient is that of the kernel that takes the kernel's place; see tests/parity")
    if training and example.config.get("renorm"):
        pytest.skip("no gradient goes through renormalisation's corrections; tests/parity compares with Keras's")
    own = {key: array for key, array in w.items() if key in {spec.name for spec in specs}}

    def build(**values: Value) -> Value:
        inputs = [values[k] for k in xs]
        context = Context(inputs[0].trace, training, (None,) * len(inputs), "layer", {}, [])
        return layer.call(context, {name: values[name] for name in own}, *prepared(layer, inputs))

    check(build, xs, own, constants=fixed)


@pytest.mark.parametrize(("member", "example"), cases())
def test_a_layer_written_out_loads_again(member: type[Layer], example: Example) -> None:
    layer = Layer.parse({"type": member.__name__, **example.config})
    assert Layer.parse(layer.dump()) == layer


@pytest.mark.parametrize(("member", "example"), cases())
def test_samples_do_not_mix_in_inference(member: type[Layer], example: Example) -> None:
    layer = member.parse({"type": member.__name__, **example.config})
    xs, w = samples(example, dtype=np.float32), weights(layer, example.inputs)
    whole = run(layer, xs, w).y
    parts = [run(layer, [x[k : k + 2] for x in xs], w).y for k in (0, 2)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("member", layers())
def test_every_layer_has_examples_and_every_field_a_sentence(member: type[Layer]) -> None:
    assert len(member.examples) >= 2
    assert member.__doc__
    assert set(sentences(member)) >= set(member.model_fields)


SHAPE_ERRORS: list[tuple[dict[str, Any], list[tuple[int, ...]], str]] = [
    (
        {"type": "Conv2D", "filters": 2, "kernel_size": 3},
        [(28, 28)],
        "3 axes (height, width, channels), found 2",
    ),
    ({"type": "Conv2D", "filters": 2, "kernel_size": 5}, [(4, 9, 1)], "a window of 5 does not fit into 4 inputs"),
    (
        {"type": "Conv2D", "filters": 2, "kernel_size": 1, "groups": 2},
        [(4, 4, 3)],
        "3 channels do not divide into 2 groups",
    ),
    ({"type": "DepthwiseConv2D", "kernel_size": 5}, [(4, 9, 1)], "a window of 5 does not fit into 4 inputs"),
    (
        {"type": "Conv2DTranspose", "filters": 2, "kernel_size": 5},
        [(4, 9)],
        "3 axes (height, width, channels), found 2",
    ),
    ({"type": "MaxPooling3D"}, [(1, 4, 4, 2)], "a window of 2 does not fit into 1 inputs"),
    ({"type": "Cropping1D", "cropping": 2}, [(4, 1)], "nothing is left of (4, 1)"),
    ({"type": "PReLU", "shared_axes": 3}, [(4, 1)], "axis 3 is not one of the 2 axes"),
    ({"type": "Dot", "axes": 1}, [(3, 4), (4, 3)], "axis 1 of (3, 4) and axis 1 of (4, 3) differ in length"),
    ({"type": "Subtract"}, [(3,), (3,), (3,)], "expected 2 inputs, found 3"),
    ({"type": "GroupNormalization", "groups": 4}, [(5, 6)], "6 channels do not divide into 4 groups"),
    ({"type": "RMSNormalization", "axis": 1}, [(5, 6)], "is not the end of a sample (5, 6)"),
    ({"type": "EinsumDense", "equation": "ab,bc->ac", "output_shape": 3}, [(5, 6)], "does not fit samples of 2 axes"),
    (
        {"type": "EinsumDense", "equation": "abc,cd->abd", "output_shape": [4, 3]},
        [(5, 6)],
        "axis b is 5 long in the input, 4 in `output_shape`",
    ),
    ({"type": "MaxPooling2D"}, [(1, 4, 2)], "a window of 2 does not fit into 1 inputs"),
    ({"type": "Reshape", "target_shape": [5, -1]}, [(12,)], "expected 5 numbers"),
    ({"type": "Permute", "dims": [2, 1]}, [(2, 3, 4)], "expected samples of 2 axes"),
    ({"type": "Add"}, [(2, 3), (2, 4)], "expected inputs of one shape, found (2, 3) and (2, 4)"),
    ({"type": "Concatenate"}, [(2, 3), (3, 3)], "differ along axis -1 only"),
    ({"type": "BatchNormalization", "axis": 3}, [(2, 3)], "axis 3 is not one of the 2 axes"),
    ({"type": "LayerNormalization", "axis": 0}, [(2, 3)], "axis 0 is not one of the 2 axes"),
    ({"type": "Dropout", "rate": 0.5, "noise_shape": [None, 2]}, [(3,)], "does not broadcast"),
    ({"type": "Activation", "activation": "glu"}, [(3,)], "cannot halve"),
]


@pytest.mark.parametrize(
    ("config", "shapes", "message"), SHAPE_ERRORS, ids=[str(c["type"]) for c, _, _ in SHAPE_ERRORS]
)
def test_shapes_that_do_not_fit_are_refused_with_both_sides(config: Any, shapes: Any, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        Layer.parse(config).infer_shape(*shapes)
    assert message in str(caught.value)


ARGUMENT_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"type": "Conv2D", "filters": 2, "kernel_size": 3, "data_format": "first"}, "'channels_last' or 'channels_first'"),
    ({"type": "Conv2D", "filters": 3, "kernel_size": 3, "groups": 2}, "must be a multiple of `groups`"),
    ({"type": "Conv2D", "filters": 3, "kernel_size": 0}, "must be at least 1"),
    ({"type": "Conv2D", "filters": 3, "kernel_size": 3, "strides": 2, "dilation_rate": 2}, "not both"),
    ({"type": "Conv2D", "filters": 3, "kernel_size": 3, "padding": "causal"}, "'valid' or 'same'"),
    ({"type": "Conv2DTranspose", "filters": 3, "kernel_size": 3, "output_padding": 1}, "less than `strides`"),
    ({"type": "Conv1DTranspose", "filters": 3, "kernel_size": 3, "output_padding": -1}, "must not be negative"),
    ({"type": "DepthwiseConv1D", "kernel_size": 3, "padding": "causal"}, "'valid' or 'same'"),
    ({"type": "Cropping2D", "cropping": [[0, -1], [0, 0]]}, "must not be negative"),
    ({"type": "UpSampling1D", "size": 0}, "greater than or equal to 1"),
    ({"type": "GroupNormalization", "groups": 0}, "at least 1, or -1"),
    ({"type": "EinsumDense", "equation": "ab,bc,ac", "output_shape": 3}, "must look like"),
    ({"type": "EinsumDense", "equation": "ab,bc->ad", "output_shape": 3}, "does not name each axis"),
    ({"type": "Dense", "units": 2.5}, "valid integer"),
    ({"type": "Dense", "units": 0}, "greater than or equal to 1"),
    ({"type": "Dropout", "rate": 1.5}, "less than or equal to 1"),
    ({"type": "Normalization", "mean": 1.0}, "both `mean` and `variance`"),
    ({"type": "Permute", "dims": [0, 1]}, "once"),
]


@pytest.mark.parametrize(("config", "message"), ARGUMENT_ERRORS)
def test_wrong_arguments_are_refused(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layer.parse(config)


def test_a_batch_normalization_that_is_not_trained_uses_its_averages() -> None:
    layer = Layer.parse({"type": "BatchNormalization", "trainable": False})
    (x,), w = samples(Example(inputs=((3, 2),)), dtype=np.float32), weights(layer, ((3, 2),))
    training = run(layer, [x], w, training=True)
    assert not training.updates
    assert np.array_equal(training.y, run(layer, [x], w).y)


DISTURBING: list[dict[str, Any]] = [
    {"type": "Dropout", "rate": 0.5},
    {"type": "GaussianNoise", "stddev": 0.5},
    {"type": "GaussianDropout", "rate": 0.2},
]


@pytest.mark.parametrize("config", DISTURBING)
def test_random_layers_disturb_training_only(config: Any) -> None:
    layer = Layer.parse(config)
    x = np.ones((50, 40), np.float32)
    assert np.array_equal(run(layer, [x], {}).y, x)
    disturbed = run(layer, [x], {}, training=True).y
    assert abs(disturbed.mean() - 1) < 0.1
    assert disturbed.std() > 0.3


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    layer = Layer.parse({"type": "AlphaDropout", "rate": 0.3})
    x = np.random.default_rng(0).standard_normal((100, 400)).astype(np.float32)
    assert np.array_equal(run(layer, [x], {}).y, x)
    y = run(layer, [x], {}, training=True).y
    assert abs(y.mean()) < 0.02
    assert abs(y.std() - 1) < 0.02
    assert 0.28 < (y == _most_frequent(y)).mean() < 0.32


def test_alpha_dropout_drops_together_what_its_noise_shape_joins() -> None:
    layer = Layer.parse({"type": "AlphaDropout", "rate": 0.5, "noise_shape": [None, 1, 40]})
    y = run(layer, [np.ones((9, 3, 40), np.float32)], {}, training=True).y
    assert (y == y[:, :1]).all()
    assert len(np.unique(y)) == 2


def _most_frequent(x: Array) -> Any:
    values, counts = np.unique(x, return_counts=True)
    return values[counts.argmax()]


def test_spatial_dropout_drops_whole_channels() -> None:
    for name, shape in (
        ("SpatialDropout1D", (6, 30)),
        ("SpatialDropout2D", (2, 3, 30)),
        ("SpatialDropout3D", (2, 1, 3, 30)),
    ):
        y = run(Layer.parse({"type": name, "rate": 0.4}), [np.ones((20, *shape), np.float32)], {}, training=True).y
        flat = y.reshape(20, -1, 30)
        assert (flat == flat[:, :1]).all()
        assert set(np.unique(flat)) == {np.float32(0), np.float32(1 / 0.6)}
        assert 0.3 < (flat == 0).mean() < 0.5


def test_dropout_with_a_mask_for_all_samples_drops_the_same_numbers_of_each() -> None:
    layer = Layer.parse({"type": "Dropout", "rate": 0.5, "noise_shape": [1, 40]})
    y = run(layer, [np.ones((9, 40), np.float32)], {}, training=True).y
    assert (y == y[:1]).all()
    assert 0 < (y == 0).mean() < 1
