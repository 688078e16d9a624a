"""Keras's written objects as values of a spec: components with their class and arguments, nothing else.

What cannot be one of ours is a `Refusal` in words. Code (Lambda, functions, registered objects) is refused, whatever
it holds; it is never run, and its bytes are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from kerascli.activations import Activation
from kerascli.component import Component, families, nearest, snake_case
from kerascli.importer.network import Config, plain
from kerascli.left_out import reason

Member = TypeVar("Member", bound=Component)

SUFFIXES = {"initializer": "initializer", "regularizer": "regularizer", "constraint": "constraint"}
LAYERS = ("layer", "backward_layer", "forward_layer", "cell")
ACTIVATION_LAYERS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "Softmax": "softmax"}
RENAMED = {
    ("LeakyReLU", "alpha"): "negative_slope",
    ("Conv2DTranspose", "output_padding"): "output_padding",
    ("RNN", "cells"): "cell",
    ("SGD", "lr"): "learning_rate",
}
"""Arguments that Keras 2 called otherwise."""

FORGOTTEN = {
    *("implementation", "time_major", "batch_input_shape", "batch_shape", "build_input_shape", "input_length"),
    *("input_shape", "fused", "vocabulary_size", "query_shape", "key_shape", "value_shape", "autocast", "ragged"),
    *("experimental_autocast", "is_legacy_optimizer", "jit_compile", "has_vocabulary", "rms_scaling", "dtype"),
    *("name", "trainable", "registered_name", "build_config", "force_generator", "data_format_of_the_file"),
}
"""Arguments that change nothing of the numbers, or that are read elsewhere."""


class Refusal(Exception):
    """Why something of the file cannot be said in a spec."""

    def __init__(self, why: str, help: str = "") -> None:
        super().__init__(why)
        self.why, self.help = why, help


def custom(entry: Mapping[str, Any]) -> str | None:
    """Why an object is not Keras's own; None where it is."""
    kind, module, registered = entry.get("class_name"), entry.get("module"), entry.get("registered_name")
    if kind == "Lambda" or kind == "__lambda__":
        return "it is a Lambda: Python code, which is never run here"
    if isinstance(registered, str) and ">" in registered:
        return f"it is a registered object (`{registered[:80]}`): Python code that is not in the file"
    if isinstance(module, str) and module and not (module == "keras" or module.startswith("keras.")):
        if module == "builtins":
            return None
        return f"it comes from `{module[:80]}`, not from Keras: Python code that is not in the file"
    return None


def family_of(key: str) -> str | None:
    """The family of an argument's value, by the argument's name."""
    for suffix, family in SUFFIXES.items():
        if key.endswith(suffix):
            return family
    if key.endswith("activation"):
        return "activation"
    return {"learning_rate": "schedule", "cells": "layer"}.get(key, "layer" if key in LAYERS else None)


def value(key: str, item: Any) -> Any:
    """An argument as a spec writes it."""
    if isinstance(item, Mapping):
        kind = item.get("class_name")
        if kind in ("__tuple__", "TensorShape"):
            return [value(key, each) for each in plain(item)]
        if kind in ("__numpy__", "__tensor__", "__ndarray__", "ndarray"):
            held = item.get("config")
            held = held.get("value") if isinstance(held, Mapping) else held
            return number(held) if isinstance(held, (int, float, list)) else _refuse(f"`{key}` holds an array")
        if kind is None:
            return {str(k): value(str(k), v) for k, v in item.items()}
        if isinstance(kind, str) and kind.startswith("__"):
            raise Refusal(custom(item) or f"`{key}` holds a `{kind[:40]}`")
        return _object(key, item)
    if isinstance(item, str) and key.endswith("activation"):
        return _function(key, item)
    if isinstance(item, (list, tuple)):
        return [value(key, each) for each in item]
    return number(item)


def _refuse(why: str) -> Any:
    raise Refusal(why)


def number(item: Any) -> Any:
    """A number that is a float32 written out, as its short form: 0.009999999776482582 → 0.01."""
    if isinstance(item, list):
        return [number(each) for each in item]
    if not isinstance(item, float) or not math.isfinite(item):
        return item
    with np.errstate(over="ignore", under="ignore"):
        short = float(str(np.float32(item)))
        return short if float(np.float32(item)) == item else item


def _function(key: str, name: str) -> Any:
    found = Activation.find(name) or Activation.find(name.removesuffix("_v2"))
    if found is None:
        near = nearest(name, Activation.spellings())
        raise Refusal(
            f"its `{key}` `{name[:80]}` is no function of Keras: Python code that is not in the file",
            f"did you mean `{near}`?" if near else "",
        )
    return name if Activation.find(name) else name.removesuffix("_v2")


