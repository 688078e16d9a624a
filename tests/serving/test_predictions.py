"""What is answered: the numbers and words of `kerascli predict`, whatever form the rows come in."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from kerascli import api, predictions
from kerascli.stored import Stored
from tests.serving.conftest import Served

TABLE = Path(str(files("kerascli.data") / "penguins.csv"))
Server = Callable[[str], Served]


def predicted(stored: Stored, *inputs: Path | str, top: int | None = None) -> list[dict[str, Any]]:
    """What `kerascli predict` says."""
    places: list[str] = []
    model, outputs = api.predict(stored, [str(i) for i in inputs], threads=1, places=places)
    found = list(predictions.rows(model, outputs, top, places))
    for row in found:
        row.pop("file", None)
    return found


def alike(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> bool:
    """The same keys in the same order; words are equal, numbers nearly."""
    return [list(row) for row in found] == [list(row) for row in wanted] and all(
        math.isclose(value, other[key], rel_tol=1e-5, abs_tol=1e-7) if isinstance(value, float) else value == other[key]
        for row, other in zip(found, wanted, strict=True)
        for key, value in row.items()
    )


def features(kinds: dict[str, Any]) -> list[dict[str, Any]]:
    """The table's rows as JSON writes them."""
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    return [
        {k: None if row[k] == "NA" else float(row[k]) if kinds[k].makes_numbers else row[k] for k in kinds}
        for row in rows
    ]


def test_rows_of_features_and_the_table_itself_give_what_predict_gives(served: Server) -> None:
    penguins = served("penguins")
    wanted = predicted(penguins.stored, TABLE)
    assert len(wanted) > 300 and alike(penguins.rows(*features(penguins.stored.preprocessing.kinds)), wanted)
    answer = penguins.predict(TABLE.read_bytes(), type="text/csv; charset=utf-8")
    assert answer.status == 200 and alike(answer.document["predictions"], wanted)
    lines = TABLE.read_text("utf-8").splitlines()
    answer = penguins.predict("\n".join(lines[:4]).replace(",", ";").encode("utf-16"), type="text/csv; charset=utf-16")
    assert answer.status == 200 and alike(answer.document["predictions"], wanted[:3])


def test_answers_are_csv_where_that_is_wanted_more(served: Server) -> None:
    penguins = served("penguins")
    table = b"\n".join(TABLE.read_bytes().splitlines()[:6])
    for accept in ("text/csv", "application/json;q=0.5, text/csv", "text/*"):
        answer = penguins.predict(table, "?top_k=2", "text/csv", Accept=accept)
        assert answer.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
        assert len(rows) == 5 and list(rows[0]) == ["class_1", "probability_1", "class_2", "probability_2"]
    for accept in ("*/*", "", "application/json, text/csv;q=0.9", "application/*"):
        assert penguins.predict(table, type="text/csv", Accept=accept).headers["content-type"] == "application/json"
    assert penguins.predict(table, type="text/csv", Accept="image/png").status == 406


def test_the_likeliest_classes_are_asked_for_in_the_body_or_the_query(served: Server) -> None:
    penguins = served("penguins")
    (row,) = features(penguins.stored.preprocessing.kinds)[:1]
    (wanted,) = predicted(penguins.stored, TABLE, top=2)[:1]
    assert alike(penguins.rows(row, top_k=2), [wanted])
    assert alike(penguins.predict({"inputs": [row]}, "?top_k=2").document["predictions"], [wanted])
    assert len(penguins.rows(row, top_k=99)[0]) == 6


def test_values_that_training_never_showed_are_told(served: Server) -> None:
    penguins = served("penguins")
    good = features(penguins.stored.preprocessing.kinds)[0]
    answer = penguins.predict({"inputs": [good | {"island": "Atlantis", "owner": "nobody"}]}).document
    assert len(answer["predictions"]) == 1 and "`Atlantis` 1×" in answer["notes"][0]
    lacking = {key: value for key, value in good.items() if key != "sex"}
    answer = penguins.predict({"inputs": [lacking, good, lacking | {"species": "Adelie"}]}).document
    assert answer["notes"] == ["column `sex`: missing in 2 rows"]
    assert alike(answer["predictions"][:1], penguins.rows(good | {"sex": None}))


