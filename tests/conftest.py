"""Options of the whole suite. Keras, where a test asks for it, runs on JAX, on the CPU."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

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


GROWTH = 400 << 20


class _Memory:
    """The bytes that this process held when JAX last forgot."""

    floor = 0


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def _jax_forgets() -> Iterator[None]:
    """A program that JAX compiled holds more than a megabyte; all of them fill the memory and make each fork slow."""
    yield
    if "jax" in sys.modules and platform.libc_ver()[0] == "glibc" and _resident() > _Memory.floor + GROWTH:
        sys.modules["jax"].clear_caches()
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        _Memory.floor = _resident()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser, for the pages that kerascli writes and serves."""
    program = installed()
    if program is None:
        need = "Chromium or Chrome, on the path or named by BROWSER_FOR_TESTS"
        pytest.skip(f"needs {need}")
    with Browser(program) as found:
        yield found
