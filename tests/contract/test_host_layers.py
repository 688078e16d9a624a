"""Layers that read texts and whole numbers before the net, beside what Keras on TensorFlow answers.

The noted numbers come from TensorFlow 2.21 and Keras 3.15.1 with the TensorFlow backend.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.api import evaluate, predict, train
from kerascli.check import check
from kerascli.docs import sentences
from kerascli.errors import Failure
from kerascli.graph import infer
from kerascli.hashes import cross, fingerprints, salted
from kerascli.layer import Layer
from kerascli.layers.host import _Host
from kerascli.model import Model
from kerascli.ops.ir import Array, ShapeError
from kerascli.outline import outline
from kerascli.stored import Stored

TEXTS = ["", "a", "ab", "abc", "abcd", "hello w", "hello wo", "hello world!", "0123456789abcdef", "0123456789abcdefg"]
TEXTS += ["x" * 32, "x" * 33, "the quick brown fox jumps over the lazy dog", "y" * 64, "y" * 65]
TEXTS += ["The quick brown fox jumps over the lazy dog, and then it does it again, once more." * 3]
TEXTS += ["z" * 128, "z" * 129, "Grüße, Жук 漢字", "-1", "42", "1000000"]
FARM = [1936946117179621455, 3694432073954588131, 3066228220894225694, 2640714258260161385, 1897425971756105985]
FARM += [1806291608031355033, 3616420679985843595, 4577883861590986596, 1493332391325024359, 2800675501336285770]
FARM += [3678204687145032709, 3046993373088323127, 3200379034145657811, 4471793200125962424, 4023130470993650268]
FARM += [3941249737452972787, 569286240017589699, 2429128038119043892, 253151193808459936, 2722188246723688526]
FARM += [623910487284905736, 1203128139089196420]
SIP = [316627932347062996, 2466253977694453450, 3814769135020288330, 2288159068006480041, 3196519216900852167]
SIP += [3938406632290115320, 2130758417722720042, 3297333441409700547, 4045071960732599654, 2112349501170619355]
SIP += [814092544179586341, 3347663563349152873, 1129845220512511072, 1805651083953470005, 4475297591810910813]
SIP += [4242147869103785638, 4082082706918215889, 2905154574087480667, 2826147572817788911, 1365799947328981874]
SIP += [3836173011024425694, 4138749179735495508]


def layer(kind: str, **config: Any) -> _Host:
    found = Layer.parse({"type": kind, **config})
    assert isinstance(found, _Host)
    return found


def adapted(kind: str, x: Any, **config: Any) -> _Host:
    found = layer(kind, **config)
    assert found.lacks
    return found.learnt(found.learn(lambda: iter([np.asarray(x)])))


# ── hashes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_hashes_of_texts_of_every_length_are_tensorflows() -> None:
    data, modulus = [text.encode() for text in TEXTS], np.uint64(2**62)
    assert (fingerprints(data) % modulus).tolist() == FARM
    assert (salted(data, (133, 137)) % modulus).tolist() == SIP


def test_a_salt_may_be_negative_and_numbers_cross_as_they_are() -> None:
    assert salted([b"a"], (-1, 2)).tolist() == salted([b"a"], (2**64 - 1, 2)).tolist()
    assert cross([np.array([1], np.uint64)]).dtype == np.uint64


HASHING: list[tuple[dict[str, Any], Any, Any]] = [
    ({"num_bins": 5}, [["a"], ["b"], ["cat"]], [[4], [2], [1]]),
    ({"num_bins": 5, "mask_value": ""}, [["a"], [""], ["cat"]], [[4], [0], [1]]),
    ({"num_bins": 7, "salt": [133, 137]}, [[1], [2], [300]], [[6], [6], [3]]),
    ({"num_bins": 50}, [1.7, -2.5], [49, 5]),
    (
        {"num_bins": 7, "mask_value": 2, "output_mode": "count"},
        [[1, 2, 2], [2, 5, 6], [300, 1, 1]],
        [[2, 0, 0, 0, 1, 0, 0], [1, 0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 2, 0, 1]],
    ),
]


@pytest.mark.parametrize(("config", "x", "expected"), HASHING)
def test_bins_are_those_of_keras(config: dict[str, Any], x: Any, expected: Any) -> None:
    assert layer("Hashing", **config).apply(np.asarray(x)).tolist() == expected


@pytest.mark.parametrize(
    ("bins", "two", "three"),
    [
        (5, [1, 4, 4, 2, 3], [0, 1, 4, 3, 4]),
        (1000, [891, 754, 404, 17, 903], [95, 191, 129, 703, 69]),
        (2**31 - 1, None, None),
    ],
)
def test_crosses_are_those_of_keras(bins: int, two: Any, three: Any) -> None:
    a, b = np.array(["A", "B", "A", "hello world", "Grüße"]), np.array([101, 101, -5, 102, 7])
    c = np.array(["x", "", "zz", "q", "w"])
    crossing = layer("HashedCrossing", num_bins=bins)
    if two is not None:
        assert crossing.apply(a, b).tolist() == two
        assert crossing.apply(a, b, c).tolist() == three
    assert crossing.apply(a, b).min() >= 0
    assert layer("HashedCrossing", num_bins=5, output_mode="one_hot").apply(a[:, None], b[:, None]).shape == (5, 5)


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

SAID = ["foo qux Bar, bar! ÉCOLE it's", "qux\u00a0baz\u3000x  \t y", "", "[UNK] a b c"]
WORDS = ["bar", "École", "y", "unk", "qux\xa0baz\u3000x", "qux", "its", "foo", "c", "b", "a"]
VECTORIZED: list[tuple[dict[str, Any], list[str], Any]] = [
    (
        {"output_sequence_length": 6},
        WORDS,
        [[9, 7, 2, 2, 3, 8], [6, 4, 0, 0, 0, 0], [0] * 6, [5, 12, 11, 10, 0, 0]],
    ),
    (
        {"standardize": "lower", "output_sequence_length": 6},
        ["École", "y", "qux\xa0baz\u3000x", "qux", "it's", "foo", "c", "bar,", "bar!", "b", "a", "[unk]"],
        [[7, 5, 9, 10, 2, 6], [4, 3, 0, 0, 0, 0], [0] * 6, [13, 12, 11, 8, 0, 0]],
    ),
    (
        {"standardize": None, "ngrams": [2, 3], "output_sequence_length": 9},
        [
            "ÉCOLE it's",
            "qux\xa0baz\u3000x y",
            "qux Bar, bar!",
            "qux Bar,",
            "foo qux Bar,",
            "foo qux",
            "bar! ÉCOLE it's",
            "bar! ÉCOLE",
            "b c",
            "a b c",
            "a b",
            "[UNK] a b",
            "[UNK] a",
            "Bar, bar! ÉCOLE",
            "Bar, bar!",
        ],
        [[7, 5, 16, 9, 2, 6, 4, 15, 8], [3] + [0] * 8, [0] * 9, [14, 12, 10, 13, 11, 0, 0, 0, 0]],
    ),
    (
        {"standardize": "strip_punctuation", "output_sequence_length": 3},
        ["ÉCOLE", "y", "qux\xa0baz\u3000x", "qux", "its", "foo", "c", "bar", "b", "a", "UNK", "Bar"],
        [[7, 5, 13], [4, 3, 0], [0, 0, 0], [12, 11, 10]],
    ),
    (
        {"output_mode": "count", "max_tokens": 6, "pad_to_max_tokens": True},
        ["bar", "École", "y", "unk", "qux\xa0baz\u3000x"],
        [[3, 2, 1, 0, 0, 0], [0, 0, 0, 1, 0, 1], [0] * 6, [3, 0, 0, 0, 1, 0]],
    ),
]


@pytest.mark.parametrize(("config", "words", "expected"), VECTORIZED)
def test_texts_become_the_numbers_that_keras_gives(config: dict[str, Any], words: list[str], expected: Any) -> None:
    found = adapted("TextVectorization", SAID, **config)
    assert found.dump()["vocabulary"] == words
    assert found.apply(np.array(SAID)).tolist() == expected
    assert found.apply(np.array(SAID)[:, None]).tolist() == expected
    assert found.infer_shape(()) == found.apply(np.array(SAID)).shape[1:]


def test_characters_are_tokens_and_long_texts_are_cut() -> None:
    found = adapted("TextVectorization", SAID, split="character", output_sequence_length=5)
    expected = [[22, 7, 7, 2, 9], [9, 6, 5, 13, 3], [0, 0, 0, 0, 0], [6, 18, 20, 2, 4]]
    assert found.apply(np.array(SAID)).tolist() == expected


def test_tokens_may_come_split() -> None:
    x = np.array([["a b", "C"], ["c", "d!"]])
    found = adapted("TextVectorization", x, split=None)
    assert found.dump()["vocabulary"] == ["c", "d", "a b"]
    assert found.apply(x).tolist() == [[4, 2], [2, 3]]
    pairs = adapted("TextVectorization", x, split=None, ngrams=2, output_sequence_length=3)
    assert pairs.dump()["vocabulary"] == ["c", "d", "c d", "a b c", "a b"]
    assert pairs.apply(x).tolist() == [[6, 2, 5], [2, 3, 4]]


def test_rarity_is_that_of_keras() -> None:
    found = adapted("TextVectorization", SAID, output_mode="tf_idf")
    y = found.apply(np.array(SAID))
    np.testing.assert_allclose(y[0, :3], [0.0, 2.1972246170043945, 1.0986123085021973], rtol=1e-6)
    assert y.dtype == np.float32 and y.shape == (4, 12)
    padded = adapted("TextVectorization", SAID, output_mode="tf_idf", max_tokens=30, pad_to_max_tokens=True)
    np.testing.assert_array_equal(padded.apply(np.array(SAID))[:, :12], y)
    assert padded.infer_shape((1,)) == (30,)


# ── lookups: the examples of Keras's documentation ───────────────────────────────────────────────────────────────────

LOOKUPS: list[tuple[str, dict[str, Any], Any, Any]] = [
    ("StringLookup", {"vocabulary": list("abcd")}, [["a", "c", "d"], ["d", "z", "b"]], [[1, 3, 4], [4, 0, 2]]),
    (
        "StringLookup",
        {"vocabulary": list("abcd"), "num_oov_indices": 2},
        [["a", "c", "d"], ["m", "z", "b"]],
        [[2, 4, 5], [0, 1, 3]],
    ),
    (
        "StringLookup",
        {"vocabulary": list("abcd"), "output_mode": "one_hot"},
        ["a", "d", "z"],
        [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]],
    ),
    (
        "StringLookup",
        {"vocabulary": list("abcd"), "output_mode": "multi_hot"},
        [["a", "c", "d", "d"], ["d", "z", "b", "z"]],
        [[0, 1, 0, 1, 1], [1, 0, 1, 0, 1]],
    ),
    (
        "StringLookup",
        {"vocabulary": list("abcd"), "output_mode": "count"},
        [["a", "c", "d", "d"], ["d", "z", "b", "z"]],
        [[0, 1, 0, 1, 2], [2, 0, 1, 0, 1]],
    ),
    (
        "StringLookup",
        {"vocabulary": list("abcd"), "output_mode": "tf_idf", "idf_weights": [0.25, 0.75, 0.6, 0.4]},
        [["a", "c", "d", "d"], ["d", "z", "b", "z"]],
        [[0, 0.25, 0, 0.6, 0.8], [1.0, 0, 0.75, 0, 0.4]],
    ),
    (
        "StringLookup",
        {
            "vocabulary": ["[UNK]", *"abcd"],
            "output_mode": "tf_idf",
            "idf_weights": [0.9, 0.25, 0.75, 0.6, 0.4],
        },
        [["a", "c", "d", "d"], ["d", "z", "b", "z"]],
        [[0, 0.25, 0, 0.6, 0.8], [1.8, 0, 0.75, 0, 0.4]],
    ),
    (
        "StringLookup",
        {"vocabulary": list("abcd"), "invert": True},
        [[1, 3, 4], [4, 0, 2]],
        [["a", "c", "d"], ["d", "[UNK]", "b"]],
    ),
    ("StringLookup", {"vocabulary": list("ab"), "mask_token": ""}, [["", "a", "z"]], [[0, 2, 1]]),
    (
        "StringLookup",
        {"vocabulary": list("ab"), "mask_token": "", "output_mode": "count"},
        [["", "a", "z"]],
        [[1, 1, 0]],
    ),
    (
        "IntegerLookup",
        {"vocabulary": [12, 36, 1138, 42], "num_oov_indices": 2},
        [[12, 1138, 42], [37, 1000, 36]],
        [[2, 4, 5], [1, 0, 3]],
    ),
    (
        "IntegerLookup",
        {"vocabulary": [10, 20, 30], "num_oov_indices": 4, "oov_method": "farmhash"},
        [100, 300, 700, 1100, 1700, 2000],
        [3, 3, 2, 2, 0, 1],
    ),
    (
        "IntegerLookup",
        {"vocabulary": [12, 36, 1138, 42], "invert": True},
        [[1, 3, 4], [4, 0, 2]],
        [[12, 1138, 42], [42, -1, 36]],
    ),
]


@pytest.mark.parametrize(("kind", "config", "x", "expected"), LOOKUPS)
def test_lookups_give_what_keras_documents(kind: str, config: dict[str, Any], x: Any, expected: Any) -> None:
    found, x = layer(kind, **config), np.asarray(x)
    y = found.apply(x)
    if y.dtype.kind == "f":
        np.testing.assert_allclose(y, expected, rtol=1e-6)
    else:
        assert y.tolist() == expected
    dtype = found.infer_dtype("string" if x.dtype.kind == "U" else "int32")
    assert {"f": "float", "i": "int32", "T": "string"}[y.dtype.kind] == dtype
    assert found.infer_shape(x.shape[1:]) == y.shape[1:]


def test_the_most_frequent_come_first_and_equals_in_reverse_order() -> None:
    found = adapted("IntegerLookup", [[12, 1138, 42], [42, 1000, 36]])
    assert found.dump()["vocabulary"] == [42, 1138, 1000, 36, 12]
    few = adapted("StringLookup", [["b", "a"], ["a", "c"], ["[UNK]", "[UNK]"]], max_tokens=3)
    assert few.dump()["vocabulary"] == ["a", "c"]


def test_a_vocabulary_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("[UNK]\nred\ngreen\n", "utf-8")
    found = layer("StringLookup", vocabulary=str(path))
    found = found.learnt(found.learn(lambda: pytest.fail("no samples are needed")))
    assert found.apply(np.array(["green", "blue"])).tolist() == [2, 0]
    numbers = tmp_path / "numbers.txt"
    numbers.write_text("3\nfour\n", "utf-8")
    with pytest.raises(Failure, match="is no whole number"):
        layer("IntegerLookup", vocabulary=str(numbers)).learn(lambda: iter(()))
    with pytest.raises(Failure, match=r"no file .* for the vocabulary"):
        layer("StringLookup", vocabulary=str(tmp_path / "none.txt")).learn(lambda: iter(()))


# ── discretization ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_learnt_boundaries_are_those_of_live_keras() -> None:
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(2)
    for count, bins, epsilon in ((7, 3, 0.01), (40, 5, 0.1), (5000, 10, 0.01), (333, 7, 0.3)):
        x = rng.normal(size=(count, 2)).astype(np.float32)
        theirs = keras.layers.Discretization(num_bins=bins, epsilon=epsilon)
        theirs.update_state(x)
        theirs.finalize_state()
        found = adapted("Discretization", x, num_bins=bins, epsilon=epsilon)
        assert found.dump()["bin_boundaries"] == theirs.bin_boundaries
        assert np.array_equal(found.apply(x), np.asarray(theirs(x)))


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": "StringLookup", "output_mode": "two_hot"}, "'int', 'one_hot'"),
    ({"type": "StringLookup", "vocabulary": ["a", "b", "a"]}, "has `a` more than once"),
    ({"type": "StringLookup", "vocabulary": []}, "is empty"),
    ({"type": "StringLookup", "vocabulary": ["a", ""], "mask_token": ""}, "has the mask token"),
    ({"type": "StringLookup", "vocabulary": ["a", "b"], "max_tokens": 2}, "makes 3 tokens, `max_tokens` is 2"),
    ({"type": "StringLookup", "vocabulary": ["a"], "output_mode": "tf_idf"}, "needs `idf_weights`"),
    ({"type": "StringLookup", "invert": True}, "needs a `vocabulary`"),
    ({"type": "StringLookup", "pad_to_max_tokens": True}, "needs `max_tokens`"),
    ({"type": "StringLookup", "max_tokens": 2, "num_oov_indices": 4}, "no room for words"),
    ({"type": "StringLookup", "sparse": True}, "arrays are dense"),
    ({"type": "IntegerLookup", "salt": 3}, "needs `oov_method: farmhash`"),
    ({"type": "TextVectorization", "standardize": "my_function"}, "cannot be written in a spec"),
    ({"type": "TextVectorization", "split": "comma"}, "cannot be written in a spec"),
    ({"type": "TextVectorization", "output_mode": "one_hot"}, "'int', 'multi_hot'"),
    ({"type": "TextVectorization", "output_mode": "count", "output_sequence_length": 3}, "needs `output_mode: int`"),
    ({"type": "TextVectorization", "ragged": True}, "arrays are dense"),
    ({"type": "Discretization"}, "either `bin_boundaries` or `num_bins`"),
    ({"type": "Discretization", "bin_boundaries": [1.0, 0.0]}, "in order"),
    ({"type": "CategoryEncoding", "num_tokens": 3, "count_weights": "w"}, "needs `output_mode: count`"),
    ({"type": "Hashing", "num_bins": 0}, "greater than or equal to 1"),
    ({"type": "Hashing", "num_bins": 3, "salt": [1, 2, 3]}, "at most 2"),
]


@pytest.mark.parametrize(("config", "message"), WRONG)
def test_wrong_arguments_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layer.parse(config)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="one axis"):
        layer("StringLookup", vocabulary=["a"], output_mode="count").infer_shape((2, 3))
    with pytest.raises(ShapeError, match="must be fixed"):
        layer("TextVectorization", vocabulary=["a"]).infer_shape((1,))
    with pytest.raises(ShapeError, match="one text a sample"):
        layer("TextVectorization", vocabulary=["a"], output_sequence_length=2).infer_shape((3,))
    with pytest.raises(ShapeError, match="one value"):
        layer("HashedCrossing", num_bins=3).infer_shape((1,), (2,))


def test_a_word_without_a_place_is_named() -> None:
    with pytest.raises(Failure, match="meets `z`, which its vocabulary lacks"):
        layer("StringLookup", vocabulary=["a"], num_oov_indices=0).apply(np.array(["a", "z"]))


def test_every_argument_has_a_sentence_and_every_example_loads_again() -> None:
    members = {m for m in Layer.names().values() if issubclass(m, _Host)}
    assert {m.__name__ for m in members} >= {"StringLookup", "IntegerLookup", "Hashing", "TextVectorization"}
    for member in members:
        assert set(sentences(member)) >= set(member.model_fields)
        assert len(member.examples) >= 2
        for example in member.examples:
            found = Layer.parse({"type": member.__name__, **example.config})
            assert Layer.parse(found.dump()) == found


# ── in a whole training ──────────────────────────────────────────────────────────────────────────────────────────────

ROWS = ["a good film,4,1", "what a bad film,-3,0", "good good,4,1", "so bad,7,0", "bad film,2,0", "good film,9,1"]
SPEC = """
version: 1
dataset: {{type: csv, path: data.csv, target: label, test_split: 0.33}}
layers:
{layers}
loss: binary_crossentropy
training: {{epochs: 2, batch_size: 2}}
"""
LAYERS = """
  - {type: Input, name: review, dtype: string}
  - {type: Input, name: stars, dtype: int32}
  - {type: TextVectorization, name: bag, inputs: review, output_mode: count}
  - {type: IntegerLookup, name: rating, inputs: stars, output_mode: one_hot}
  - {type: Discretization, name: bins, inputs: stars, num_bins: 2}
  - {type: HashedCrossing, name: both, inputs: [bins, review], num_bins: 5, output_mode: one_hot}
  - {type: CategoryEncoding, name: binned, inputs: bins, num_tokens: 2, output_mode: one_hot}
  - {type: Concatenate, inputs: [bag, rating, both, binned]}
  - {type: Dense, units: 1, activation: sigmoid}
