"""Usual slips: Python's words where YAML's are wanted, Keras's calls, YAML 1.1, quotes around numbers."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from kerascli import yamltext
from kerascli.component import Component
from kerascli.yamltext import Node, scalar

SYNONYMS = {
    "lr": "learning_rate",
    "model": "layers",
    "data": "dataset",
    "size": "kernel_size",
    "stride": "strides",
    "p": "rate",
    "n": "units",
}
"""What others call a key."""
CALLS = {
    "compile": "`optimizer`, `loss` and `metrics` stand at the top of the spec",
    "fit": "`epochs`, `batch_size` and `shuffle` stand in `training`, `validation_split` in `dataset`, `callbacks` at "
    "the top",
}
"""Where the arguments of Keras's methods stand in a spec."""
LONGEST = 500
"""Characters of a call that is looked at."""
_YAML_1_1 = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def slip(node: Node, around: Node, key: Any, kinds: list[str]) -> tuple[str, str]:
    """What is odd about a value that is of a wrong type, and what to write; empty where nothing is."""
    value = node.value
    if isinstance(value, str) and value.startswith("(") and isinstance(around.value, dict):
        return "YAML has no tuples", f"write `{yamltext.inline(rejoined(around.value)[key])}`"
    if "list_type" in kinds and isinstance(value, (str, int)):
        return "", f"write `[{value}]`"
    if isinstance(value, float) and value.is_integer() and "int_type" in kinds:
        return "", f"write `{int(value)}`"
    if not isinstance(value, str):
        return "", ""
    if "bool_type" in kinds and (meant := _YAML_1_1.get(value.lower())):
        return f"`{value}` is text in YAML 1.2", f"write `{meant}`"
    if not node.plain and scalar(value) is not None and not isinstance(scalar(value), str):
        return "the quotes make it text", "remove the quotes"
    if "float_type" in kinds and value.endswith("%") and isinstance(number := scalar(value[:-1]), (int, float)):
        return "", f"write `{number / 100:g}`"
    return "", ""


def rejoined(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """A mapping in which Python's tuples are lists: `{size: (2, 3)}` reads as `size: "(2"` and a key `3)`."""
    found: dict[Any, Any] = {}
    open_key: Any = None
    for key, value in values.items():
        if open_key is not None and value is None:
            found[open_key] += _items(str(key))
            open_key = None if str(key).endswith(")") else open_key
        elif isinstance(value, str) and value.startswith("("):
            found[key] = _items(value)
            open_key = None if value.endswith(")") else key
        else:
            found[key] = rejoined(value) if isinstance(value, Mapping) else value
    return found


def _items(text: str) -> list[Any]:
    """What stands in a tuple, or in a part of one."""
    return [scalar(part.strip()) for part in text.strip("()").split(",") if part.strip()]


def is_rest(key: Any, around: Any) -> bool:
    """Whether a key is but the rest of a tuple."""
    return isinstance(around, dict) and key in around and key not in rejoined(around)


def called(text: str, family: type[Component]) -> str:
    """A call as Python writes it, `layers.Conv2D(32, kernel_size=(3, 3))`, as YAML; empty where it is none."""
    if len(text) > LONGEST:  # Python's parser is not made for what is nested without end
        return ""
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return ""
    if not isinstance(call, ast.Call):
        return ""
    member = family.find(ast.unparse(call.func).rpartition(".")[2])
    if member is None:
        return ""
    needed = [name for name, field in member.model_fields.items() if field.is_required()]
    given = dict(zip(needed, call.args, strict=False)) | {word.arg: word.value for word in call.keywords if word.arg}
    written = yamltext.inline({"type": member.type_name(), **{name: _plain(part) for name, part in given.items()}})
    return written if len(call.args) <= len(needed) else f"{written[:-1]}, …}}"


def _plain(part: ast.expr) -> Any:
    """A literal as plain values, anything else as the text that it is."""
    try:
        value = ast.literal_eval(part)
    except ValueError:
        return ast.unparse(part)
    return list(value) if isinstance(value, tuple) else value
