"""SpectralNormalization's steps, written out: divide the kernel, then take the optimizer's step from there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kerascli import keras_files
from kerascli.check import check
from kerascli.launch import train
from kerascli.ops.ir import Array

SPEC = """
dataset: {type: npz, path: data.npz}
layers: [{type: SpectralNormalization, power_iterations: 2, layer: {type: Dense, units: 3}, name: sn}]
loss: mse
optimizer: {type: SGD, learning_rate: 0.1OPTION}
training: {epochs: 3, batch_size: 8, shuffle: false, initial_weights: start.weights.h5}
"""


def unit(x: Array) -> Array:
    return np.asarray(x / np.linalg.norm(x))


def steps(x: Array, y: Array, kernel: Array, u: Array, bias: Array) -> tuple[Array, Array, Array]:
    for _ in range(3):
        for k in range(0, len(x), 8):
            a, b = x[k : k + 8], y[k : k + 8]
            for _ in range(2):
                v = unit(u @ kernel.T)
                u = unit(v @ kernel)
            kernel = kernel / (v @ kernel @ u.T)
            error = 2 * (a @ kernel + bias - b) / b.size
            kernel, bias = kernel - 0.1 * a.T @ error, bias - 0.1 * error.sum(0)
    return kernel, u, bias


@pytest.mark.parametrize("option", ["", ", clipnorm: 1000.0"])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_step_divides_the_kernel_and_goes_on_from_there(threads: int, option: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((20, 4), np.float32), rng.standard_normal((20, 3), np.float32)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y)
    (tmp_path / "net.yaml").write_text(SPEC.replace("OPTION", option))
    checked = check(tmp_path / "net.yaml")
    start = {"sn/kernel": (4, 3), "sn/vector_u": (1, 3), "sn/bias": (3,)}
    weights = {path: rng.standard_normal(shape, np.float32) for path, shape in start.items()}
    keras_files.save_weights(tmp_path / "start.weights.h5", checked.graph, weights, "net")
    outcome = train(check(tmp_path / "net.yaml"), tmp_path / "runs", threads=threads)
    found = keras_files.load_weights(outcome.run / "model.weights.h5", checked.graph)
    expected = steps(x, y, *(weights[path].astype(float) for path in start))
    for path, array in zip(start, expected, strict=True):
        np.testing.assert_allclose(found[path], array, rtol=1e-4, atol=1e-6, err_msg=path)


def test_real_keras_reads_its_files_and_predicts_the_same(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    from kerascli import api
    from kerascli.stored import Stored

    rng = np.random.default_rng(4)
    np.savez(
        tmp_path / "data.npz",
        x_train=rng.standard_normal((20, 6, 4), np.float32),
        y_train=rng.standard_normal((20, 5, 2), np.float32),
    )
    layers = """[{type: SpectralNormalization, layer: {type: Dense, units: 3, use_bias: false}},
      {type: SpectralNormalization, layer: {type: Conv1D, filters: 2, kernel_size: 2, activation: tanh}}]"""
    spec = SPEC.replace("OPTION", "").replace(", initial_weights: start.weights.h5", "")
    start, end = spec.index("layers:"), spec.index("loss:")
    (tmp_path / "net.yaml").write_text(f"{spec[:start]}layers: {layers}\n{spec[end:]}")
    outcome = train(check(tmp_path / "net.yaml"), tmp_path / "runs")
    model = keras.models.model_from_json((outcome.run / "model.json").read_text())
    model.load_weights(outcome.run / "model.weights.h5")
    x = rng.standard_normal((5, 6, 4), np.float32)
    np.save(tmp_path / "x.npy", x)
    _, found = api.predict(Stored(outcome.run), [str(tmp_path / "x.npy")])
    np.testing.assert_allclose(next(iter(found.values())), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    assert json.loads(model.to_json())["config"]["layers"][1]["class_name"] == "SpectralNormalization"
