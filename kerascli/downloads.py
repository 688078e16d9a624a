"""What a command says of downloads before any is made: whether they may be, and who shows how far they are.

Apart from the downloading itself, so that a command can say it without importing anything large.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import ContextVar

Progress = Callable[[str, int, int | None], None]
"""Told the file's name, the bytes that are there and all that there will be (None: the server does not say)."""

OFFLINE: ContextVar[bool] = ContextVar("offline", default=bool(os.environ.get("KERASCLI_OFFLINE")))
"""Whether nothing may be fetched: `--offline`, or KERASCLI_OFFLINE in the environment."""
PROGRESS: ContextVar[Progress | None] = ContextVar("progress", default=None)
"""Who shows how far a download is."""
