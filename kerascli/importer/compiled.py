"""What a file says of training, as a spec's loss, optimizer and metrics. What cannot be said is a note: the model
predicts without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kerascli.component import families, snake_case
from kerascli.importer.network import Config
from kerascli.importer.values import Refusal, custom, mapping, short

WRAPPERS = {"LossFunctionWrapper", "MeanMetricWrapper", "SumOverBatchSizeMetricWrapper"}
"""What Keras 2 writes around functions."""


@dataclass
class Compiled:
    """Keys of the spec, and what is to be said of them."""

    keys: Config = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def compiled(written: Mapping[str, Any] | None, names: Mapping[str, str], outputs: Sequence[str]) -> Compiled:
    """`written` is `compile_config`, or `training_config` of the legacy form.

    `names` are the spec's names of the outputs by those in the file; `outputs` are the spec's, in their order.
    """
    found = Compiled()
    if not written:
        return found
    reader = _Reader(found, names, outputs)
    losses = reader.by_output("loss", written.get("loss"), reader.loss)
    if losses is not None:
        found.keys["loss"] = losses
    weights = reader.by_output("loss_weights", written.get("loss_weights"), reader.weight)
    if isinstance(weights, dict) and isinstance(losses, dict) and len(outputs) > 1:
        found.keys["loss_weights"] = weights
    for key in ("metrics", "weighted_metrics"):
        given = reader.metrics(key, written.get(key))
        if given:
            found.keys[key] = given
    optimizer = reader.optimizer(written.get("optimizer", written.get("optimizer_config")))
    if optimizer is not None:
        found.keys["optimizer"] = optimizer
    return found


class _Reader:
    def __init__(self, found: Compiled, names: Mapping[str, str], outputs: Sequence[str]) -> None:
        self.found, self.names, self.outputs = found, names, outputs

    def note(self, what: str, why: str) -> None:
        self.found.notes.append(f"{what} is left out: {why}")

    # ---- a value, or one for each output

    def by_output(self, key: str, given: Any, read: Any) -> Any:
        if given is None:
            return None
        if isinstance(given, Mapping) and "class_name" not in given:
            found = {}
            for name, item in given.items():
                if name not in self.names:
                    self.note(f"`{key}` of `{str(name)[:60]}`", "no output of the model is called so")
                elif item is not None and (value := read(key, item)) is not None:
                    found[self.names[name]] = value
            return next(iter(found.values()), None) if len(self.outputs) == 1 else found or None
        if isinstance(given, (list, tuple)):
            if len(given) == 1 and len(self.outputs) == 1:
                return read(key, given[0])
            if len(given) != len(self.outputs):
                self.note(f"`{key}`", f"it has {len(given)} parts, the model {len(self.outputs)} outputs")
                return None
            pairs = zip(self.outputs, given, strict=True)
            return {name: value for name, item in pairs if item is not None and (value := read(key, item)) is not None}
        value = read(key, given)
        return value

    def weight(self, key: str, given: Any) -> Any:
        return float(given) if isinstance(given, (int, float)) and not isinstance(given, bool) else None

    # ---- losses and metrics

    def loss(self, key: str, given: Any) -> Any:
        try:
            return _component("loss", given)
        except Refusal as refusal:
            self.note("the loss", refusal.why)
            return None

    def metrics(self, key: str, given: Any) -> Any:
        if not given:
            return None
        if isinstance(given, Mapping) and "class_name" not in given:
            found = {}
            for name, item in given.items():
                listed = self.metric_list(item)
                if name in self.names and listed:
                    found[self.names[name]] = listed
            return next(iter(found.values()), None) if len(self.outputs) == 1 else found or None
        items = list(given) if isinstance(given, (list, tuple)) else [given]
        nested = any(isinstance(each, (list, tuple)) for each in items) or len(self.outputs) > 1
        if nested and len(items) == len(self.outputs):
            parts = {name: self.metric_list(each) for name, each in zip(self.outputs, items, strict=True)}
            if len(self.outputs) == 1:
                return parts[self.outputs[0]] or None
            return {name: each for name, each in parts.items() if each} or None
        if nested:
            self.note(f"`{key}`", f"it has {len(items)} parts, the model {len(self.outputs)} outputs")
            return None
        return self.metric_list(items)

    def metric_list(self, given: Any) -> list[Any]:
        found = []
        for item in given if isinstance(given, (list, tuple)) else [given]:
            if item is None:
                continue
            try:
                found.append(_component("metric", item))
            except Refusal as refusal:
                self.note("a metric", refusal.why)
        return found

    # ---- the optimizer

    def optimizer(self, given: Any) -> Any:
        if given is None:
            return None
        try:
            if isinstance(given, Mapping) and given.get("class_name") == "LossScaleOptimizer":
                self.note("LossScaleOptimizer", "training is in float32 here; its inner optimizer stands alone")
                given = given["config"].get("inner_optimizer")
            return _component("optimizer", given)
        except (Refusal, KeyError) as refusal:
            self.note("the optimizer", getattr(refusal, "why", "it is not readable"))
            return None


def _component(family: str, given: Any) -> Any:
    """A loss, metric or optimizer in its shortest form: a word where it has no arguments."""
    base = families()[family]
    if isinstance(given, str):
        if base.find(given) is None:
            raise Refusal(f"`{given[:80]}` is none of Keras: Python code that is not in the file")
        return given
    if not isinstance(given, Mapping):
        raise Refusal("it is not readable")
    kind, config = str(given.get("class_name")), given.get("config")
    if kind == "function" or kind in WRAPPERS:
        name = config if isinstance(config, str) else (config or {}).get("name")
        return _component(family, str(name))
    why = custom(given)
    if why:
        raise Refusal(why)
    config = dict(config) if isinstance(config, Mapping) else {}
    if family == "loss" and config.get("reduction") in ("auto", "sum_over_batch_size"):
        del config["reduction"]
    name = config.pop("name", None)
    if kind == name and base.find(kind):  # Keras 2 writes functions so
        return kind
    found = short(family, mapping(family, kind, {k: v for k, v in config.items() if k != "dtype"}))
    if family == "metric" and isinstance(name, str) and name != snake_case(kind):
        found = {"type": found} if isinstance(found, str) else found
        found = {**found, "name": name}
    return found
