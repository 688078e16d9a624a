from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from kerascli.component import Component
from kerascli.sources.base import Source
from kerascli.sources.catalogue import describe, lines, names, table
from tests.sources.helpers import fails, load, source

HERE = Path()
BUNDLED = [name for name in names() if describe(name)["where"] == "bundled"]


def test_mnist_is_mnist() -> None:
    found = load(HERE, type="mnist")
    assert found.train.inputs["x"].shape == (60_000, 28, 28, 1)
    assert found.train.inputs["x"].dtype == np.uint8
    assert found.test is not None and len(found.test) == 10_000
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(found.train.targets["y"]).tolist() == counts
    assert np.bincount(found.test.targets["y"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert found.train.targets["y"][:5].tolist() == [5, 0, 4, 1, 9]
    assert round(float(found.train.inputs["x"].mean()) / 255, 4) == 0.1307
    assert round(float(found.test.inputs["x"].mean()) / 255, 4) == 0.1325


def test_mnist_validation_is_the_tail_of_train() -> None:
    whole = load(HERE, type="mnist")
    cut = load(HERE, type="mnist", validation_split=0.2, limit=7000)
    assert cut.validation is not None and cut.test is not None
    assert [len(cut.train), len(cut.validation), len(cut.test)] == [7000, 7000, 7000]
    np.testing.assert_array_equal(cut.train.inputs["x"], whole.train.inputs["x"][:7000])
    np.testing.assert_array_equal(cut.validation.inputs["x"], whole.train.inputs["x"][48_000:55_000])
    np.testing.assert_array_equal(cut.validation.targets["y"], whole.train.targets["y"][48_000:55_000])


def test_a_small_limit_reads_little_of_mnist() -> None:
    load(HERE, type="mnist", limit=10)
    whole, part = [], []
    for _ in range(3):
        start = time.process_time()
        load(HERE, type="mnist", limit=100)
        part.append(time.process_time() - start)
        start = time.process_time()
        load(HERE, type="mnist")
        whole.append(time.process_time() - start)
    assert min(part) < min(whole) / 2


def test_digits_have_17_levels() -> None:
    found = load(HERE, type="digits", test_split=0.1, validation_split=0.2)
    assert found.test is not None and found.validation is not None
    assert [len(found.train), len(found.validation), len(found.test)] == [1293, 324, 180]
    images = found.train.inputs["x"]
    assert images.shape[1:] == (8, 8, 1) and images.dtype == np.uint8 and images.max() == 16


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "penguins"])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3])
def test_the_tail_of_every_table_has_every_class(name: str, fraction: float) -> None:
    found = load(HERE, type=name, validation_split=fraction)
    assert found.validation is not None
    target = next(iter(found.train.targets))
    classes = len(found.preprocessing.targets[target].class_names)
    assert set(found.validation.targets[target].tolist()) == set(range(classes))


def test_penguins_are_numbers_and_categories_in_column_order() -> None:
    found = load(HERE, type="penguins", encoding={"species": "one_hot"})
    x = found.train.inputs["x"]
    assert [f.name for f in found.preprocessing.features] == [
        "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex", "year",
    ]  # fmt: skip
    assert x.shape == (344, 4 + 4 + 3 + 1) and x.dtype == np.float32 and np.isfinite(x).all()
    assert x[:, 0:3].sum() == 344, "every island is known"
    assert x[:, 10].sum() == 11, "eleven penguins of unknown sex have a slot of their own"
    np.testing.assert_allclose(x[:, 4:8].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x[:, 4:8].std(axis=0), 1, atol=1e-5)
    assert found.train.targets["species"].shape == (344, 3)
    assert found.preprocessing.targets["species"].class_names == ("Adelie", "Chinstrap", "Gentoo")


def test_signatures_tell_what_loading_gives() -> None:
    for name in BUNDLED:
        one = source(type=name)
        if name == "mnist":
            one = source(type=name, limit=50)
        signature, found = one.peek(HERE), one.load(HERE, 0)
        for key, info in signature.inputs.items():
            assert found.train.inputs[key].shape[1:] == info.shape
            assert found.train.inputs[key].dtype == info.dtype
        assert signature.sizes["train"] == len(found.train)
        for key, target in signature.targets.items():
            assert found.train.targets[key].max() == (target.classes or 0) - 1


def test_data_go_by_the_names_of_the_network() -> None:
    found = source(type="iris").load(HERE, 0, {"kind": "one_hot"}, ["flower"], ["kind"])
    assert found.train.inputs["flower"].shape == (150, 4)
    assert found.train.targets["kind"].shape == (150, 3)


def test_inputs_named_after_features_are_served_apart() -> None:
    one = source(type="penguins")
    signature = one.peek(HERE, ["sex", "body_mass_g"])
    assert {name: info.shape for name, info in signature.inputs.items()} == {"sex": (3,), "body_mass_g": (1,)}
    found = one.load(HERE, 0, None, ["sex", "body_mass_g"])
    assert {name: x.shape for name, x in found.train.inputs.items()} == {"sex": (344, 3), "body_mass_g": (344, 1)}
    with fails("E409", "no feature `body_mass`", "did you mean `body_mass_g`?"):
        one.peek(HERE, ["sex", "body_mass"])


def test_a_split_of_its_own_cannot_be_cut_again() -> None:
    with pytest.raises(ValidationError, match="mnist has a test split of its own"):
        source(type="mnist", test_split=0.1)


def test_what_is_dumped_parses_to_the_same_source() -> None:
    for member in Source.members.values():
        for example in member.examples:
            one = member.model_validate(dict(example.config))
            written = one.dump()
            assert Component.__subclasses__() and written["type"] == written["type"].lower()
            assert Source.parse(written) == one


def test_the_catalogue_names_licence_and_source_of_every_file() -> None:
    text = (Path(__file__).parents[2] / "kerascli/data/LICENSES.md").read_text(encoding="utf-8")
    for name in BUNDLED:
        facts = describe(name)
        assert facts["licence"] in text and f"`{name}." in text
        assert facts["licence"] in lines(facts) and facts["origin"] in lines(facts)
        assert name in table([facts])
    with fails("E409", "`mnits`", "did you mean `mnist`?"):
        describe("mnits")


def test_fingerprints_tell_data_apart() -> None:
    prints = {load(HERE, type=name, limit=5).fingerprint for name in BUNDLED}
    assert len(prints) == len(BUNDLED) and all(p.startswith("sha256:") for p in prints)
