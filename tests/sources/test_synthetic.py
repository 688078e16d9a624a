from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.sources.helpers import load, source

HERE = Path()
KINDS = ["classification", "regression", "images", "sequences"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_data_and_another_gives_others(kind: str) -> None:
    one, two, other = (load(HERE, type="synthetic", kind=kind, samples=50, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.train.inputs["x"], two.train.inputs["x"])
    assert (one.train.inputs["x"] != other.train.inputs["x"]).any()
    assert one.fingerprint == two.fingerprint != other.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_the_signature_is_what_is_served(kind: str) -> None:
    one = source(type="synthetic", kind=kind, samples=40, classes=3, validation_split=0.25)
    signature, found = one.peek(HERE), one.load(HERE, 0)
    x, y = found.train.inputs["x"], found.train.targets["y"]
    assert (x.shape[1:], x.dtype) == (signature.inputs["x"].shape, signature.inputs["x"].dtype)
    assert y.dtype == signature.targets["y"].dtype and y.shape == (30,)
    assert signature.sizes == {"train": 30, "validation": 10}


def accuracy(features: np.ndarray, labels: np.ndarray, train: int) -> float:
    """Of the nearest class mean."""
    means = np.stack([features[:train][labels[:train] == c].mean(axis=0) for c in range(labels.max() + 1)])
    distances = ((features[train:, None] - means) ** 2).sum(axis=2)
    return float((distances.argmin(axis=1) == labels[train:]).mean())


@pytest.mark.parametrize(("kind", "shape"), [("classification", [20]), ("images", [16, 16, 1])])
def test_classes_can_be_told_apart(kind: str, shape: list[int]) -> None:
    split = load(HERE, type="synthetic", kind=kind, samples=600, classes=4, shape=shape).train
    assert accuracy(split.inputs["x"].reshape(600, -1).astype(float), split.targets["y"], 400) > 0.9


def test_sequences_are_padded_in_front_and_their_tokens_tell_the_class() -> None:
    split = load(HERE, type="synthetic", kind="sequences", samples=400, vocabulary=50, shape=[40]).train
    x = split.inputs["x"]
    assert x.dtype == np.int32 and x.min() == 0 and x.max() == 49
    assert ((x == 0).sum(axis=1) <= 20).all() and (np.diff((x == 0).astype(int), axis=1) <= 0).all()
    counts = np.stack([np.bincount(row, minlength=50)[1:] for row in x]).astype(float)
    assert accuracy(counts, split.targets["y"], 300) > 0.9


def test_regression_is_mostly_signal() -> None:
    split = load(HERE, type="synthetic", kind="regression", samples=2000, shape=[4]).train
    x, y = split.inputs["x"].astype(float), split.targets["y"].astype(float)
    left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    assert left.var() < 0.5 * y.var()


@pytest.mark.parametrize(
    "wrong", [{"kind": "images", "shape": [8, 8]}, {"kind": "sequences", "vocabulary": 5, "classes": 5}, {"shape": []},
              {"samples": 0}, {"kind": "sequences", "shape": [4, 4]}]
)  # fmt: skip
def test_impossible_configurations_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        source(type="synthetic", **wrong)
