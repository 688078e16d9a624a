"""What a request is refused with: problems, and the status of HTTP that goes with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kerascli.errors import Failure, Problem

REQUEST = Path("request")
"""What problems call the body of a request."""


@dataclass(frozen=True)
class Limits:
    """What a request may cost."""

    bytes: int = 10_000_000
    """Of its body."""
    rows: int = 10_000
    """Samples in it."""
    seconds: float = 30.0
    """From its first byte to the answer."""


class Refusal(Failure):
    """A request that is not answered, whatever the model is; other Failures are data that the model cannot read."""

    def __init__(self, status: int, problems: Iterable[Problem] | Problem, headers: Mapping[str, str] = {}) -> None:
        super().__init__(problems)
        self.status, self.headers = status, dict(headers)


def too_many_rows(rows: int, limits: Limits) -> Refusal:
    """413: more samples than one request may hold."""
    message = f"the request has {rows:,} rows or more, and {limits.rows:,} are taken at a time"
    return Refusal(413, Problem("E703", message, REQUEST, help="send several requests"))
