"""Writes the models in `keras_models/` with real Keras, each with inputs and what Keras predicts of them.

    KERAS_BACKEND=jax python -m tests.parity.make_keras_models

They are what a user of Keras might bring, in several styles; small, and committed, so that the importer is tested
against files that Keras itself wrote. Random numbers are Keras's own, so the files differ from time to time.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

FOLDER = Path(__file__).parent / "keras_models"
ROWS = 5
Made = tuple[Any, list[Any], Any]
"""A model, its inputs, and its targets where it is trained a few steps."""


def stack() -> Made:
    """A stack with names of Keras's own and of the user's, and arguments of all kinds."""
    model = keras.Sequential(
        [
            keras.Input((12, 12, 2)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, padding="same", kernel_initializer="he_normal", kernel_regularizer="l2"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(max_value=6.0),
            layers.MaxPooling2D(),
            layers.SeparableConv2D(6, (3, 2), activation="silu"),
            layers.Dropout(0.3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax", name="digit"),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 100)
    metrics = ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")]
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.01), "sparse_categorical_crossentropy", metrics=metrics
    )
    return model, [pixels(12, 12, 2)], np.arange(ROWS) % 3


def bare_stack() -> Made:
    """Without an Input, and compiled without metrics."""
    model = keras.Sequential([layers.Dense(4, activation="relu"), layers.Dense(1)], name="line")
    model.build((None, 6))
    model.compile("sgd", "mse")
    return model, [numbers(6)], np.ones((ROWS, 1))


def two_inputs() -> Made:
    """Two inputs, two outputs, a loss for each by its name."""
    words = keras.Input((7,), dtype="int32", name="words")
    facts = keras.Input((4,), name="facts")
    x = layers.Embedding(20, 5, mask_zero=True)(words)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True))(x)
    x = layers.LSTM(4)(x)
    both = layers.concatenate([x, facts])
    both = layers.Dense(8, activation="gelu")(both)
    urgent = layers.Dense(1, activation="sigmoid", name="urgent")(both)
    topic = layers.Dense(3, name="topic")(both)
    model = keras.Model([words, facts], [urgent, topic])
    losses = {
        "urgent": "binary_crossentropy",
        "topic": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    }
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, clipnorm=1.0)
    metrics = {"urgent": [keras.metrics.AUC(num_thresholds=20)], "topic": ["accuracy"]}
    model.compile(optimizer, losses, loss_weights={"urgent": 1.0, "topic": 0.2}, metrics=metrics)
    targets = [np.ones((ROWS, 1)), np.arange(ROWS) % 3]
    return model, [tokens(7, 20), numbers(4)], targets


def residual() -> Made:
    """Sums written with `+`, layers and operations mixed."""
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(images / 255 - 0.5)
    for _ in range(2):
        y = layers.BatchNormalization()(x)
        y = keras.activations.relu(y)
        y = layers.Conv2D(4, 3, padding="same")(y)
        x = layers.Add()([x, y])
    z = layers.Conv2D(4, 1)(x)
    x = ops.maximum(x + z, 0.1 * z)
    x = ops.mean(x, axis=(1, 2))
    x = ops.reshape(x, (-1, 2, 2))
    x = ops.transpose(x, (0, 2, 1))[:, 1:]
    outputs = layers.Dense(2)(layers.Flatten()(x))
    model = keras.Model(images, outputs, name="residual_net")
    model.compile("rmsprop", keras.losses.Huber(0.5), metrics=["mae"])
    return model, [pixels(8, 8, 3)], np.zeros((ROWS, 2))


def twins() -> Made:
    """A nested model that is called twice, a shared layer, and a frozen part."""
    encoder = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, activation="tanh"), layers.LayerNormalization()], name="encoder"
    )
    encoder.layers[0].trainable = False
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    shared = layers.Dense(4, name="shared")
    one, other = shared(encoder(left)), shared(encoder(right))
    inner_in = keras.Input((4,))
    inner = keras.Model(inner_in, [layers.Dense(3)(inner_in), layers.Activation("softplus")(inner_in)], name="inner")
    a, b = inner(layers.subtract([one, other]))
    outputs = layers.Dense(1, activation="sigmoid")(layers.concatenate([a, b, layers.dot([one, other], axes=1)]))
    model = keras.Model([left, right], outputs)
    model.compile(keras.optimizers.Adam(0.01, amsgrad=True), "binary_crossentropy", metrics=["accuracy"])
    return model, [numbers(6), numbers(6)], np.ones((ROWS, 1))


def attention() -> Made:
    """A block of a transformer over tokens, masked."""
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(15, 8, mask_zero=True)(words)
    y = layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x)
    x = layers.LayerNormalization(epsilon=1e-6)(x + y)
    y = layers.Dense(8)(layers.Dense(16, activation="gelu")(x))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.add([x, y]))
    x = layers.MultiHeadAttention(1, 3)(x, x, use_causal_mask=True)
    outputs = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(words, outputs)
    model.compile("adam", "categorical_crossentropy", metrics=["categorical_accuracy"])
    return model, [tokens(6, 15)], np.eye(2)[np.arange(ROWS) % 2]


def recurrent() -> Made:
    """States that go from one layer into another, cells, and wrapped layers."""
    series = keras.Input((5, 4))
    x = layers.TimeDistributed(layers.Dense(3, activation="relu"))(series)
    x, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(x)
    x = layers.LSTM(4, return_sequences=True)(x, initial_state=[h, c])
    x = layers.RNN([layers.GRUCell(3), layers.SimpleRNNCell(2)], return_sequences=True)(x)
    x = layers.Bidirectional(layers.LSTM(2), merge_mode="sum")(x)
    outputs = layers.SpectralNormalization(layers.Dense(2))(x)
    model = keras.Model(series, outputs)
    model.compile("nadam", "mae")
    return model, [numbers(5, 4)], np.zeros((ROWS, 2))


def numbers(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).normal(size=(ROWS, *shape)).astype("float32")


def pixels(*shape: int) -> Any:
    return np.random.default_rng(2).integers(0, 256, (ROWS, *shape)).astype("float32")


def tokens(length: int, high: int) -> Any:
    found = np.random.default_rng(3).integers(1, high, (ROWS, length)).astype("int32")
    found[1:, length // 2 :] = 0
    return found


MODELS: dict[str, Callable[[], Made]] = {
    each.__name__: each for each in (stack, bare_stack, two_inputs, residual, twins, attention, recurrent)
}
FORMS = {"stack": ("keras", "h5"), "two_inputs": ("keras", "h5"), "twins": ("keras", "h5", "json")}


def write(name: str, folder: Path) -> None:
    """One model in all its forms, and what it predicts."""
    model, inputs, targets = MODELS[name]()
    model.fit(_only(inputs), targets, verbose=0, batch_size=ROWS, epochs=2)
    predicted = model.predict(_only(inputs), verbose=0)
    outputs = predicted if isinstance(predicted, list) else [predicted]
    arrays = {f"in{k}": x for k, x in enumerate(inputs)} | {f"out{k}": y for k, y in enumerate(outputs)}
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    for form in FORMS.get(name, ("keras",)):
        if form == "json":
            (folder / f"{name}.json").write_text(json.dumps(json.loads(model.to_json())))
            model.save_weights(folder / f"{name}.weights.h5")
        else:
            model.save(folder / f"{name}.{form}")


def _only(inputs: list[Any]) -> Any:
    return inputs if len(inputs) > 1 else inputs[0]


if __name__ == "__main__":
    keras.utils.set_random_seed(7)
    for each in MODELS:
        keras.backend.clear_session()
        write(each, FOLDER)
