"""Layers for images draw as Keras draws, and make of the same draws what Keras makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pytest

from kerascli.keras_config import layer as keras_config
from kerascli.layer import Context, Layer
from kerascli.ops.image_choice import Choice
from kerascli.ops.image_random import MixingWeights, Uniform, WholeUniform
from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Value
from kerascli.ops.random import Noise, _Random
from kerascli.program.interpret import evaluate
from tests.layer_cases import run

keras = pytest.importorskip("keras")

ROWS, SEED = 6, 5
Config = dict[str, Any]


@dataclass
class Draw:
    """One set of random numbers: how it was drawn, and what came out."""

    op: Any
    numbers: Array


@dataclass
class Ours:
    """What our layer made of images in training, and the draws that it made it with, in order."""

    y: Array
    draws: list[Draw]


def augmented(config: Config, x: Array, step: int = 0) -> Ours:
    trace = Trace()
    image = trace.add(Input("x", Type(x.shape[1:])), scope=Scope.BLOCK)
    y = Layer.parse(config).call(Context(trace, True, (None,), "layer", {}, []), {}, image)
    drawn = [v for v in trace.values if isinstance(v.op, (_Random, MixingWeights))]
    found = evaluate([y, *drawn], {"x": x}, len(x), np.float32, SEED, step)
    return Ours(found[0], [Draw(v.op, a) for v, a in zip(drawn, found[1:], strict=True)])


def made_in_keras(config: Config, shape: tuple[int, ...]) -> Any:
    found = keras.saving.deserialize_keras_object(keras_config(Layer.parse(config), "layer", (shape,)))
    return found


class Puppet:
    """Stands in for Keras's random numbers: gives out ours, and looks that Keras asks for such ones."""

    def __init__(self, draws: list[Draw]) -> None:
        self.waiting: Iterator[Draw] = iter(draws)

    def uniform(self, shape: Any, minval: float = 0.0, maxval: float = 1.0, **_: Any) -> Any:
        draw = next(self.waiting)
        assert isinstance(draw.op, Uniform)
        if isinstance(draw.op, WholeUniform):  # Keras makes whole numbers of others, where we draw them
            assert (draw.op.low, draw.op.high) == (minval, maxval)
        else:
            np.testing.assert_allclose((draw.op.low, draw.op.high), (minval, maxval), rtol=1e-6)
        return self.given(draw, shape)

    def randint(self, shape: Any, minval: int, maxval: int, dtype: str = "int32", **_: Any) -> Any:
        draw = next(self.waiting)
        assert isinstance(draw.op, WholeUniform) and (draw.op.low, draw.op.high) == (minval, maxval)
        return self.given(draw, shape).astype(dtype)

    def normal(self, shape: Any, **_: Any) -> Any:
        draw = next(self.waiting)
        assert isinstance(draw.op, Noise)
        return self.given(draw, shape)

    def given(self, draw: Draw, shape: Any) -> Any:
        shape = tuple(shape)
        assert prod(shape) == draw.numbers.size, f"Keras draws {shape}, we draw {draw.numbers.shape}"
        assert bool(shape and shape[0] == ROWS) != draw.op.shared, "one draw for each image, or one for all"
        return keras.ops.reshape(keras.ops.convert_to_tensor(draw.numbers), shape)


def keras_with(draws: list[Draw], config: Config, x: Array, monkeypatch: pytest.MonkeyPatch) -> Array:
    """Keras's layer on the same images, made to draw our numbers."""
    theirs, puppet = made_in_keras(config, x.shape[1:]), Puppet(draws)
    for name in ("uniform", "randint", "normal"):
        monkeypatch.setattr(theirs.backend.random, name, getattr(puppet, name))
    transformation = theirs.get_random_transformation(keras.ops.convert_to_tensor(x), training=True)
    found = theirs.transform_images(keras.ops.convert_to_tensor(x), transformation, training=True)
    assert next(puppet.waiting, None) is None, "Keras draws less"
    return np.asarray(found)


def images(*shape: int, seed: int = 0) -> Array:
    """Values 0…255 with fractions, some of them equal."""
    x = np.random.default_rng(seed).uniform(0, 255, (ROWS, *shape)).astype(np.float32)
    return np.where(x < 20, np.float32(0), x)


def close(ours: Array, theirs: Any, tolerance: float = 1e-5) -> None:
    theirs = np.asarray(theirs)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=255 * tolerance)


