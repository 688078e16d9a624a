"""`kerascli report`: what the page says, whatever is left of a run, and how it looks in a real browser.

The browser is Chromium or one of its kin on the path. A continuous integration must have one; elsewhere the tests that
need it are skipped with that reason.
"""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli import api
from kerascli.check import check
from kerascli.report import page
from kerascli.stored import Stored
from tests.browser import Browser
from tests.cli.session import Answer, Shell

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

HOSTILE = ("<script>window.hacked = 1</script>", '"><img src=x onerror="window.hacked = 1">', "{{ 7 * 7 }} & $\\frac$")
TWO_OUTPUTS = """
seed: 1
dataset: {type: npz, path: d.npz, targets: {kind: kind, size: size}}
layers:
  - {type: Input, name: x, shape: [3]}
  - {type: Dense, units: 8, activation: relu, name: both}
  - {type: Dense, units: 3, activation: softmax, name: kind, inputs: both}
  - {type: Dense, units: 2, name: size, inputs: both}
outputs: [kind, size]
loss: {kind: sparse_categorical_crossentropy, size: mse}
metrics: {kind: [accuracy], size: [mae]}
training: {epochs: 2}
"""


def written(answer: Answer, folder: Path) -> str:
    assert answer.code == 0, answer.err
    return (folder / answer.out.strip()).read_text("utf-8")


def test_the_page_is_written_into_the_run_and_tells_everything(ask: Shell, trained: Path) -> None:
    answer = ask("report", "penguins", "--threads", 1)
    text = written(answer, trained)
    assert re.fullmatch(r"runs/penguins-[\d-]+/report\.html\n", answer.out)
    for anchor in page.ANCHORS:
        assert text.count(f'<section id="{anchor}">') == 1
    for word in ("Adelie", "Chinstrap", "Gentoo", "bill_length_mm", "sparse_categorical_crossentropy", "val_loss"):
        assert word in text
    for word in ("confusion matrix", "expected calibration error", "roc", "precision", "samples a second", "numpy"):
        assert word in text.lower()
    assert "http:" not in text.replace("http-equiv", "") and "https:" not in text and "<script" not in text
    assert len(text) < 400_000


def test_json_has_the_numbers_that_evaluate_and_metrics_json_have(ask: Shell, trained: Path) -> None:
    found = ask("report", "penguins", "-o", "p.html", "--json", "--threads", 1).document
    (result,) = found["results"]
    assert found["split"] == "test" and (trained / found["file"]).is_file()
    assert result["accuracy"] == pytest.approx(found["metrics"]["test"]["accuracy"])
    assert sum(map(sum, result["confusion"])) == result["samples"] == found["samples"]["test"]
    assert [c["name"] for c in result["classes"]] == ["Adelie", "Chinstrap", "Gentoo"]
    best = ask("report", "digits", "-o", "d.html", "--json", "--split", "validation", "--weights", "best").document
    assert (best["split"], best["weights"]) == ("validation", "best")
    evaluated = ask("evaluate", "digits", "--split", "validation", "--weights", "best", "--json").document["metrics"]
    assert best["results"][0]["accuracy"] == pytest.approx(evaluated["accuracy"])


def test_each_output_has_its_part(shell: Shell) -> None:
    rng, arrays = np.random.default_rng(0), {}
    for split, rows in (("train", 60), ("test", 30)):
        x = rng.normal(size=(rows, 3)).astype(np.float32)
        arrays |= {f"x_{split}": x, f"kind_{split}": x.argmax(1), f"size_{split}": x[:, :2] * 2}
    np.savez(shell.folder / "d.npz", **arrays)
    shell.write(TWO_OUTPUTS)
    assert shell("train", "spec.yaml", "-q", "--threads", 1).code == 0
    found = shell("report", "latest", "--json", "--threads", 1).document
    kind, size = found["results"]
    assert (
        kind["kind"] == "classes"
        and size["kind"] == "values"
        and [c["name"] for c in size["columns"]]
        == [
            "size[0]",
            "size[1]",
        ]
    )
    assert size["mean_absolute_error"] == pytest.approx(found["metrics"]["test"]["size_mae"], rel=1e-5)
    text = (shell.folder / found["file"]).read_text("utf-8")
    assert "Output kind" in text and "Output size" in text and "predicted against true" in text


