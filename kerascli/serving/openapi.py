"""The OpenAPI 3.1 document of one model: its very inputs, features and classes."""

from __future__ import annotations

from typing import Any

from kerascli import __version__
from kerascli.serving.bodies import CSV, FORM, JSON

Schema = dict[str, Any]


def document(model: dict[str, Any]) -> Schema:
    """Made of what `description` tells."""
    title = model["name"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": __version__,
            "summary": f"Predictions of the model {title}",
            "description": model["description"] or f"The run {model['run']}, served by kerascli.",
        },
        "paths": {
            "/predict": {"post": _predict(model)},
            "/healthz": {"get": _get("Whether the server answers.", "Health")},
            "/model.json": {"get": _get("What the model reads and says.", "Model")},
            "/openapi.json": {"get": _get("This document.", "Document")},
        },
        "components": {"schemas": _schemas(model)},
    }


def _predict(model: dict[str, Any]) -> Schema:
    top = {"type": "integer", "minimum": 1}
    return {
        "operationId": "predict",
        "summary": "Predict rows, in their order.",
        "parameters": [{"name": "top_k", "in": "query", "schema": top, "description": "Only the likeliest classes."}],
        "requestBody": {"required": True, "content": _bodies(model)},
        "responses": {
            "200": {
                "description": "One prediction a row.",
                "content": {JSON: {"schema": _ref("Predictions")}, CSV: {"schema": {"type": "string"}}},
            },
            **{status: _refusal(words) for status, words in REFUSALS.items()},
        },
    }


REFUSALS = {
    "400": "The body is not what its content type says.",
    "403": "The request comes from another page than the server's own.",
    "406": "The answer is wanted in a form that there is not.",
    "408": "The body did not come in time.",
    "413": "The body has too many bytes or rows.",
    "415": "The content type is none that this model reads.",
    "421": "The server does not go by this name.",
    "422": "The rows do not fit the model.",
    "500": "A fault of the server.",
    "503": "Too many requests at the same time.",
    "504": "The prediction took too long.",
}


def _bodies(model: dict[str, Any]) -> Schema:
    found: Schema = {}
    for media in model["media_types"]:
        if media == JSON:
            shown = {"example": {"inputs": [model["example"]]}} if model["example"] is not None else {}
            found[media] = {"schema": _ref("Request"), **shown}
        elif media == CSV:
            columns = [feature["name"] for feature in model.get("features", ())]
            words = f"A header with the columns {', '.join(columns)}, then a row a sample."
            words = words if columns else "A row of numbers a sample."
            found[media] = {"schema": {"type": "string", "description": words}}
        elif media == FORM:
            files = {"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}}
            found[media] = {"schema": {"type": "object", "properties": {"image": files}}}
        else:
            found[media] = {"schema": {"type": "string", "contentMediaType": media}}
    return found


def _get(summary: str, schema: str) -> Schema:
    content = {JSON: {"schema": _ref(schema)}}
    return {"summary": summary, "responses": {"200": {"description": summary, "content": content}}}


def _refusal(words: str) -> Schema:
    return {"description": words, "content": {JSON: {"schema": _ref("Problems")}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


# ------------------------------------------------------------------ schemas


def _schemas(model: dict[str, Any]) -> Schema:
    text = {"type": "string"}
    problem = {"code": text, "message": text, "help": text, "severity": text, "label": text}
    place = {name: {"type": ["integer", "null"]} for name in ("line", "column", "end_column")}
    return {
        "Row": _row(model),
        "Request": {
            "type": "object",
            "required": ["inputs"],
            "additionalProperties": False,
            "properties": {
                "inputs": {"type": "array", "minItems": 1, "maxItems": model["limits"]["rows"], "items": _ref("Row")},
                "top_k": {"type": ["integer", "null"], "minimum": 1},
            },
        },
        "Prediction": _prediction(model),
        "Predictions": {
            "type": "object",
            "required": ["predictions"],
            "properties": {
                "predictions": {"type": "array", "items": _ref("Prediction")},
                "notes": {"type": "array", "items": text, "description": "What was odd in the rows."},
            },
        },
        "Problem": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {**problem, "file": {"type": ["string", "null"]}, **place},
        },
        "Problems": {
            "type": "object",
            "required": ["problems"],
            "properties": {"problems": {"type": "array", "items": _ref("Problem")}},
        },
        "Health": {"type": "object", "properties": {"status": {"const": "ok"}, "model": text, "run": text}},
        "Model": {"type": "object"},
        "Document": {"type": "object"},
    }


def _row(model: dict[str, Any]) -> Schema:
    if model["kind"] == "text":
        return {"type": "string"}
    if model["kind"] == "table":
        features = {feature["name"]: _feature(feature) for feature in model["features"]}
        needed = [feature["name"] for feature in model["features"] if feature["needed"]]
        return {"type": "object", "required": needed, "minProperties": 1, "properties": features}
    arrays = {name: _array(**info) for name, info in model["inputs"].items()}
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    return {"type": "object", "required": list(arrays), "properties": arrays}


def _feature(feature: dict[str, Any]) -> Schema:
    """A missing value is null, unless training would have dropped such a row."""
    kinds = {"numeric": ["number"], "integer": ["integer"]}.get(feature["kind"], ["string", "number", "boolean"])
    found: Schema = {"type": kinds if feature["needed"] else [*kinds, "null"]}
    if feature["kind"] == "category":
        found["examples"] = feature["categories"]
        found["description"] = "Training showed these values; any other is taken for a missing one."
    if feature["kind"] == "date":
        found["type"] = ["string"] if feature["needed"] else ["string", "null"]
        found["description"] = f"Written as {feature['format'] or 'ISO 8601'}."
    return found


def _array(shape: list[int], dtype: str) -> Schema:
    """Nested arrays, one for each axis. A last axis of one number may be left out."""
    limits = {"uint8": {"minimum": 0, "maximum": 255}, "int32": {"minimum": -(2**31), "maximum": 2**31 - 1}}
    leaf: Schema = {"type": "string" if dtype == "string" else "integer" if dtype in limits else "number"}
    leaf |= limits.get(dtype, {})
    sizes = list(shape)
    if sizes[-1:] == [1]:
        sizes.pop()
        leaf = {"anyOf": [leaf, {"type": "array", "items": leaf, "minItems": 1, "maxItems": 1}]}
    for size in reversed(sizes):
        leaf = {"type": "array", "items": leaf, "minItems": size, "maxItems": size}
    return {**leaf, "description": f"Shape ({', '.join(map(str, shape))}), {dtype}."}


def _prediction(model: dict[str, Any]) -> Schema:
    """The keys as `kerascli predict` writes them; with `top_k` class_1, probability_1 and so on in their place."""
    found: Schema = {"file": {"type": "string", "description": "The file that the sample is."}}
    several = len(model["outputs"]) > 1
    for output in model["outputs"]:
        prefix = f"{output['name']}_" if several else ""
        names = output["classes"]
        number = {"type": ["number", "string"], "description": "Text for nan and inf alone."}
        if output["kind"] == "values":
            size = 1
            for extent in output["shape"]:
                size *= extent
            keys = [output["name"]] if size == 1 else [f"{output['name']}_{k}" for k in range(min(size, 100))]
            found |= dict.fromkeys(keys, number)
            continue
        if output["kind"] == "labels":
            found[f"{prefix}labels"] = {"type": "array", "items": {"enum": names}}
        else:
            found |= {f"{prefix}class": {"enum": names}, f"{prefix}probability": number}
        found |= {f"{prefix}probability_{name}": number for name in names}
    return {"type": "object", "properties": found}