"""


def written(folder: Path, layers: str, rows: list[str] = ROWS) -> Path:
    (folder / "data.csv").write_text("\n".join(["review,stars,label", *rows]), "utf-8")
    path = folder / "spec.yaml"
    path.write_text(SPEC.format(layers=layers), "utf-8")
    return path


def test_what_layers_learn_comes_from_training_samples_and_stays_with_the_run(tmp_path: Path) -> None:
    checked = check(written(tmp_path, LAYERS))
    graph = checked.graph
    assert graph.node("bag").layer.dump()["vocabulary"] == ["good", "film", "bad", "a", "what", "so"]
    assert graph.node("bag").shape == (7,) and graph.node("rating").shape == (1 + 3,)
    outcome = train(checked, tmp_path / "runs", threads=1)
    saved = json.loads((outcome.run / "preprocessing.json").read_text("utf-8"))["layers"]
    assert saved["rating"]["vocabulary"] == [4, 7, -3] and saved["bins"]["bin_boundaries"]
    (tmp_path / "data.csv").rename(tmp_path / "new.csv")  # nothing is learnt again
    stored = Stored(outcome.run)
    assert stored.graph.node("bag").layer == graph.node("bag").layer
    again = evaluate(stored, data=tmp_path / "new.csv", threads=1)[1]
    assert np.isfinite(again["loss"])
    _, found = predict(stored, [str(tmp_path / "new.csv")], threads=1)
    assert next(iter(found.values())).shape == (6, 1)


def test_the_net_reads_what_was_made_of_the_texts(tmp_path: Path) -> None:
    model = Model.of(check(written(tmp_path, LAYERS)))
    assert set(model.graph.computed.inputs) == {"bag", "rating", "bins", "both"}
    inputs: dict[str, Array] = {"review": np.array([["good film"]]), "stars": np.array([[4]], np.int32)}
    served = model.graph.served(inputs)
    assert served["bag"].tolist() == [[0, 1, 1, 0, 0, 0, 0]] and "review" not in served


FAULTS: list[tuple[str, str, str]] = [
    ("  - {type: Input, name: review, dtype: string}\n  - {type: Dense, units: 1}", "E330", "takes numbers"),
    (
        "  - {type: Input, name: stars, dtype: float32}\n  - {type: IntegerLookup}\n  - {type: Dense, units: 1}",
        "E330",
        "whole numbers",
    ),
    (
        "  - {type: Input, name: stars, dtype: int32}\n  - StringLookup\n  - {type: Dense, units: 1}",
        "E330",
        "takes texts",
    ),
    (
        "  - {type: Input, name: stars}\n  - {type: Dense, units: 2}\n  - {type: Hashing, num_bins: 3}\n"
        "  - {type: Dense, units: 1}",
        "E331",
        "before they enter the net",
    ),
    ("  - {type: Input, name: review, dtype: int32}\n  - {type: Dense, units: 1}", "E408", "is no whole number"),
]


@pytest.mark.parametrize(("layers", "code", "message"), FAULTS)
def test_texts_in_the_wrong_place_are_located_problems(tmp_path: Path, layers: str, code: str, message: str) -> None:
    with pytest.raises(Failure) as caught:
        check(written(tmp_path, layers))
    (problem,) = caught.value.problems
    assert problem.code == code and message in problem.message and problem.where is not None and problem.help


def test_a_graph_can_be_inferred_again_from_what_was_learnt(tmp_path: Path) -> None:
    checked = check(written(tmp_path, LAYERS))
    assert infer(checked.loaded, outline(checked.loaded), checked.signature) == checked.graph