def test_images_give_what_predict_gives(served: Server, tmp_path: Path) -> None:
    from PIL import Image

    mnist, rng = served("mnist"), np.random.default_rng(1)
    names = []
    for number, (suffix, mode) in enumerate((("png", "L"), ("jpg", "RGB"), ("bmp", "RGB"), ("gif", "L"))):
        pixels = rng.integers(0, 256, (40, 33, 3) if mode == "RGB" else (28, 28), np.uint8)
        names.append(tmp_path / f"{number}.{suffix}")
        Image.fromarray(pixels).save(names[-1])
    wanted = predicted(mnist.stored, *names)
    for path, row in zip(names, wanted, strict=True):
        kind = {"png": "png", "jpg": "jpeg", "bmp": "bmp", "gif": "gif"}[path.suffix[1:]]
        assert alike(mnist.predict(path.read_bytes(), type=f"image/{kind}").document["predictions"], [row])
    assert mnist.predict(names[1].read_bytes(), type="image/jpg").status == 200
    answer = mnist.predict(*form([(path.name, path.read_bytes()) for path in names]))
    found = answer.document["predictions"]
    assert [row.pop("file") for row in found] == [path.name for path in names]
    assert alike(found, wanted)


def form(named: list[tuple[str, bytes]], field: str = "image") -> tuple[bytes, str, str]:
    """A body, no query, and its type."""
    head = '--XX\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\n\r\n'
    parts = [head.format(field, name).encode() + data + b"\r\n" for name, data in named]
    return b"".join(parts) + b"--XX--\r\n", "", "multipart/form-data; boundary=XX"


def test_images_are_read_as_those_of_the_training_folder_were(served: Server, folder: Path) -> None:
    pictures = served("pictures")
    path = folder / "pictures" / "light" / "2.png"
    answer = pictures.predict(path.read_bytes(), type="image/png").document["predictions"]
    assert alike(answer, predicted(pictures.stored, path)) and answer[0]["class"] in ("dark", "light")


def test_arrays_of_numbers_and_csv_of_numbers_give_what_predict_gives(served: Server, tmp_path: Path) -> None:
    mnist = served("mnist")
    x = np.random.default_rng(2).integers(0, 256, (150, 28, 28), np.uint8)
    np.save(tmp_path / "x.npy", x)
    wanted = predicted(mnist.stored, tmp_path / "x.npy")
    assert alike(mnist.rows(*x.tolist()), wanted)
    assert alike(mnist.rows(*x[..., None].tolist()[:3]), wanted[:3])
    lines = "\n".join(",".join(map(str, row)) for row in x.reshape(150, -1).tolist())
    assert alike(mnist.predict(lines.encode(), type="text/csv").document["predictions"], wanted)


def test_several_inputs_and_outputs_go_by_their_names(served: Server, folder: Path, tmp_path: Path) -> None:
    arrays = served("arrays")
    with np.load(folder / "d.npz") as data:
        left, right = data["left_train"][:5], data["right_train"][:5]
    np.savez(tmp_path / "x.npz", left=left, right=right)
    rows = [{"left": a.tolist(), "right": b.tolist()} for a, b in zip(left, right, strict=True)]
    found = arrays.rows(*rows)
    assert alike(found, predicted(arrays.stored, tmp_path / "x.npz"))
    assert {"kind_class", "kind_probability", "size"} <= set(found[0])


def test_texts_give_what_predict_gives(served: Server, tmp_path: Path) -> None:
    reviews = served("reviews")
    texts = ["a lovely, moving film", "DULL & awful", "neither"]
    (tmp_path / "t.txt").write_text("\n".join(texts))
    wanted = predicted(reviews.stored, tmp_path / "t.txt")
    assert [row["class"] for row in wanted[:2]] == ["good", "bad"]
    assert alike(reviews.rows(*texts), wanted) and alike(reviews.rows(*({"review": t} for t in texts)), wanted)
    table = io.StringIO()
    csv.writer(table).writerows([["review"], *([text] for text in texts)])
    assert alike(reviews.predict(table.getvalue().encode(), type="text/csv").document["predictions"], wanted)


def test_requests_at_the_same_time_get_each_its_own_answer(served: Server) -> None:
    from concurrent.futures import ThreadPoolExecutor

    mnist = served("mnist")
    x = np.random.default_rng(3).integers(0, 256, (12, 28, 28), np.uint8).tolist()
    alone = [mnist.rows(row) for row in x]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(mnist.rows, x))
    assert [json.dumps(a) for a in alone] == [json.dumps(b) for b in together]