def _object(key: str, item: Mapping[str, Any]) -> Any:
    kind, config = str(item.get("class_name")), item.get("config")
    if kind == "function":
        name = config if isinstance(config, str) else str(dict(config or {}).get("name", ""))
        if key.endswith("activation"):
            return _function(key, name)
        raise Refusal(f"its `{key}` is the function `{name[:80]}`: Python code that is not in the file")
    why = custom(item)
    if why:
        raise Refusal(f"its `{key}` cannot be read: {why}")
    config = dict(config) if isinstance(config, Mapping) else {}
    family = family_of(key)
    if family == "activation":
        if kind == "Activation":
            return value(key, config.get("activation"))
        if kind not in ACTIVATION_LAYERS:
            raise Refusal(f"its `{key}` is a layer, `{kind[:80]}`", "write that layer after it")
        kind = ACTIVATION_LAYERS[kind]
    if family is None:
        raise Refusal(f"its `{key}` holds a `{kind[:80]}`")
    found = mapping(family, kind, config)
    return found if family == "layer" else short(family, found)


def short(family: str, written: Config) -> Any:
    """A component without its defaults, by its own name in small letters where it has one: `glorot_uniform`."""
    base = families()[family]
    component = made(base, written)
    kind = type(component)
    name = snake_case(kind.__name__) if base.snake_names else kind.__name__
    given = {key: item for key, item in written.items() if key != "type" and not _is_default(component, key)}
    return {"type": kind.__name__ if family in ("loss", "metric") else name, **given} if given else name


def _is_default(component: Component, key: str) -> bool:
    field = type(component).model_fields[key]
    return not field.is_required() and getattr(component, key) == field.get_default(call_default_factory=True)


def mapping(family: str, kind: str, config: Config) -> Config:
    """A component of a family as a spec writes it in full: `type` and every argument that ours has."""
    base = families()[family]
    member = base.find(kind) if family != "layer" or kind != "Reuse" else None
    if member is None:
        raise Refusal(*_unknown(family, kind, base))
    found: Config = {"type": kind}
    for key, item in config.items():
        key = RENAMED.get((kind, key), key)
        if key in member.model_fields and key not in ("name", "trainable", "inputs"):
            found[key] = single(member, key, value(key, item))
        elif not _nothing(member, key, item):
            raise Refusal(f"{kind} has no argument `{key[:80]}` here, and the file says {_shown(item)}")
    needed = [key for key in found if key != "type" and member.model_fields[key].is_required()]
    found = {"type": kind} | {key: found[key] for key in needed} | found
    if family == "layer" and isinstance(config.get("name"), str):
        found["name"] = config["name"]
    if family == "layer" and config.get("trainable") is False:
        found["trainable"] = False
    return found


def single(member: type[Component], key: str, item: Any) -> Any:
    """Keras 2 wraps an `axis` in a list; a whole number may be written as a float."""
    if key == "axis" and isinstance(item, list) and len(item) == 1:
        return item[0]
    if isinstance(item, float) and item.is_integer() and member.model_fields[key].annotation is int:
        return int(item)
    return item


def _nothing(member: type[Component], key: str, item: Any) -> bool:
    """Whether an argument that ours lacks says what holds anyway."""
    if key in FORGOTTEN or item in (None, False, "", 0) or item == [] or item == {}:
        return True
    kind = member.__name__
    inherited = kind.startswith(("Separable", "Depthwise")) and key.startswith("kernel_")
    return inherited or (key, item) in (("groups", 1), ("synchronized", False), ("epsilon", 1e-7), ("unroll", True))


def _unknown(family: str, kind: str, base: type[Component]) -> tuple[str, str]:
    left = reason(family, kind)
    if left:
        return f"{kind} is left out: {left.why}", left.instead
    near = nearest(kind, base.spellings())
    article = "an" if family[0] in "aio" else "a"
    help = f"the nearest is `{near}`" if near else ""
    return f"`{kind[:80]}` is no {family} of Keras 3 that kerascli has ({article} {family} of Python code?)", help


def _shown(item: Any) -> str:
    text = str(item)
    return text if len(text) < 60 else text[:57] + "…"


def made(base: type[Member], written: Config) -> Member:
    """The component; what it does not take is a Refusal."""
    try:
        return base.parse(written)
    except ValidationError as error:
        said = []
        for each in error.errors(include_url=False)[:3]:
            place = ".".join(str(step) for step in each["loc"]) or "it"
            said.append(f"`{place}` {each['msg']}, found {_shown(each['input'])}")
        raise Refusal("; ".join(said)) from error