WARPS = [
    (kind, {"fill_mode": fill, "interpolation": interpolation, "fill_value": 77.0})
    for kind in (
        {"type": "RandomTranslation", "height_factor": [-1.0, 0.3], "width_factor": 0.9},
        {"type": "RandomZoom", "height_factor": [-0.7, 1.0], "width_factor": 0.5},
        {"type": "RandomRotation", "factor": 0.5},
        {"type": "RandomShear", "x_factor": [0.1, 1.0], "y_factor": [0.0, 0.9]},
    )
    for fill in ("reflect", "wrap", "constant", "nearest")
    for interpolation in ("bilinear", "nearest")[: 1 + (fill == "constant")]
]
DRAWING: list[Config] = [
    *({**kind, **how} for kind, how in WARPS),
    {"type": "RandomZoom", "height_factor": 0.4},
    {"type": "RandomRotation", "factor": [0.1, 0.9]},
    {"type": "RandomFlip"},
    {"type": "RandomFlip", "mode": "horizontal"},
    {"type": "RandomFlip", "mode": "vertical"},
    {"type": "RandomPerspective"},
    {"type": "RandomPerspective", "factor": [0.2, 0.8], "scale": 0.4, "fill_value": 200.0, "interpolation": "nearest"},
    {"type": "RandomErasing"},
    {"type": "RandomErasing", "factor": [0.5, 1.0], "scale": [0.3, 0.9], "fill_value": 300.0},
    {"type": "RandomContrast", "factor": 0.9},
    {"type": "RandomContrast", "factor": [0.8, 0.3], "value_range": [50, 150]},
    {"type": "RandomBrightness", "factor": 0.6},
    {"type": "RandomBrightness", "factor": [0.1, 0.4], "value_range": [10, 200]},
    {"type": "RandomHue", "factor": 1.0},
    {"type": "RandomHue", "factor": [0.2, 0.4], "value_range": [0, 256]},
    {"type": "RandomSaturation", "factor": 0.7},
    {"type": "RandomSaturation", "factor": [0.3, 1.0]},
    {"type": "RandomColorDegeneration", "factor": 0.9},
    {"type": "RandomColorDegeneration", "factor": [0.1, 0.4]},
    {"type": "RandomGrayscale", "factor": 0.4},
    {"type": "RandomGaussianBlur"},
    {"type": "RandomGaussianBlur", "factor": [0.4, 0.8], "kernel_size": [3, 5], "sigma": [0.3, 0.9]},
    {"type": "RandomSharpness", "factor": 1.0},
    {"type": "RandomSharpness", "factor": [0.3, 0.6], "value_range": [0, 100]},
    {"type": "RandomInvert"},
    {"type": "RandomInvert", "factor": [0.3, 0.7], "value_range": [0, 300]},
    {"type": "RandomPosterization", "factor": 8},
    {"type": "RandomPosterization", "factor": [2, 5], "value_range": [-10, 260]},
    {"type": "Solarization", "addition_factor": 0.5, "threshold_factor": 0.9},
    {"type": "Solarization", "addition_factor": [0.1, 0.2], "threshold_factor": [0.4, 0.8], "value_range": [0, 300]},
    {"type": "RandomCrop", "height": 5, "width": 4, "seed": 1},
]


FIRST = {config["type"]: {**config, "data_format": "channels_first"} for config in DRAWING}
"""One of each kind, with channels in the first axis."""
MOVED = [FIRST[kind] for kind in ("RandomRotation", "RandomContrast", "RandomErasing", "RandomGaussianBlur")]


