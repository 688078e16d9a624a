"""The figures of a report against cases worked out by hand, and what is gathered while predictions stream by."""

from __future__ import annotations

import base64
import re
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerascli.encoders import Category, Numeric
from kerascli.predictions import Reading
from kerascli.preprocessing import InputLayout, Preprocessing
from kerascli.report import measures, results, samples
from kerascli.report.measures import Calibration, Curve, Errors

# ---- classes


def test_a_confusion_matrix_has_true_classes_in_rows_and_predicted_ones_in_columns() -> None:
    counts = measures.confusion(np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]


def test_precision_recall_and_f1_of_a_matrix_worked_by_hand() -> None:
    found = measures.per_class(np.array([[1, 2, 0], [0, 1, 0], [1, 0, 0]]))
    assert found.support.tolist() == [3, 1, 1]
    assert found.recall.tolist() == [1 / 3, 1, 0]
    assert found.precision[:2].tolist() == [1 / 2, 1 / 3] and isnan(found.precision[2])
    np.testing.assert_allclose(found.f1, [2 / 5, 2 / 4, 0])
    assert measures.mean(found.precision) == pytest.approx(5 / 12)


def test_the_calibration_error_is_the_weighted_distance_of_probability_and_outcome() -> None:
    found = Calibration()
    found.add(np.array([0.91, 0.95, 0.93]), np.array([True, True, False]))  # mean 0.93, came true 2/3
    found.add(np.array([0.2, 1.0]), np.array([False, True]))  # 1.0 is in the last bin, as 0.93 is
    assert found.counts.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 4]
    assert found.error == pytest.approx((abs(0 - 0.2) + abs(3 - 3.79)) / 5)
    assert isnan(Calibration().error)


def test_roc_with_a_tie_worked_by_hand() -> None:
    found = measures.roc(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.8, 0.1]))
    assert found is not None
    assert (found.x.tolist(), found.y.tolist()) == ([0, 0, 0.5, 1], [0, 0.5, 1, 1])
    assert found.area == 0.875
    assert measures.roc(np.array([1, 1]), np.array([0.2, 0.3])) is None


def test_precision_against_recall_worked_by_hand() -> None:
    found = measures.precision_recall(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))
    assert found is not None
    assert found.x.tolist() == [0, 0.5, 0.5, 1, 1]
    np.testing.assert_allclose(found.y, [1, 1, 1 / 2, 2 / 3, 2 / 4])
    assert found.area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert measures.precision_recall(np.zeros(3), np.arange(3.0)) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_the_area_under_roc_is_the_share_of_pairs_in_the_right_order(cases: list[tuple[bool, int]]) -> None:
    positive, score = np.array([p for p, _ in cases]), np.array([s for _, s in cases], float)
    found = measures.roc(positive, score)
    pairs = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
    assert (found is None) == (not pairs)
    if found is not None:
        assert found.area == pytest.approx(np.mean(pairs))


def test_a_thinned_curve_keeps_its_ends_and_its_area() -> None:
    x = np.linspace(0, 1, 5000)
    found = measures.thinned(Curve(x, x**0.1, 0.5), 50)
    assert found.x.size <= 50 and (found.x[0], found.x[-1], found.area) == (0, 1, 0.5)
    assert np.abs(np.interp(x, found.x, found.y) - x**0.1).max() < 0.05


# ---- numbers


def test_errors_of_numbers_worked_by_hand_and_in_pieces() -> None:
    whole, pieces = Errors(), Errors()
    true, predicted = np.array([[1.0], [2.0], [6.0]]), np.array([[2.0], [2.0], [4.0]])
    whole.add(true, predicted)
    for k in range(3):
        pieces.add(true[k : k + 1], predicted[k : k + 1])
    found = whole.overall()
    assert found["mean_absolute_error"] == 1 and found["mean_error"] == pytest.approx(-1 / 3)
    assert found["root_mean_squared_error"] == pytest.approx((5 / 3) ** 0.5) and found["largest_error"] == 2
    assert found["r2"] == pytest.approx(1 - 5 / 14)  # Σ (y - 3)² = 4 + 1 + 9
    assert pieces.overall() == pytest.approx(found)


def test_r2_of_constant_targets_is_not_defined_and_large_offsets_do_not_spoil_it() -> None:
    constant, far = Errors(), Errors()
    constant.add(np.full((4, 1), 0.1), np.zeros((4, 1)))
    assert isnan(constant.overall()["r2"])
    far.add(1e9 + np.array([[0.0], [1.0], [2.0]]), 1e9 + np.array([[0.0], [1.0], [3.0]]))
    assert far.overall()["r2"] == pytest.approx(0.5)


# ---- gathered in a stream


def counter(names: str, rows: int, kind: str = "classes", logits: bool = False) -> results._ClassCounter:
    return results._ClassCounter(Reading("y", kind, tuple(names), logits), None, rows)


def test_classes_are_the_same_whole_and_in_pieces() -> None:
    rng = np.random.default_rng(3)
    scores, true = rng.normal(size=(101, 4)).astype(np.float32), rng.integers(0, 4, 101)
    found = []
    for step in (101, 7):
        each = counter("abcd", 101, logits=True)
        for start in range(0, 101, step):
            each.add(true[start : start + step], scores[start : start + step])
        found.append(each.result())
    whole, pieces = found
    same = ("accuracy", "confusion", "classes", "worst")
    assert [whole.facts()[key] for key in same] == [pieces.facts()[key] for key in same]
    assert whole.facts()["expected_calibration_error"] == pytest.approx(pieces.facts()["expected_calibration_error"])
    assert whole.decisions == whole.counts.sum() == 101
    assert whole.accuracy == np.mean(scores.argmax(1) == true)


