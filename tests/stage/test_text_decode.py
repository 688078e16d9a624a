"""Encoded texts can be read again, as far as their numbers tell."""

from __future__ import annotations

import pytest

from kerascli.text import TextEncoder, TextOptions


@pytest.mark.parametrize(("output", "shown"), [("int", "good film [?] good"), ("count", "[?] good good film")])
def test_an_encoded_text_says_its_words(output: str, shown: str) -> None:
    options = TextOptions.model_validate({"vocabulary": 10, "sequence_length": 6, "output": output})
    encoder = TextEncoder.fit(["good film", "a good film", "good"], options)
    assert encoder.decode(encoder.encode(["Good film, really good"])[0]) == shown
