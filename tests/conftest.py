"""Options of the whole suite. Keras, where a test asks for it, runs on JAX, on the CPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from tests.browser import Browser, installed

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""The tests themselves run side by side."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="Write the golden files anew.")


@pytest.fixture(scope="module", autouse=True)
def _jax_forgets() -> Iterator[None]:
    """What JAX compiled for one file serves no other, and would fill the memory."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser, for the pages that kerascli writes and serves."""
    program = installed()
    if program is None:
        need = "Chromium or Chrome, on the path or named by BROWSER_FOR_TESTS"
        pytest.skip(f"needs {need}")
    with Browser(program) as found:
        yield found
