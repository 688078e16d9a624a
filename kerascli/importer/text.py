"""The spec's text as a person would write it: a layer a line, and comments for what only a person can decide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from kerascli import yamltext
from kerascli.importer.network import Config

WIDTH = 110


def spec_text(spec: Config, about: Sequence[str]) -> str:
    """`about` are sentences for the head of the file."""
    lines = [line for sentence in about for line in _comment(sentence)]
    for key, item in spec.items():
        if key == "layers":
            lines += ["layers:", *_layers(item, 1)]
        else:
            lines += _entry(key, item, 0)
    return "\n".join(lines) + "\n"


def _comment(sentence: str) -> list[str]:
    clean = "".join(c if c.isprintable() else " " for c in sentence)
    return textwrap.wrap(clean, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False) or ["#"]


def _layers(layers: Sequence[Any], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for layer in layers:
        line = f"{indent}- {yamltext.inline(short(layer))}"
        if len(line) <= WIDTH and "layers" not in layer:
            yield line
            continue
        first = True
        for key, item in layer.items():
            lead = f"{indent}- " if first else f"{indent}  "
            first = False
            if key == "layers":
                yield f"{lead}layers:"
                yield from _layers(item, depth + 2)
            else:
                yield lead + "\n".join(_entry(key, item, depth + 1)).lstrip()


def _entry(key: str, item: Any, depth: int) -> list[str]:
    """`key: value`, on one line where it fits, else a line for each part."""
    indent = "  " * depth
    line = f"{indent}{key}: {yamltext.inline(short(item))}"
    if len(line) <= WIDTH or not isinstance(item, (dict, list)) or not item:
        return [line]
    if isinstance(item, dict):
        return [f"{indent}{key}:", *(part for k, v in item.items() for part in _entry(str(k), v, depth + 1))]
    words = textwrap.wrap(
        yamltext.inline(item), WIDTH - len(indent) - 4, break_long_words=False, break_on_hyphens=False
    )
    plain = not any(isinstance(each, (dict, list)) or (isinstance(each, str) and "  " in each) for each in item)
    if plain and " ".join(words) == yamltext.inline(item):
        return [f"{indent}{key}:", *(f"{indent}  {word}" for word in words)]
    return [f"{indent}{key}:", *(f"{indent}  - {yamltext.inline(short(each))}" for each in item)]


def short(item: Any) -> Any:
    """A component that has nothing but its type, as a bare word."""
    return item["type"] if isinstance(item, dict) and set(item) == {"type"} else item
