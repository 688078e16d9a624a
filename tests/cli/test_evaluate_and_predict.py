"""`evaluate` and `predict`: any split, any file of the right kind, outputs in the samples' order."""

from __future__ import annotations

import csv
import io
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from kerascli import api
from kerascli.run import find
from kerascli.stored import Stored
from tests.cli.session import Shell, run

TABLE = Path(str(files("kerascli.data") / "penguins.csv"))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.random.default_rng(3).integers(0, 17, (700, 8, 8, 1)).astype(np.uint8))
    return path


# ---- evaluate


def test_evaluation_of_a_split_gives_what_training_said(ask: Shell, trained: Path) -> None:
    (path,) = (trained / "runs").glob("digits-*")
    said = json.loads((path / "metrics.json").read_text())
    for words, split in (((), "test"), (("--split", "validation"), "validation")):
        found = ask("evaluate", "digits", *words, "--json").document
        assert found["split"] == split
        assert found["metrics"] == pytest.approx(said[split], rel=1e-6)
    train = ask("evaluate", "digits", "--split", "train", "--json").document["metrics"]
    assert train["accuracy"] > said["test"]["accuracy"] - 0.2


def test_evaluation_is_a_small_table_for_people(ask: Shell) -> None:
    answer = ask("evaluate", "digits")
    assert answer.code == 0 and answer.out.split()[:2] == ["split", "test"] and "accuracy" in answer.out


def test_best_and_last_weights_may_differ_but_both_are_there(ask: Shell) -> None:
    for which in ("best", "last"):
        assert ask("evaluate", "penguins", "--weights", which, "--json").document["metrics"]["accuracy"] > 0.5


def test_evaluation_of_a_table_and_of_another_spec(ask: Shell, trained: Path) -> None:
    whole = ask("evaluate", "penguins", "--data", TABLE, "--json").document["metrics"]
    assert whole["accuracy"] > 0.9
    spec = (trained / "penguins.yaml").read_text()
    (trained / "few.yaml").write_text(spec.replace("test_split: 0.2", "test_split: 0.2, limit: 9"))
    assert ask("evaluate", "penguins", "--data", "few.yaml", "--json").document["metrics"]["accuracy"] > 0.7