def hostile(shell: Shell) -> None:
    """A run whose data and spec have names that would be code."""
    chance = random.Random(1)
    with (shell.folder / "d.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "</style><b>column", "target"])
        for _ in range(150):
            kind = chance.randrange(3)
            writer.writerow([chance.gauss(kind, 0.8), chance.choice(HOSTILE), HOSTILE[kind]])
    shell.write(
        """
description: "</pre><script>window.hacked = 1</script>"
dataset: {type: csv, path: d.csv, target: target, validation_split: 0.2}
layers: [{type: Dense, units: 4, name: "a<script>b"}, {type: Dense, units: 3, activation: softmax}]
loss: sparse_categorical_crossentropy
metrics: [accuracy]
training: {epochs: 2}
"""
    )
    assert shell("train", "spec.yaml", "-q", "--threads", 1).code == 0


def test_names_that_would_be_code_are_text(shell: Shell) -> None:
    hostile(shell)
    text = written(shell("report", "latest", "--threads", 1), shell.folder)
    assert "<script" not in text and "<img src=x" not in text and "</style><b>" not in text
    assert "&lt;script&gt;" in text and "{{ 7 * 7 }}" in text
    assert "validation data, for there is no test split" in text


# ---- what is left of a run


@pytest.fixture
def copy(trained: Path, shell: Shell) -> Path:
    """The digits run, to be spoilt."""
    (run,) = (trained / "runs").glob("digits-*")
    return shutil.copytree(run, shell.folder / "runs" / "copy", ignore=shutil.ignore_patterns("report.html"))


def facts(run: Path, **changes: Any) -> None:
    known = json.loads((run / "run.json").read_text())
    known.update(changes)
    (run / "run.json").write_text(json.dumps({k: v for k, v in known.items() if v is not None}))


LABELS = """
dataset: {type: csv, path: d.csv, target: species, test_split: 0.3}
layers: [{type: Dense, units: 12, activation: softmax}]
loss: sparse_categorical_crossentropy
"""


def birds(folder: Path) -> Path:
    """A run of twelve classes with long names, one of them a single word."""
    chance = random.Random(2)
    names = [f"{kind} {bird}" for kind in ("lesser", "yellow-bellied") for bird in ("gull", "plover", "sapsucker")]
    names += ["semipalmated_sandpiper_in_winter_plumage", *(f"warbler of the {k}th valley" for k in range(4, 9))]
    rows = [f"{chance.random():.3f},{chance.random():.3f},{name}" for name in names * 12]
    (folder / "d.csv").write_text("\n".join(["wing,bill_length_from_the_front_to_the_back,species", *rows]))
    (folder / "birds.yaml").write_text(LABELS)
    return api.train(check(folder / "birds.yaml"), folder, threads=1).run


def test_several_labels_a_sample_are_measured_each_on_its_own(shell: Shell) -> None:
    x = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    np.savez(shell.folder / "d.npz", x_train=x, y_train=x > 0, x_test=x, y_test=np.abs(x) > 0.5)
    layers = "[{type: Dense, units: 3, activation: sigmoid, name: tags}]"
    shell.write(f"dataset: {{type: npz, path: d.npz}}\nlayers: {layers}\nloss: binary_crossentropy\n")
    assert shell("train", "spec.yaml", "-q", "--threads", 1).code == 0
    found = shell("report", "latest", "--json", "--threads", 1).document
    (result,) = found["results"]
    weights = Stored(next((shell.folder / "runs").iterdir())).weights()
    true, chosen = np.abs(x) > 0.5, x @ weights["tags/kernel"] + weights["tags/bias"] > 0
    recall = (true & chosen).sum(axis=0) / true.sum(axis=0)
    assert [label["name"] for label in result["labels"]] == ["tags[0]", "tags[1]", "tags[2]"]
    assert [label["recall"] for label in result["labels"]] == pytest.approx(recall.tolist())
    text = (shell.folder / found["file"]).read_text("utf-8")
    assert "Each label on its own" in text and "tags[0], tags[" in text


def test_without_its_data_a_run_still_has_curves_and_a_model(copy: Path, shell: Shell) -> None:
    resolved = copy / "resolved.yaml"
    spec = resolved.read_text().split("layers:")
    resolved.write_text(
        f"{re.sub('(?s)dataset:.*', 'dataset: {type: npz, path: gone.npz}', spec[0])}\nlayers:{spec[1]}"
    )
    found = shell("report", "copy", "--json").document
    assert set(found["absent"]) == {"data", "results"} and "gone.npz" in found["absent"]["data"]
    assert found["samples"]["train"] > 0 and found["results"] == []
    text = (copy / "report.html").read_text("utf-8")
    assert "The data cannot be read any more" in text and "<figure" in text and "Rescaling" in text


def test_runs_that_were_killed_failed_or_lost_files_are_told_as_far_as_they_go(copy: Path, shell: Shell) -> None:
    facts(copy, status="interrupted", seconds=None)
    (copy / "metrics.json").unlink()
    (copy / "model.weights.h5").unlink()
    found = shell("report", "copy", "--json")
    assert found.document["weights"] == "best" and "best" in found.err and set(found.document["absent"]) == {"figures"}
    facts(copy, status="failed", error="RuntimeError: <b>bang</b>")
    for name in ("history.csv", "train.log", "checkpoints"):
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = shell("report", "copy", "--json")
    assert set(found.document["absent"]) == {"figures", "curves", "timings", "results"}
    assert "&lt;b&gt;bang" in (copy / "report.html").read_text("utf-8")
    facts(copy, signature=None, machine=None, versions=None)
    assert {"model", "data", "results"} <= set(shell("report", "copy", "--json").document["absent"])


def test_other_data_than_those_of_the_training_are_pointed_out(copy: Path, shell: Shell) -> None:
    facts(copy, dataset="sha256:other")
    assert "not those that the run was trained on" in written(shell("report", "copy"), shell.folder)


def test_an_exported_model_is_told_without_its_training(copy: Path, shell: Shell) -> None:
    assert shell("export", "copy", "--format", "keras", "-o", "m.keras").code == 0
    answer = shell("report", "m.keras", "--threads", 1)
    text = written(answer, shell.folder)
    assert answer.out == "m.html\n" and "no record of its training" in text and "confusion matrix" in text.lower()


def test_what_cannot_be_written_or_drawn_is_a_problem_and_leaves_no_file(
    copy: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = shell("report", "copy", "-o", "nowhere/page.html")
    assert answer.code == 1 and "E501" in answer.err
    assert shell("report", "copy", "--split", "train", "-o", "t.html").code == 0
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None if name == "jinja2" else object())
    answer = shell("report", "copy", "-o", "page.html")
    assert answer.code == 1 and "E516" in answer.err and "`jinja2`" in answer.err
    assert 'pip install "kerascli[report]"' in answer.err and not (shell.folder / "page.html").exists()


def test_a_browser_is_opened_only_when_asked(ask: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert ask("report", "digits").code == 0 and not opened
    assert ask("report", "digits", "--open").code == 0
    assert len(opened) == 1 and opened[0].startswith("file:///") and opened[0].endswith("report.html")


# ---- in a real browser


@pytest.fixture(scope="module")
def pages(trained: Path) -> dict[str, Path]:
    """The reports of runs of pictures, of a table, and of many classes with long names."""
    found = {}
    for name in ("digits", "penguins"):
        (run,) = (trained / "runs").glob(f"{name}-*")
        found[name], _ = api.report(Stored(run), trained / f"{name}.html", threads=1)
    found["birds"], _ = api.report(Stored(birds(trained)), trained / "birds.html", threads=1)
    return found


@pytest.mark.parametrize("name", ["digits", "penguins", "birds"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_and_is_readable(
    name: str, width: int, dark: bool, pages: dict[str, Path], browser: Browser
) -> None:
    browser.show(pages[name], width, dark=dark)
    assert [url for url in browser.requests if not url.startswith("data:")] == browser.requests[:1]
    assert browser.messages == []
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask(OVERFLOWING) == []
    assert browser.ask(SMALLEST) >= 9.5
    assert browser.ask(CONTRAST) >= 4.5
    assert browser.ask("[...document.images].every(image => image.complete && image.naturalWidth > 0 && image.alt)")
    assert browser.ask("[...document.querySelectorAll('table')].every(t => t.caption && t.querySelector('th[scope]'))")
    assert browser.ask("[...document.querySelectorAll('[id]')].length") == browser.ask(
        "new Set([...document.querySelectorAll('[id]:not(defs *)')].map(e => e.id)).size"
        " + document.querySelectorAll('defs [id]').length"
    )
    assert browser.ask("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")
    paper = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 128) == dark


def test_no_name_becomes_code(shell: Shell, browser: Browser) -> None:
    hostile(shell)
    answer = shell("report", "latest", "--threads", 1)
    browser.show(shell.folder / answer.out.strip())
    assert browser.ask("window.hacked === undefined") and len(browser.requests) == 1 + sum(
        url.startswith("data:") for url in browser.requests
    )
    words = browser.ask("[...document.querySelectorAll('.confusion tbody th')].map(e => e.textContent)")
    assert sorted(words) == sorted(HOSTILE)
    browser.ask(
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://localhost:9/x.png'}))"
    )
    assert any("Content Security Policy" in text for text in _later(browser))


def _later(browser: Browser) -> list[str]:
    for _ in range(20):
        browser.ask("new Promise(done => setTimeout(done, 50))")
        if browser.messages:
            break
    return browser.messages


OVERFLOWING = """[...document.querySelectorAll('main *:not(svg *)')].filter(e => {
  const box = e.getBoundingClientRect()
  return box.width && !e.closest('.scroll, pre, details') && box.right > innerWidth + 1
}).map(e => e.outerHTML.slice(0, 120))"""
SMALLEST = """Math.min(...[...document.querySelectorAll('body *')].filter(e => !e.closest('details') &&
  [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
  const svg = e.closest('svg'), size = parseFloat(getComputedStyle(e).fontSize)
  return svg ? size * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : size
}))"""
CONTRAST = """(() => {
  const parse = c => { const v = c.match(/[\\d.]+/g).map(Number); return [v[0], v[1], v[2], v[3] ?? 1] }
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
  const behind = e => {
    if (!e) return [255, 255, 255]
    const [r, g, b, a] = parse(getComputedStyle(e).backgroundColor), under = a < 1 ? behind(e.parentElement) : [0, 0, 0]
    return [r, g, b].map((v, k) => v * a + under[k] * (1 - a)) }
  const texts = [...document.querySelectorAll('body *')].filter(e =>
    [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && e.getClientRects().length)
  return Math.min(...texts.map(e => {
    const style = getComputedStyle(e), ink = parse(e.closest('svg') ? style.fill : style.color)
    const [a, b] = [light(ink), light(behind(e.closest('svg')?.parentElement ?? e))].sort((x, y) => y - x)
    return (a + 0.05) / (b + 0.05) }))
})()"""
