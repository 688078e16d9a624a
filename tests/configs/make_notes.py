"""Invented notes, `configs/data/notes`, a file for each: `python -m tests.configs.make_notes` writes them.

Recipes, travel notes and weather reports, of a few sentences each; a sentence may stray in from another kind.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.configs.make_data import FOLDER

NOTES = FOLDER / "notes"
WORDS = {
    "food": ["onions", "lentils", "flour", "plums", "beans", "rice", "butter", "mushrooms", "pears", "leeks"],
    "place": ["harbour", "valley", "old town", "lake", "island", "station", "market", "castle", "coast", "pass"],
    "time": ["morning", "noon", "evening", "night", "afternoon"],
    "count": ["two", "three", "four", "five", "ten", "twenty"],
    "sky": ["rain", "sunshine", "fog", "hail", "thunder", "clouds", "snow", "drizzle"],
    "wind": ["light", "fresh", "strong", "stormy", "icy", "mild"],
}
SENTENCES = {
    "recipe": [
        "Chop the {food} and fry them with {food}.",
        "Stir in {count} spoons of {food}.",
        "Bake for {count} minutes until the {food} are soft.",
        "Serve warm, with {food} beside it.",
        "Leave the dough to rest until {time}.",
    ],
    "travel": [
        "We took the {time} train to the {place}.",
        "The {place} is {count} miles from the {place}.",
        "Our hostel lies above the {place}.",
        "Tickets to the {place} cost {count} crowns.",
        "In the {time} we walked on to the {place}.",
    ],
    "weather": [
        "In the {time} {sky} will come from the {place}.",
        "Winds are {wind}, later {wind}.",
        "It stays at {count} degrees until {time}.",
        "After {time} the {sky} turns to {sky}.",
        "At the {place} expect {sky} for {count} hours.",
    ],
}


def note(kind: str, rng: np.random.Generator) -> str:
    """Three to five sentences, the second of another kind now and then."""
    said = [str(rng.choice(SENTENCES[kind])) for _ in range(rng.integers(3, 6))]
    if rng.random() < 0.3:
        said[1] = str(rng.choice(SENTENCES[str(rng.choice(list(SENTENCES)))]))
    filled = [re.sub(r"\{(\w+)\}", lambda found: str(rng.choice(WORDS[found[1]])), sentence) for sentence in said]
    return " ".join(filled) + "\n"


def notes() -> Iterator[tuple[Path, str]]:
    """Every file below the folder, and what it says."""
    rng = np.random.default_rng(13)
    for split, count in (("train", 60), ("test", 20)):
        for kind in SENTENCES:
            for number in range(count):
                yield Path(split) / kind / f"{number:02d}.txt", note(kind, rng)


def main() -> None:
    shutil.rmtree(NOTES, ignore_errors=True)
    for path, text in notes():
        (NOTES / path).parent.mkdir(parents=True, exist_ok=True)
        (NOTES / path).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