@pytest.mark.parametrize("config", [*DRAWING, *MOVED], ids=lambda c: "-".join(str(v) for v in c.values()))
def test_keras_makes_the_same_of_our_draws(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(8, 11, 3)
    if "data_format" in config:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    ours = augmented(config, x)
    assert config["type"] == "RandomCrop" or not np.array_equal(ours.y, x)
    close(ours.y, keras_with(ours.draws, config, x, monkeypatch))


ELASTIC = [
    {"factor": [0.6, 1.0], "scale": [0.9, 1.0], "fill_mode": "mirror"},
    {"scale": [0.8, 1.0], "interpolation": "nearest", "fill_mode": "wrap"},
    {"scale": 0.9, "fill_mode": "constant", "fill_value": 50.0, "value_range": [10, 200]},
]


@pytest.mark.parametrize("arguments", ELASTIC)
def test_elastic_transform_of_keras_makes_the_same_of_our_draws(
    arguments: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jax

    config, x = {"type": "RandomElasticTransform", **arguments}, images(40, 36, 2)
    ours = augmented(config, x)
    *draws, noise = ours.draws
    monkeypatch.setattr(jax.random, "normal", lambda *_, **__: noise.numbers[..., 0])
    assert np.abs(ours.y - x).mean() > 0.5
    close(ours.y, keras_with(draws, config, x, monkeypatch))


def test_colour_jitter_is_keras_chain_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"type": "RandomColorJitter", "brightness_factor": 0.3, "contrast_factor": 0.4}
    config |= {"saturation_factor": [0.3, 0.7], "hue_factor": 0.5}
    x = images(5, 6, 3)
    ours = augmented(config, x)
    theirs, puppet = made_in_keras(config, x.shape[1:]), Puppet(ours.draws)
    monkeypatch.setattr(theirs.backend.random, "uniform", puppet.uniform)
    close(ours.y, theirs.transform_images(keras.ops.convert_to_tensor(x), None, training=True), 2e-5)


CLAHE = {"type": "ContrastLimitedAdaptiveHistogramEqualization"}
DETERMINISTIC: list[tuple[Config, Array]] = [
    ({"type": "AutoContrast"}, images(9, 8, 3) / 3 + 30),
    ({"type": "AutoContrast", "value_range": [0, 1]}, images(9, 8, 3) / 400),
    ({"type": "AutoContrast"}, np.full((2, 4, 4, 1), 7, np.float32)),
    ({**CLAHE, "tile_grid_size": [2, 4], "value_range": [0, 1], "clip_limit": 1.5}, images(9, 15, 2) / 255),
]


@pytest.mark.parametrize(("config", "x"), DETERMINISTIC, ids=[c["type"] for c, _ in DETERMINISTIC])
def test_levels_are_stretched_and_spread_as_in_keras(config: Config, x: Array) -> None:
    theirs = made_in_keras(config, x.shape[1:])
    close(augmented(config, x).y, theirs.transform_images(keras.ops.convert_to_tensor(x), None, training=True))


EQUALIZED: list[tuple[Config, Array]] = [
    ({}, images(9, 8, 1)[:1]),
    ({"bins": 16, "value_range": [0, 300]}, np.floor(images(9, 8, 2))),
    ({"bins": 16}, np.full((1, 4, 4, 1), 7, np.float32)),
]


@pytest.mark.parametrize(("arguments", "x"), EQUALIZED, ids=["256 bins", "16 bins", "one level"])
def test_each_image_is_equalized_as_keras_equalizes_it_alone(arguments: Config, x: Array) -> None:
    config = {"type": "Equalization", **arguments}
    close(augmented(config, x).y, one_by_one(made_in_keras(config, x.shape[1:]), x))


def one_by_one(theirs: Any, x: Array) -> Array:
    """Keras makes one histogram of a whole batch; so it is given images alone."""
    return np.concatenate(
        [theirs.transform_images(keras.ops.convert_to_tensor(x[k : k + 1]), None, training=True) for k in range(len(x))]
    )


KERNELS = ["bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"]


WAYS = [(kernel, how) for kernel in KERNELS for how in ("", "antialias")]
WAYS += [(kernel, how) for kernel in KERNELS[:2] for how in ("crop_to_aspect_ratio", "pad_to_aspect_ratio")]


@pytest.mark.parametrize(("kernel", "how"), WAYS)
@pytest.mark.parametrize("size", [(4, 5), (16, 21), (7, 30)], ids=str)
def test_resizing_is_that_of_keras(kernel: str, size: tuple[int, int], how: str) -> None:
    config = {"type": "Resizing", "height": size[0], "width": size[1], "interpolation": kernel, "fill_value": 40.0}
    config |= {how: True} if how else {}
    x = images(9, 11, 2)
    expected = made_in_keras(config, x.shape[1:])(x)
    for training in (False, True):
        close(run(Layer.parse(config), [x], {}, training).y, expected)


@pytest.mark.parametrize("size", [(4, 5), (3, 11), (9, 11), (10, 4), (12, 20)], ids=str)
def test_center_crop_is_that_of_keras(size: tuple[int, int]) -> None:
    config, x = {"type": "CenterCrop", "height": size[0], "width": size[1]}, images(9, 11, 2)
    expected = made_in_keras(config, x.shape[1:])(x)
    for training in (False, True):
        close(run(Layer.parse(config), [x], {}, training).y, expected)


@pytest.mark.parametrize("size", [(9, 5), (12, 5), (4, 11), (9, 11), (12, 20), (10, 10)], ids=str)
def test_random_crop_of_images_that_are_not_larger_is_that_of_keras(size: tuple[int, int]) -> None:
    config, x = {"type": "RandomCrop", "height": size[0], "width": size[1], "seed": 1}, images(9, 11, 2)
    theirs = made_in_keras(config, x.shape[1:])
    close(run(Layer.parse(config), [x], {}, True).y, theirs(x, training=True))


def test_random_crop_takes_the_middle_in_inference_as_keras_documents() -> None:
    config, x = {"type": "RandomCrop", "height": 6, "width": 6}, images(9, 12, 2)
    expected = keras.preprocessing.image.smart_resize(x, (6, 6))
    close(run(Layer.parse(config), [x], {}, False).y, expected)


@pytest.mark.parametrize("kind", [kind for kind in FIRST if kind != "RandomCrop"])
def test_inference_changes_nothing(kind: str) -> None:
    config, x = FIRST[kind], images(3, 8, 11)
    assert np.array_equal(run(Layer.parse(config), [x], {}, False).y, x)
    assert np.array_equal(np.asarray(made_in_keras(config, x.shape[1:])(x, training=False)), x)


def test_rand_augment_is_the_chosen_layers_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Way by way: each of the 11 changes gives what Keras's own layer of the policy gives for the same draws."""
    config, x = {"type": "RandAugment", "factor": 0.4, "num_ops": 1}, images(8, 9, 3)
    trace = Trace()
    image = trace.add(Input("x", Type(x.shape[1:])), scope=Scope.BLOCK)
    y = Layer.parse(config).call(Context(trace, True, (None,), "layer", {}, []), {}, image)
    assert isinstance(y.op, Choice)
    theirs = made_in_keras(config, x.shape[1:])
    names = theirs._AUGMENT_LAYERS
    assert [w.name for w in y.op.ways] == [type(getattr(theirs, name)).__name__ for name in names]
    for way, name in zip(y.op.ways, names, strict=True):
        drawn = [v for v in way.image.trace.values if isinstance(v.op, _Random)]
        found = evaluate([way.result, *drawn], {way.image.op.name: x}, len(x), np.float32, SEED)  # type: ignore[attr-defined]
        own, puppet = getattr(theirs, name), Puppet([Draw(v.op, a) for v, a in zip(drawn, found[1:], strict=True)])
        monkeypatch.setattr(own.backend.random, "uniform", puppet.uniform)
        monkeypatch.setattr(own.backend.random, "randint", puppet.randint)
        if name == "equalization":
            continue  # has a test of its own, and takes Keras long
        given = own.get_random_transformation(keras.ops.convert_to_tensor(x), training=True)
        close(found[0], own.transform_images(keras.ops.convert_to_tensor(x), given, training=True), 2e-5)


def test_what_is_erased_takes_one_value_a_channel() -> None:
    """Which Keras documents, and cannot do on JAX."""
    config = {"type": "RandomErasing", "scale": 0.8, "fill_value": [10.0, 20.0, 300.0]}
    x = images(8, 11, 3)
    ours = augmented(config, x)
    erased = (ours.y != x).any(-1)
    assert 0.1 < erased.mean() < 0.9
    assert (ours.y[erased] == (10, 20, 255)).all()


def test_a_shear_of_one_number_opens_in_keras_though_its_own_file_does_not() -> None:
    theirs = made_in_keras({"type": "RandomShear", "x_factor": 0.3, "y_factor": 0.2}, (4, 5, 1))
    assert theirs.x_factor == (-0.3, 0.3)
    with pytest.raises(TypeError, match="range"):
        keras.layers.RandomShear.from_config(theirs.get_config())


def every_image_layer() -> Iterator[type]:
    for kind in vars(keras.layers).values():
        if isinstance(kind, type) and ".image_preprocessing." in kind.__module__:
            yield kind


def test_no_image_layer_of_keras_is_forgotten() -> None:
    without_labels = {kind.__name__ for kind in every_image_layer()} - {"MixUp", "CutMix", "MaxNumBoundingBoxes"}
    assert without_labels <= set(Layer.names())


def test_a_change_that_comes_twice_is_the_same_twice_as_in_keras() -> None:
    trace = Trace()
    image = trace.add(Input("x", Type((4, 4, 3))), scope=Scope.BLOCK)
    layer = Layer.parse({"type": "RandAugment", "num_ops": 2})
    last: Value = layer.call(Context(trace, True, (None,), "layer", {}, []), {}, image)
    first = last.inputs[0]
    assert isinstance(last.op, Choice) and isinstance(first.op, Choice)
    assert last.op.ways == first.op.ways and last.inputs[1] is not first.inputs[1]
