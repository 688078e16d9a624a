"""The page in a real browser: a digit is drawn, a file dropped, a text typed, fields filled, and a prediction appears.

The browser is Chromium or one of its kin on the path. A continuous integration must have one; elsewhere these tests are
skipped with that reason.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.cli.test_report import CONTRAST, OVERFLOWING
from tests.serving.conftest import HOSTILE, Served
from tests.serving.test_predictions import predicted

Server = Callable[[str], Served]
READY = "document.querySelectorAll('#tabs button').length > 0"
BEST = "!!document.querySelector('.best')"


def until(browser: Browser, script: str) -> None:
    """Wait until an expression holds in the page."""
    for _ in range(400):
        if browser.ask(script):
            return
        time.sleep(0.025)
    raise AssertionError(browser.ask("document.body.innerText"))


def opened(browser: Browser, server: Served, width: int = 1280, dark: bool = False) -> None:
    browser.show(server.url, width, dark=dark)
    until(browser, READY)


def best(browser: Browser) -> str:
    until(browser, f"{BEST} && document.querySelector('#answer').getAttribute('aria-busy') === null")
    found: str = browser.ask("document.querySelector('.best').innerText")
    return found


def stroke(browser: Browser, *places: tuple[float, float]) -> None:
    """Draw with the mouse; places are parts of the board's width and height."""
    x, y, side = browser.ask(
        "(() => { const b = document.querySelector('.draw').getBoundingClientRect(); return [b.x, b.y, b.width] })()"
    )
    kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1), "mouseReleased"]
    for kind, (a, b) in zip(kinds, (*places, places[-1]), strict=True):
        browser.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x + a * side,
            y=y + b * side,
            button="left",
            buttons=1,
            clickCount=1,
        )


def ink(browser: Browser) -> list[int]:
    """What the model sees: 28 × 28 bytes."""
    found: list[int] = browser.ask(
        "[...document.querySelector('.seen').getContext('2d').getImageData(0, 0, 28, 28).data]"
        ".filter((_, k) => k % 4 === 0)"
    )
    return found


def test_a_digit_is_drawn_and_read_as_mnist_wants_it(served: Server, browser: Browser) -> None:
    opened(browser, served("mnist"))
    stroke(browser, (0.2, 0.1), (0.19, 0.2), (0.18, 0.35))  # a one, small and in a corner
    assert best(browser) == "1"
    rows = [k // 28 for k, v in enumerate(ink(browser)) if v]
    columns = [k % 28 for k, v in enumerate(ink(browser)) if v]
    assert (min(rows), max(rows)) == (4, 23) and 12 <= sum(columns) / len(columns) <= 15
    browser.ask("[...document.querySelectorAll('button')].find(b => b.innerText === 'Clear').click()")
    assert not any(ink(browser)) and not browser.ask(BEST)
    stroke(browser, *[(0.5 - 0.2 * math.sin(k / 3), 0.5 - 0.33 * math.cos(k / 3)) for k in range(20)])
    assert best(browser) == "0"
    assert [text for text in browser.messages if "Canvas2D" not in text] == []  # of this test's own reading
    page = browser.requests[0]
    assert all(url.startswith((page, "data:", "blob:")) for url in browser.requests)


def test_an_image_is_chosen_and_predicted_as_it_is(served: Server, folder: Path, browser: Browser) -> None:
    pictures = served("pictures")
    path = folder / "pictures" / "light" / "1.png"
    opened(browser, pictures)
    document = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=document, selector="input[type=file]")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
    (row,) = predicted(pictures.stored, path)
    assert best(browser) == row["class"]
    assert browser.ask("document.querySelector('.picture img').naturalWidth") == 15
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(folder / "reviews.csv")])
    until(browser, "!!document.querySelector('.problem')")
    assert browser.messages == [] or all("blob" in text for text in browser.messages)


def test_a_text_is_typed(served: Server, browser: Browser) -> None:
    opened(browser, served("reviews"))
    browser.ask("document.querySelector('textarea').focus()")
    browser.call("Input.insertText", text="dull and awful")
    browser.ask("document.querySelector('button.main').click()")
    assert best(browser) == "bad" and browser.messages == []


def test_features_are_filled_in(served: Server, browser: Browser) -> None:
    penguins = served("penguins")
    opened(browser, penguins)
    assert browser.ask("[...document.querySelector('select[name=island]').options].map(o => o.value)") == [
        "Biscoe", "Dream", "Torgersen", "\0"
    ]  # fmt: skip
    fill = "(() => { const e = document.getElementsByName('{}')[0]; e.value = {}; return e.type })()"
    for name, value in (
        ("flipper_length_mm", "'230'"),
        ("body_mass_g", "''"),
        ("sex", "'male'"),
        ("island", "'Biscoe'"),
    ):
        browser.ask(fill.replace("{}", name, 1).replace("{}", value, 1))
    browser.ask("document.querySelector('button.main').click()")
    row = dict(penguins.ask("/model.json").document["example"], flipper_length_mm=230, body_mass_g=None, sex="male")
    wanted = penguins.rows(row)[0]
    assert best(browser) == wanted["class"]
    shown = browser.ask("document.querySelector('.bars li').innerText").split()
    assert shown[0] == wanted["class"] and abs(float(shown[-2]) - 100 * wanted["probability"]) < 0.06


def test_any_model_takes_rows_as_json_and_tells_what_is_wrong(served: Server, browser: Browser) -> None:
    opened(browser, served("arrays"))
    browser.ask("document.querySelector('button.main').click()")
    best(browser)
    assert browser.ask("[...document.querySelectorAll('#answer h3')].map(e => e.innerText)") == ["kind", "size"]
    browser.ask("document.querySelector('textarea').value = '{\"inputs\": [{\"left\": 3}]}'")
    browser.ask("document.querySelector('button.main').click()")
    until(browser, "!!document.querySelector('.problem')")
    assert "row 1" in browser.ask("document.querySelector('.problem').innerText")


@pytest.mark.parametrize("name", ["mnist", "penguins"])
@pytest.mark.parametrize(("width", "dark"), [(360, True), (1280, False)], ids=["phone dark", "desk light"])
def test_the_page_fits_and_is_readable(name: str, width: int, dark: bool, served: Server, browser: Browser) -> None:
    opened(browser, served(name), width, dark)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask(OVERFLOWING) == [] and browser.ask(CONTRAST) >= 4.5
    unnamed = "!(e.labels?.length || e.getAttribute('aria-label'))"
    assert browser.ask(f"[...document.querySelectorAll('input, select, textarea')].filter(e => {unnamed}).length") == 0
    browser.ask("[...document.querySelectorAll('[role=tab]')].at(-1).click()")
    browser.ask("[...document.querySelectorAll('[role=tabpanel]')].at(-1).querySelector('button').click()")
    best(browser)
    assert browser.ask(OVERFLOWING) == [] and browser.messages == []


def test_no_name_becomes_code(served: Server, browser: Browser) -> None:
    opened(browser, served("hostile"))
    browser.ask("document.querySelector('button.main').click()")
    assert best(browser) in (HOSTILE, "b")
    assert browser.ask("window.hacked === undefined && document.images.length === 0")
    assert HOSTILE in browser.ask(
        "document.querySelector('#answer').innerText + document.querySelector('#about').innerText"
    )
    browser.ask(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}))"
    )
    assert browser.ask("window.hacked === undefined")
