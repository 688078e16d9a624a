"""A layer's arguments in their shortest form: defaults left out, one number for a tuple of equal ones.

What is equal is asked of Keras's own config: whatever gives the same JSON means the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from kerascli import keras_config
from kerascli.component import snake_case
from kerascli.errors import Failure
from kerascli.importer.network import Config
from kerascli.layer import Layer
from kerascli.ops.ir import Shape

ABSENT = object()
KEPT = {"type", "inputs", "outputs", "layers", "name"}
HELD = ("layer", "backward_layer", "cell", "cells")
Path = tuple[str | int, ...]


def simplified(written: Config, shapes: Sequence[Shape]) -> Config:
    """The same layer in its shortest form; `shapes` are those that it reads."""
    wanted = _meaning(written, shapes)
    for path in list(_paths(written)):
        for candidate in _candidates(path, _at(written, path)):
            trial = _changed(written, path, candidate)
            if _meaning(trial, shapes) == wanted:
                written = trial
                break
    return written


def _paths(written: Any, above: Path = ()) -> Iterator[Path]:
    """Every argument, those of layers inside after those of the layer itself."""
    if isinstance(written, list):
        for number, each in enumerate(written):
            yield from _paths(each, (*above, number))
        return
    for key in written:
        if key not in KEPT or (key == "name" and above and named_by_keras(str(written[key]), written["type"])):
            yield (*above, key)
    for key in HELD:
        if isinstance(written.get(key), (dict, list)):
            yield from _paths(written[key], (*above, key))


def _candidates(path: Path, item: Any) -> Iterator[Any]:
    if item is ABSENT:
        return
    yield ABSENT
    if _whole(item):
        yield [int(each) for each in item] if isinstance(item, list) else int(item)
        item = [int(each) for each in item] if isinstance(item, list) else int(item)
    if isinstance(item, list) and item and all(isinstance(pair, list) and pair[1:] == pair[:1] for pair in item):
        yield [pair[0] for pair in item]
    if isinstance(item, list) and item and all(type(each) is type(item[0]) for each in item):
        if all(each == item[0] for each in item):
            yield item[0]
        if len(item) == 2 and not isinstance(item[0], list):
            yield item[1]
    if path[-1] == "axis" and isinstance(item, int):
        yield -1


def _at(written: Any, path: Path) -> Any:
    for step in path:
        if isinstance(written, Mapping) and step not in written:
            return ABSENT
        written = written[step]
    return written


def _changed(written: Any, path: Path, item: Any) -> Any:
    first, *rest = path
    if isinstance(written, list):
        return [_changed(each, tuple(rest), item) if k == first else each for k, each in enumerate(written)]
    if rest:
        return {**written, first: _changed(written[first], tuple(rest), item)}
    if item is ABSENT:
        return {key: each for key, each in written.items() if key != first}
    return {**written, first: item}


def _meaning(written: Config, shapes: Sequence[Shape]) -> Any:
    """Keras's config of the layer; None where it cannot be one."""
    try:
        layer = Layer.parse(written)
    except (ValidationError, ValueError):
        return None
    own = [*shapes][: len(shapes) - _further(layer)]
    calls = {key: getattr(layer, key) for key in (*layer.references, *layer.call_arguments)}
    try:
        found: Any = keras_config.layer(layer, "layer", own, layer.trainable)["config"]
    except Failure:
        return layer.dump()  # what Keras's config has no words for
    except (TypeError, ValueError, IndexError, AttributeError):
        return layer.dump()
    return calls, _with_positive_axes(found, len(shapes[0]) + 1 if shapes else 0)


def _whole(item: Any) -> bool:
    """A fraction, or a list of them, without digits after the point."""
    listed = item if isinstance(item, list) else [item]
    return bool(listed) and all(type(each) is float and each.is_integer() and abs(each) < 1e9 for each in listed)


def named_by_keras(name: str, kind: str) -> bool:
    """Whether Keras made the name of a layer: `conv2d_12`, `forward_lstm`."""
    member = Layer.find(kind)
    bases = {snake_case(kind), *([member.keras_name()] if member is not None and issubclass(member, Layer) else [])}
    own = name.removeprefix("forward_").removeprefix("backward_")
    return any(re.fullmatch(rf"{re.escape(base)}(_\d+)?", own) for base in bases)


def _further(layer: Layer) -> int:
    return sum(
        1 if isinstance(given, str) else len(given)
        for key in layer.references
        if (given := getattr(layer, key)) is not None
    )


def _with_positive_axes(item: Any, rank: int, key: str = "") -> Any:
    if isinstance(item, Mapping):
        return {name: _with_positive_axes(each, rank, name) for name, each in item.items() if name != "name"}
    if isinstance(item, (list, tuple)):
        return [_with_positive_axes(each, rank, key) for each in item]
    return item % rank if key == "axis" and type(item) is int and rank and -rank <= item < 0 else item
