"""What a model reads and says, as plain data: for its page, for programs, and for the OpenAPI document."""

from __future__ import annotations

import math
from typing import Any

from kerascli.encoders import Category, Date, Encoder, Numeric, Raw, Text
from kerascli.layers.preprocessing import Rescaling
from kerascli.predictions import Reading, readings
from kerascli.serving.bodies import media_types
from kerascli.serving.predictor import Predictor
from kerascli.serving.refusal import Limits
from kerascli.sources.base import InputInfo

SMALLEST, LARGEST, DRAWN = 4, 2048, 96
"""Pixels at a side of an image, and of one that can be drawn by hand."""
LONGEST = 4096
"""Numbers of an example."""


def description(predictor: Predictor, limits: Limits) -> dict[str, Any]:
    """Name, inputs, outputs and limits of a model; see `GET /model.json`."""
    spec = predictor.model.spec
    found: dict[str, Any] = {
        "name": spec.name,
        "run": predictor.name,
        "description": spec.description or "",
        "kind": predictor.kind,
        "inputs": {name: {"shape": list(i.shape), "dtype": i.dtype} for name, i in predictor.specs.items()},
        "outputs": [_output(predictor, reading) for reading in readings(predictor.model)],
        "parameters": predictor.model.graph.count(),
        "media_types": media_types(predictor),
        "limits": {"bytes": limits.bytes, "rows": limits.rows, "seconds": limits.seconds},
    }
    if predictor.kind == "table":
        found["features"] = [_feature(feature) for feature in predictor.preprocessing.used]
    if image := _image(predictor):
        found["image"] = image
    return {**found, "example": example(predictor)}


def _output(predictor: Predictor, reading: Reading) -> dict[str, Any]:
    shape = list(predictor.model.graph.node(reading.output).shape)
    return {"name": reading.output, "kind": reading.kind, "classes": list(reading.names), "shape": shape}


# ------------------------------------------------------------------ features


def _feature(feature: Encoder) -> dict[str, Any]:
    """How a column is read, and a value that training might have shown."""
    found: dict[str, Any] = {"name": feature.name, "kind": feature.kind, "needed": feature.drops}
    match feature:
        case Numeric():
            found["typical"] = _rounded(feature)
        case Category():
            found |= {"categories": list(feature.categories), "typical": feature.categories[0]}
        case Date():
            time = any(part in ("hour", "minute", "second") for part in feature.parts)
            found |= {"format": feature.format, "time": time, "typical": _moment(feature.format, time)}
        case Text():
            found["typical"] = ""
        case Raw():
            found |= {"needed": feature.kind == "integer", "typical": 0 if feature.kind == "integer" else ""}
    return found


def _rounded(feature: Numeric) -> float:
    """The middle of the training values, to four digits."""
    value = feature.fill if feature.fill is not None else feature.offset
    return float(f"{value:.4g}")


def _moment(form: str | None, time: bool) -> str:
    from datetime import datetime

    moment = datetime(2026, 1, 15, 12, 0)
    return moment.strftime(form) if form else moment.isoformat(timespec="minutes")[: 16 if time else 10]


# ------------------------------------------------------------------ images


def _image(predictor: Predictor) -> dict[str, Any] | None:
    """The size of the pictures that a model of one input reads, and what it takes for white."""
    if predictor.kind != "arrays" or len(predictor.specs) > 1:
        return None
    ((name, info),) = predictor.specs.items()
    files = predictor.images is not None
    shape = info.shape if len(info.shape) == 3 or not files else (*info.shape, 1)
    if len(shape) != 3 or shape[2] not in (1, 3, 4) or info.dtype not in ("uint8", "float32"):
        return None
    height, width, channels = shape
    if not SMALLEST <= min(height, width) <= max(height, width) <= LARGEST:
        return None
    white = _white(predictor, name)
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "files": files,
        "white": white or (255.0 if info.dtype == "uint8" else 1.0),
        "guessed": white is None and info.dtype != "uint8",
        "drawn": channels == 1 and height == width <= DRAWN,
    }


def _white(predictor: Predictor, name: str) -> float | None:
    """What the first layer brings to 1, where it is one that does such a thing."""
    graph = predictor.model.graph
    own = name if name in graph.inputs else next(iter(graph.inputs))
    for node in graph.nodes:
        layer = node.layer
        if node.inputs == (own,) and isinstance(layer, Rescaling) and not isinstance(layer.scale, list):
            offset = layer.offset if not isinstance(layer.offset, list) else layer.offset[0]
            white = (1 - offset) / layer.scale if layer.scale else 0.0
            if 0 < white < math.inf:
                return float(f"{white:.4g}")
    return None


# ------------------------------------------------------------------ an example


def example(predictor: Predictor) -> Any:
    """A row that the model reads; None where it would be too long to read."""
    if predictor.kind == "table":
        typical = {feature.name: _feature(feature)["typical"] for feature in predictor.preprocessing.used}
        return {name: "a text" if value == "" else value for name, value in typical.items()}
    if predictor.kind == "text":
        return "a text"
    if sum(math.prod(info.shape) for info in predictor.specs.values()) > LONGEST:
        return None
    rows = {name: _zeros(info) for name, info in predictor.specs.items()}
    return rows if len(rows) > 1 else next(iter(rows.values()))


def _zeros(info: InputInfo) -> Any:
    found: Any = "" if info.dtype == "string" else 0 if info.dtype != "float32" else 0.0
    for size in reversed(info.shape):
        found = [found] * size
    return found