def test_mistakes_come_in_the_order_of_how_little_the_truth_got() -> None:
    each = counter("ab", 4)
    each.add(np.array([0, 1, 0, 0]), np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.05, 0.95]]))
    found = each.result()
    assert found.worst.row.tolist() == [3, 2, 1]
    assert found.confusions() == [(0, 1, 2), (1, 0, 1)]


def test_the_calibration_of_two_classes_is_that_of_the_second() -> None:
    each = counter("ab", 2, kind="binary")
    each.add(np.array([0.0, 1.0], np.float32), np.array([[0.05], [0.95]], np.float32))
    found = each.result()
    assert found.calibration is not None and found.calibration.counts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found.calibration.error == pytest.approx(0.05) and set(found.roc) == {1}


def test_one_hot_targets_and_outputs_that_are_no_probabilities() -> None:
    each = counter("abc", 2)
    each.add(np.eye(3, dtype=np.float32)[[2, 0]], np.array([[-1.0, 0, 4], [0, 2, 1]]))
    found = each.result()
    assert found.counts.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert found.calibration is None and found.facts()["expected_calibration_error"] is None


def test_predictions_that_are_no_numbers_are_left_out_and_counted() -> None:
    each = counter("ab", 3)
    each.add(np.array([0, 1, 1]), np.array([[np.nan, 0.5], [0.2, 0.8], [0.6, 0.4]]))
    found = each.result()
    assert (found.left_out, found.decisions, found.counts.tolist()) == (1, 2, [[0, 0], [1, 1]])
    numbers = results._ValueCounter("y", ("y",), 2)
    numbers.add(np.array([1.0, 2.0]), np.array([[np.inf], [2.5]]))
    assert numbers.result().left_out == 1 and numbers.result().facts()["mean_absolute_error"] == 0.5


def test_scores_and_pairs_that_are_kept_do_not_grow_with_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "KEPT_SCORES", 200)
    monkeypatch.setattr(results, "KEPT_VALUES", 100)
    rng = np.random.default_rng(0)
    each, numbers = counter("ab", 5000), results._ValueCounter("y", ("y",), 5000)
    for _ in range(10):
        p = rng.random(500)
        each.add(rng.random(500) < p, np.stack([1 - p, p], axis=1))
        numbers.add(p, p[:, None])
    found, values = each.result(), numbers.result()
    assert found.scored == 100 and found.decisions == 5000 and found.roc[1].area == pytest.approx(5 / 6, abs=0.12)
    assert 50 < values.true.size < 150 and len(values.worst.row) == 0


# ---- samples


def test_a_row_of_a_table_is_shown_with_the_values_that_it_had() -> None:
    features = (
        Numeric(name="age", fill=30.0, offset=40.0, factor=10.0),
        Category(name="sex", fill=None, categories=("female", "male")),
    )
    layout = {"x": InputLayout(shape=(4,), dtype="float32", features=("age", "sex"))}
    table = Preprocessing(features=features, inputs=layout)
    for row, sex in (([0.5, 0, 1, 0], "male"), ([0.5, 0, 0, 1], "missing, or new")):
        (found,) = samples.shown({"x": np.array(row, np.float32)}, table)
        assert found.values == (("age", "45"), ("sex", sex))


def test_texts_and_long_arrays_are_cut() -> None:
    (text,) = samples.shown({"t": np.array(["word " * 200], np.dtypes.StringDType())}, Preprocessing())
    assert len(text.text) == samples.LONGEST and text.text.endswith("…")
    (array,) = samples.shown({"x": np.arange(100)}, Preprocessing())
    assert array.text.startswith("0 1 2") and array.text.endswith("39 …")


@pytest.mark.parametrize("shape", [(8, 8, 1), (40, 300, 3), (300, 5, 4)])
def test_pictures_are_small_png_files(shape: tuple[int, ...]) -> None:
    pytest.importorskip("matplotlib")
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    (found,) = samples.shown({"x": pixels}, Preprocessing())
    data = base64.b64decode(found.picture.removeprefix("data:image/png;base64,"))
    width, height = (int.from_bytes(data[k : k + 4]) for k in (16, 20))
    assert data.startswith(b"\x89PNG") and found.width == width and max(width, height) <= samples.LARGEST


# ---- charts


def test_charts_name_colours_of_the_page_and_escape_what_is_written_in_them() -> None:
    pytest.importorskip("matplotlib")
    from kerascli.report import charts

    names = ["<script>", "$\\frac$", "日本", 'a"b'] + [f"class number {k} of many" for k in range(6)]
    x = np.linspace(0, 1, 20)
    drawn = {f"{name}{k}": Curve(x, x, 0.5) for k, name in enumerate(names)}
    for svg in (
        charts.thresholds("ROC", drawn, "x", "y", None),
        charts.balance("classes", names, {"train": [1] * 10, "test": [2] * 10}),
        charts.curve([{"epoch": k, "loss": 10.0**-k, "val_loss": None} for k in range(5)], "loss", 2),
        charts.heat(np.eye(30, dtype=int)),
    ):
        assert "<script" not in svg and " id=" not in re.sub(r'<(clipPath|path|image)[^>]*id="[^"]*"', "", svg)
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]*)", svg)) <= {
            "none",
            *(f"var(--{n})" for n in charts._COLOURS),
        }
    assert "mathdefault" not in svg and "0.0001" in charts.curve(
        [{"epoch": k, "loss": 10.0**-k} for k in range(5)], "loss", None
    )
