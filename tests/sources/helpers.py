"""What the tests of sources share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kerascli.errors import Failure, Problem
from kerascli.sources.base import Dataset, Source


def source(**config: Any) -> Source:
    return Source.parse(config)


def load(base: Path, encoding: dict[str, str] | None = None, seed: int = 0, **config: Any) -> Dataset:
    return source(**config).load(base, seed, encoding)


@contextmanager
def fails(code: str, *words: str) -> Iterator[list[Problem]]:
    """The block must end in problems, the first of which has this code and these words."""
    problems: list[Problem] = []
    with pytest.raises(Failure) as caught:
        yield problems
    problems.extend(caught.value.problems)
    assert problems[0].code == code, problems
    text = f"{problems[0].message} {problems[0].label} {problems[0].help}"
    for word in words:
        assert word in text, problems[0]
