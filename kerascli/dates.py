"""Points in time: texts to seconds since 1970, and those to numbers such as the year and the weekday.

The clock is the one on the wall: an offset such as `+02:00` is read and left out.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from kerascli.ops.ir import Array

Part = Literal["year", "month", "day", "weekday", "day_of_year", "hour", "minute", "second", "days"]
PARTS: tuple[str, ...] = get_args(Part)
OF_DAYS: tuple[Part, ...] = ("year", "month", "day", "weekday")
"""What is taken of dates; of points in time the hour too."""
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?", re.ASCII)
LONGEST = 100
"""Characters of a date; what is read is remembered, and may not fill the memory."""
_EPOCH = datetime(1970, 1, 1)


@lru_cache(1 << 16)
def seconds(text: str, form: str | None = None) -> float:
    """Seconds since 1970 of a text in a format of `strptime`, or in ISO 8601; ValueError where it is none."""
    if len(text) > LONGEST:
        raise ValueError(f"`{text[:40]}…` is no date, but a text of {len(text):,} characters")
    if form is not None:
        moment = datetime.strptime(text, form)
    elif _ISO.fullmatch(text):
        moment = datetime.fromisoformat(text)
    else:
        raise ValueError(f"`{text}` is no date as ISO 8601 writes it")
    return (moment.replace(tzinfo=None) - _EPOCH).total_seconds()


def parts(moments: Array, wanted: tuple[Part, ...]) -> Array:
    """Shapes: seconds (n,) → (n, parts) float64; NaN stays NaN. Monday is 0, `days` are those since 1970."""
    missing = np.isnan(moments)
    time = np.where(missing, 0, np.floor(moments)).astype("datetime64[s]")
    day, month, year = (time.astype(f"datetime64[{unit}]") for unit in "DMY")
    second = (time - day).astype(np.int64)
    values = {
        "year": year.astype(np.int64) + 1970,
        "month": (month - year).astype(np.int64) + 1,
        "day": (day - month).astype(np.int64) + 1,
        "weekday": (day.astype(np.int64) + 3) % 7,
        "day_of_year": (day - year).astype(np.int64) + 1,
        "hour": second // 3600,
        "minute": second // 60 % 60,
        "second": second % 60,
        "days": moments / 86400,
    }
    found = np.stack([values[part] for part in wanted], axis=1).astype(np.float64)
    found[missing] = np.nan
    return found
