"""Convolution, pooling and normalisation against loops that a person can read."""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import Any

import numpy as np
import pytest

from kerascli.layer import Layer
from kerascli.ops.ir import Array
from tests.layer_cases import run, weights


def sides(size: int, window: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """Number of windows along an axis, and where the first one begins (negative where it hangs over the edge)."""
    reach = (window - 1) * dilation + 1
    if padding == "valid":
        return (size - reach) // stride + 1, 0
    count = ceil(size / stride)
    return count, -(max((count - 1) * stride + reach - size, 0) // 2)


def convolution(
    x: Array, kernel: Array, strides: Any = (1, 1), padding: str = "valid", dilation: Any = (1, 1), groups: int = 1
) -> Array:
    n, height, width, _ = x.shape
    kh, kw, channels, filters = kernel.shape
    rows, top = sides(height, kh, strides[0], dilation[0], padding)
    columns, left = sides(width, kw, strides[1], dilation[1], padding)
    y = np.zeros((n, rows, columns, filters))
    for a, b, i, j in product(range(rows), range(columns), range(kh), range(kw)):
        p, q = top + a * strides[0] + i * dilation[0], left + b * strides[1] + j * dilation[1]
        if 0 <= p < height and 0 <= q < width:
            for o in range(filters):
                first = o // (filters // groups) * channels
                for c in range(channels):
                    y[:, a, b, o] += x[:, p, q, first + c] * kernel[i, j, c, o]
    return y


def pooling(x: Array, window: Any, strides: Any, padding: str, largest: bool) -> Array:
    n, height, width, channels = x.shape
    rows, top = sides(height, window[0], strides[0], 1, padding)
    columns, left = sides(width, window[1], strides[1], 1, padding)
    y = np.zeros((n, rows, columns, channels))
    for a, b in product(range(rows), range(columns)):
        seen = [
            x[:, top + a * strides[0] + i, left + b * strides[1] + j]
            for i, j in product(range(window[0]), range(window[1]))
            if 0 <= top + a * strides[0] + i < height and 0 <= left + b * strides[1] + j < width
        ]
        y[:, a, b] = np.max(seen, axis=0) if largest else np.mean(seen, axis=0)
    return y


def close(ours: Array, loops: Array) -> None:
    assert ours.shape == loops.shape
    np.testing.assert_allclose(ours, loops, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("kernel_size", "strides", "dilation_rate", "groups"),
    [
        ((3, 3), (1, 1), (1, 1), 1),
        ((2, 3), (2, 1), (1, 1), 1),
        ((3, 2), (3, 2), (1, 1), 1),
        ((3, 2), (1, 1), (2, 3), 1),
        ((1, 1), (2, 2), (1, 1), 1),
        ((2, 2), (1, 1), (1, 1), 2),
    ],
)
def test_convolution(padding: str, kernel_size: Any, strides: Any, dilation_rate: Any, groups: int) -> None:
    config = {"kernel_size": list(kernel_size), "strides": list(strides), "dilation_rate": list(dilation_rate)}
    layer = Layer.parse({"type": "Conv2D", "filters": 4, "padding": padding, "groups": groups, **config})
    x = np.random.default_rng(0).standard_normal((2, 8, 7, 4))
    w = weights(layer, ((8, 7, 4),))
    expected = convolution(x, w["kernel"], strides, padding, dilation_rate, groups) + w["bias"]
    close(run(layer, [x], w, dtype=np.float64).y, expected)


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize(("width", "stride", "dilation"), [(3, 1, 1), (2, 2, 1), (3, 1, 2)])
def test_convolution_over_time(padding: str, width: int, stride: int, dilation: int) -> None:
    config = {"kernel_size": width, "strides": stride, "dilation_rate": dilation, "padding": padding}
    layer = Layer.parse({"type": "Conv1D", "filters": 3, "use_bias": False, **config})
    x = np.random.default_rng(0).standard_normal((2, 9, 2))
    w = weights(layer, ((9, 2),))
    before = np.zeros((2, (width - 1) * dilation, 2))
    seen = np.concatenate([before, x], 1) if padding == "causal" else x
    rule = "valid" if padding == "causal" else padding
    expected = convolution(seen[:, None], w["kernel"][None], (1, stride), rule, (1, dilation))[:, 0]
    close(run(layer, [x], w, dtype=np.float64).y, expected)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("name", ["MaxPooling2D", "AveragePooling2D"])
@pytest.mark.parametrize(("window", "strides"), [((2, 2), None), ((3, 2), (2, 1)), ((3, 3), (1, 2)), ((2, 4), None)])
def test_pooling(padding: str, name: str, window: Any, strides: Any) -> None:
    layer = Layer.parse(
        {"type": name, "pool_size": list(window), "strides": strides and list(strides), "padding": padding}
    )
    x = np.random.default_rng(0).standard_normal((2, 7, 8, 3))
    close(run(layer, [x], {}, dtype=np.float64).y, pooling(x, window, strides or window, padding, "Max" in name))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("name", ["MaxPooling1D", "AveragePooling1D"])
def test_pooling_over_time(padding: str, name: str) -> None:
    layer = Layer.parse({"type": name, "pool_size": 3, "strides": 2, "padding": padding})
    x = np.random.default_rng(0).standard_normal((2, 8, 3))
    expected = pooling(x[:, None], (1, 3), (1, 2), padding, "Max" in name)[:, 0]
    close(run(layer, [x], {}, dtype=np.float64).y, expected)


def test_batch_normalization_in_training() -> None:
    layer = Layer.parse({"type": "BatchNormalization", "momentum": 0.8, "epsilon": 0.01})
    x, w = np.random.default_rng(0).standard_normal((3, 4, 2)), weights(layer, ((4, 2),))
    got = run(layer, [x], w, training=True, dtype=np.float64)
    for c in range(2):
        values = [float(v) for v in x[:, :, c].ravel()]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        expected = (x[:, :, c] - mean) / (variance + 0.01) ** 0.5 * w["gamma"][c] + w["beta"][c]
        np.testing.assert_allclose(got.y[:, :, c], expected, rtol=1e-9)
        np.testing.assert_allclose(got.updates["moving_mean"][c], w["moving_mean"][c] * 0.8 + mean * 0.2, rtol=1e-6)
        moved = w["moving_variance"][c] * 0.8 + variance * 0.2
        np.testing.assert_allclose(got.updates["moving_variance"][c], moved, rtol=1e-6)


def test_layer_normalization() -> None:
    layer = Layer.parse({"type": "LayerNormalization", "epsilon": 0.01})
    x, w = np.random.default_rng(0).standard_normal((3, 4, 5)), weights(layer, ((4, 5),))
    got = run(layer, [x], w, dtype=np.float64).y
    for n, t in product(range(3), range(4)):
        values = [float(v) for v in x[n, t]]
        mean = sum(values) / 5
        variance = sum((v - mean) ** 2 for v in values) / 5
        expected = [(v - mean) / (variance + 0.01) ** 0.5 for v in values] * w["gamma"] + w["beta"]
        np.testing.assert_allclose(got[n, t], expected, rtol=1e-9)
