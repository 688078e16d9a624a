"""The one thread that has the engine: requests stand in line for it, none longer than it may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kerascli.errors import Problem
from kerascli.serving.predictor import GoOn
from kerascli.serving.refusal import REQUEST, Limits, Refusal

Result = TypeVar("Result")


class _Late(Exception):
    """Nobody waits for the answer any more."""


class Worker:
    """Does one piece of work at a time; engines are not made for two."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._thread = ThreadPoolExecutor(1, "engine")
        self._closing = False

    async def run(self, work: Callable[[GoOn], Result], deadline: float) -> Result:
        """What `work` gives; a Refusal where its turn (503) or its end (504) does not come before the deadline."""
        begun = False

        def go_on() -> None:
            if self._closing or time.monotonic() > deadline:
                raise _Late

        def job() -> Result:
            nonlocal begun
            begun = True
            go_on()
            return work(go_on)

        future = asyncio.get_running_loop().run_in_executor(self._thread, job)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await future
        except (TimeoutError, _Late):
            raise self._too_late(begun) from None

    def _too_late(self, begun: bool) -> Refusal:
        seconds = f"{self.limits.seconds:g} seconds"
        if not begun:
            return busy(f"the requests before this one took more than {seconds}")
        message = f"the prediction takes more than {seconds}"
        return Refusal(
            504, Problem("E704", message, REQUEST, help="send fewer rows at a time, or serve with --timeout")
        )

    def close(self) -> None:
        """Give up what is being done, and do nothing more."""
        self._closing = True
        self._thread.shutdown(wait=True, cancel_futures=True)


def busy(why: str) -> Refusal:
    """503: another time, perhaps."""
    return Refusal(503, Problem("E704", why, REQUEST, help="try again in a moment"), {"Retry-After": "1"})
