"""Invented reviews of things, `configs/data/reviews.csv`: `python -m tests.configs.make_reviews` writes them.

The last clause decides, and `not` turns a word round, so that it takes more than single words to tell.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[2] / "configs" / "data" / "reviews.csv"
THINGS = ["lamp", "kettle", "tent", "bicycle", "radio", "chair", "book", "film", "soup", "hotel", "train", "camera"]
PARTS = [
    "price",
    "colour",
    "handle",
    "sound",
    "light",
    "cover",
    "ending",
    "start",
    "taste",
    "service",
    "seat",
    "picture",
]
GOOD = ["good", "lovely", "great", "bright", "sturdy", "quiet", "pleasant", "excellent", "clever", "warm"]
BAD = ["bad", "awful", "dull", "broken", "flimsy", "loud", "boring", "poor", "clumsy", "cold"]
HOW = ["", "", "very ", "really ", "quite ", "so "]
FIRST = ["I bought this {thing}: ", "The {thing} came on time. ", "My {thing}? ", "", "", "Well, "]
LINKS = [", but ", "; yet ", ". Still, "]


def clause(rng: np.random.Generator) -> tuple[str, bool]:
    """What is said of a part, and whether it is praise."""
    praise = bool(rng.random() < 0.5)
    turned = bool(rng.random() < 0.35)
    word = str(rng.choice(GOOD if praise != turned else BAD))
    how = "not " + str(rng.choice(["", "at all "])) if turned else str(rng.choice(HOW))
    return f"the {rng.choice(PARTS)} is {how}{word}", praise


def review(rng: np.random.Generator) -> tuple[str, str]:
    """A text, and `praise` or `blame`."""
    text, praise = clause(rng)
    if rng.random() < 0.5:
        more, praise = clause(rng)
        text += str(rng.choice(LINKS)) + more
    start = str(rng.choice(FIRST)).format(thing=rng.choice(THINGS))
    text = start + (text if start.endswith((": ", "? ")) or start == "Well, " else text[0].upper() + text[1:])
    return text + str(rng.choice([".", "!", "!!", "..."])), "praise" if praise else "blame"


def reviews(count: int = 1200) -> list[tuple[str, str]]:
    """No text twice, not with another punctuation either, so that the test has none of the training's."""
    rng = np.random.default_rng(11)
    found: dict[tuple[str, ...], tuple[str, str]] = {}
    while len(found) < count:
        text, label = review(rng)
        found.setdefault(tuple(re.findall(r"\w+", text.lower())), (text, label))
    return list(found.values())


def main() -> None:
    with FILE.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["review", "verdict"])
        writer.writerows(reviews())


if __name__ == "__main__":
    main()
