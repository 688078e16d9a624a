"""Options of the whole suite. Keras, where a test asks for it, runs on JAX, on the CPU."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest

from tests.browser import Browser, installed

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""The tests themselves run side by side."""
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
"""Compiling these small nets takes longer than running them."""


def pytest_configure(config: pytest.Config) -> None:
    """What JAX has compiled once is there for each file of tests, each worker and the next run."""
    if config.pluginmanager.hasplugin("cacheprovider"):
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="Write the golden files anew.")


@pytest.fixture(scope="module", autouse=True)
def _jax_forgets() -> Iterator[None]:
    """What JAX compiled for one file would fill the memory, and each fork of it takes the longer the larger it is."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser, for the pages that kerascli writes and serves."""
    program = installed()
    if program is None:
        need = "Chromium or Chrome, on the path or named by BROWSER_FOR_TESTS"
        pytest.skip(f"needs {need}")
    with Browser(program) as found:
        yield found
