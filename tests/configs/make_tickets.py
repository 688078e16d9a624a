"""Invented messages to a shop, `configs/data/tickets.jsonl`: `python -m tests.configs.make_tickets` writes them.

A message is about one, two or three things, and its labels say which. `urgent` is not in the words alone: it is for
orders of more than 150 that have not come, and for whatever the partner shop passes on; so text, amount and channel are
all needed. Some amounts are missing, and the date tells nothing.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parents[2] / "configs" / "data" / "tickets.jsonl"
SAID = {
    "delivery": [
        "The parcel has not arrived",
        "The courier left it with nobody",
        "Tracking shows no progress since {day}",
        "Where is my shipment",
    ],
    "refund": [
        "I want my money back",
        "Please repay what I was charged twice",
        "The refund for the {thing} is still open",
        "Cancel the order and return the payment",
    ],
    "damage": [
        "The {thing} came broken",
        "There is a crack in the {thing}",
        "The {thing} stopped working on {day}",
        "A part of the {thing} is missing",
    ],
    "praise": [
        "Otherwise I am happy",
        "Your staff was friendly",
        "Thank you for the quick answer",
        "I love the {thing}",
    ],
}
THINGS = ["lamp", "kettle", "tent", "bicycle", "radio", "chair", "camera"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
CHANNELS = ["mail", "phone", "app", "partner"]
BEGIN = datetime(2031, 1, 6)


def ticket(rng: np.random.Generator) -> dict[str, Any]:
    topics = sorted(rng.choice(list(SAID), int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])), replace=False).tolist())
    order = rng.permutation(topics)
    said = [str(rng.choice(SAID[topic])).format(thing=rng.choice(THINGS), day=rng.choice(DAYS)) for topic in order]
    amount = round(float(rng.lognormal(4.6, 0.8)), 2)
    channel = str(rng.choice(CHANNELS, p=[0.4, 0.3, 0.2, 0.1]))
    when = BEGIN + timedelta(minutes=int(rng.integers(0, 60 * 24 * 300)))
    found: dict[str, Any] = {"received": when.isoformat(timespec="minutes"), "channel": channel}
    if rng.random() > 0.08:
        found["amount"] = amount
    urgent = (amount > 150 and "delivery" in topics) or channel == "partner"
    return found | {"message": ". ".join(said) + ".", "labels": topics + ["urgent"] * urgent}


def lines(count: int = 1500) -> str:
    rng = np.random.default_rng(29)
    return "".join(json.dumps(ticket(rng)) + "\n" for _ in range(count))


def main() -> None:
    FILE.write_text(lines(), "utf-8")


if __name__ == "__main__":
    main()