def test_another_table_is_encoded_as_the_run_was_and_not_by_its_own_statistics(ask: Shell, trained: Path) -> None:
    """The heaviest hundred birds: scaled by their own mean they would look like an average hundred."""
    with TABLE.open() as file:
        lines = list(csv.DictReader(file))
    heavy = sorted((row for row in lines if row["body_mass_g"] != "NA"), key=lambda row: float(row["body_mass_g"]))[
        -100:
    ]
    with (trained / "heavy.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(heavy[0]))
        writer.writeheader()
        writer.writerows(heavy)
    spec = (trained / "penguins.yaml").read_text()
    own = "{type: csv, path: heavy.csv, target: species, test_split: 0.5}"
    (trained / "heavy.yaml").write_text(spec.replace("{type: penguins, validation_split: 0.2, test_split: 0.2}", own))
    direct = ask("evaluate", "penguins", "--data", "heavy.csv", "--json").document["metrics"]
    through_spec = ask("evaluate", "penguins", "--data", "heavy.yaml", "--json")
    assert direct["accuracy"] > 0.9
    assert through_spec.document["metrics"]["accuracy"] > 0.9


def test_an_unknown_category_in_a_table_is_told(ask: Shell, trained: Path) -> None:
    lines = TABLE.read_text().splitlines()
    (trained / "new.csv").write_text("\n".join([lines[0], lines[1].replace("Biscoe", "Atlantis"), lines[2]]))
    answer = ask("evaluate", "penguins", "--data", "new.csv", "--json")
    assert answer.code == 0 and "Atlantis" in answer.err


def test_a_dataset_that_the_model_cannot_read_is_an_error(ask: Shell, trained: Path) -> None:
    answer = ask("evaluate", "penguins", "--data", "digits.yaml")
    assert answer.code == 1 and "fault of kerascli" not in answer.err
    assert ask("evaluate", "digits", "--data", TABLE).code == 1


# ---- which run


def test_latest_prefix_and_path_name_runs(ask: Shell, trained: Path) -> None:
    (path,) = (trained / "runs").glob("penguins-*")
    words = ("latest", "penguins", path.name, path, f"runs/{path.name}")
    answers = {ask("evaluate", word, "--json").out for word in words}
    assert len(answers) == 1


def test_no_such_run_is_exit_code_1(ask: Shell) -> None:
    answer = ask("evaluate", "absent")
    assert answer.code == 1 and "no run `absent`" in answer.err


# ---- predict


def test_a_table_gives_class_names_and_probabilities_in_its_order(ask: Shell) -> None:
    answer = ask("predict", "penguins", TABLE)
    found = rows(answer.out)
    with TABLE.open() as file:
        truth = [row["species"] for row in csv.DictReader(file)]
    assert len(found) == len(truth) and sum(r["class"] == t for r, t in zip(found, truth, strict=True)) > 300
    names = [name.removeprefix("probability_") for name in found[0] if name.startswith("probability_")]
    assert names == ["Adelie", "Chinstrap", "Gentoo"]
    for row in found:
        p = {name: float(row[f"probability_{name}"]) for name in names}
        assert sum(p.values()) == pytest.approx(1, abs=1e-4) and row["class"] == max(p, key=lambda n: p[n])


def test_the_target_column_is_not_needed_and_neither_is_the_order_of_columns(ask: Shell, trained: Path) -> None:
    with TABLE.open() as file:
        table = list(csv.DictReader(file))
    columns = [name for name in table[0] if name != "species"][::-1]
    with (trained / "bare.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    assert ask("predict", "penguins", "bare.csv").out == ask("predict", "penguins", TABLE).out


def test_top_k_is_sorted(ask: Shell) -> None:
    found = rows(ask("predict", "penguins", TABLE, "--top-k", 2).out)
    assert list(found[0]) == ["class_1", "probability_1", "class_2", "probability_2"]
    assert all(float(row["probability_1"]) >= float(row["probability_2"]) for row in found)
    assert list(rows(ask("predict", "penguins", TABLE, "--top-k", 99).out)[0])[-1] == "probability_3"


def test_raw_outputs_of_an_array_are_in_order_and_do_not_depend_on_workers_or_pieces(
    ask: Shell, images: Path, trained: Path
) -> None:
    found = []
    for threads in (1, 2):
        answer = ask("predict", "digits", images, "-o", f"out{threads}.npy", "--threads", threads)
        assert answer.code == 0 and answer.out.strip() == f"out{threads}.npy"
        found.append(np.load(trained / f"out{threads}.npy"))
    assert found[0].shape == (700, 10) and found[0].dtype == np.float32
    assert np.array_equal(found[0], found[1])
    np.save(trained / "part.npy", np.load(images)[300:340])
    ask("predict", "digits", "part.npy", "-o", "part_out.npy")
    np.testing.assert_allclose(np.load(trained / "part_out.npy"), found[0][300:340], rtol=1e-5, atol=1e-7)
    ask("predict", "digits", "part.npy", images, "-o", "two.npz")
    with np.load(trained / "two.npz") as both:
        assert [both[name].shape for name in both.files] == [(740, 10)]


def test_json_lines_and_standard_input(ask: Shell, trained: Path) -> None:
    answer = ask("predict", "penguins", TABLE, "--format", "jsonl")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert set(lines[0]) == {
        "class",
        "probability",
        "probability_Adelie",
        "probability_Chinstrap",
        "probability_Gentoo",
    }
    piped = run("predict", "penguins", "-", folder=trained, input=TABLE.read_text())
    assert piped.code == 0 and piped.out == ask("predict", "penguins", TABLE).out


def test_predicting_many_pieces_starts_the_workers_once(trained: Path, tmp_path: Path) -> None:
    stored = Stored(find("penguins", trained / "runs"))
    runner = api.opened(stored, "last", 2)
    with runner.session:
        x = {name: np.zeros((5, *layout.shape), np.float32) for name, layout in stored.preprocessing.inputs.items()}
        runner.predict(x)
        team = runner.session._team
        for _ in range(3):
            runner.predict(x)
        assert runner.session._team is team


def test_what_cannot_be_predicted_is_exit_code_1(ask: Shell, images: Path, trained: Path) -> None:
    np.save(trained / "wide.npy", np.zeros((3, 9, 9, 1), np.uint8))
    for words in (("digits", "wide.npy"), ("digits", "absent.npy"), ("penguins", images), ("digits", TABLE)):
        answer = ask("predict", *words)
        assert answer.code == 1 and answer.out == "" and "error[E4" in answer.err, words
    assert ask("predict", "digits").code == 2
    assert ask("predict", "digits", images, "-o", "strange.suffix").code == 2


# ---- --json


def test_predictions_are_one_json_document_if_asked(ask: Shell, images: Path) -> None:
    found = ask("predict", "digits", images, "--json", "--top-k", 2).document["predictions"]
    assert len(found) == 700
    assert set(found[0]) == {"class_1", "probability_1", "class_2", "probability_2"}
    lines = ask("predict", "digits", images, "--format", "jsonl", "--top-k", 2).out.splitlines()
    assert found == [json.loads(line) for line in lines]


def test_json_says_where_predictions_went(ask: Shell, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "found.npy"
    answer = ask("predict", "digits", images, "--json", "-o", path)
    assert answer.document == {"output": str(path), "format": "npy", "samples": 700}
    assert np.load(path).shape == (700, 10)


def test_json_and_a_format_without_a_file_are_told_apart(ask: Shell, images: Path) -> None:
    answer = ask("predict", "digits", images, "--json", "--format", "npy")
    assert answer.code == 2 and "add `-o FILE`" in answer.err
