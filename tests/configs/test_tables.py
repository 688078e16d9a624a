"""The tables and texts in `configs/data` are what their scripts make, and small."""

from __future__ import annotations

import csv

from tests.configs import make_notes, make_reviews, make_tickets


def test_the_messages_are_what_their_script_makes() -> None:
    assert make_tickets.FILE.read_text("utf-8") == make_tickets.lines()
    assert make_tickets.FILE.stat().st_size < 300_000


def test_the_reviews_are_what_their_script_makes() -> None:
    with make_reviews.FILE.open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [["review", "verdict"], *map(list, make_reviews.reviews())]
    assert make_reviews.FILE.stat().st_size < 300_000


def test_the_notes_are_what_their_script_makes() -> None:
    made = dict(make_notes.notes())
    stored = {path.relative_to(make_notes.NOTES): path.read_text("utf-8") for path in make_notes.NOTES.rglob("*.*")}
    assert stored == made and sum(map(len, made.values())) < 100_000
    assert len(set(made.values())) == len(made), "no note stands there twice"
