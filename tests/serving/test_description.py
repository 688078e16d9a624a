"""What the server tells of its model: facts for the page, and an OpenAPI document with schemas of this very model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from tests.serving.conftest import SPECS, Served

Server = Callable[[str], Served]


def schema(document: Any, name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**document, "$ref": f"#/components/schemas/{name}"})


@pytest.mark.parametrize("name", SPECS)
def test_the_document_describes_what_is_read_and_answered(name: str, served: Server) -> None:
    server = served(name)
    document, model = server.ask("/openapi.json").document, server.ask("/model.json").document
    assert document["openapi"] == "3.1.0" and document["info"]["title"] == model["name"]
    for each in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(each)
    assert set(document["paths"]["/predict"]["post"]["requestBody"]["content"]) == set(model["media_types"])
    request = {"inputs": [model["example"]]}
    schema(document, "Request").validate(request)
    answer = server.predict(request)
    assert answer.status == 200
    schema(document, "Predictions").validate(answer.document)
    (row,) = answer.document["predictions"]
    assert set(row) <= set(document["components"]["schemas"]["Prediction"]["properties"])
    for wrong in ({"inputs": []}, {"inputs": [None]}, {"inputs": [[model["example"]]]}, {"rows": []}):
        assert not schema(document, "Request").is_valid(wrong)
        refusal = server.predict(wrong)
        assert refusal.status == 422
        schema(document, "Problems").validate(refusal.document)


def test_the_facts_are_those_of_the_model(served: Server) -> None:
    penguins, mnist, reviews = (served(n).ask("/model.json").document for n in ("penguins", "mnist", "reviews"))
    assert penguins["outputs"][0]["classes"] == ["Adelie", "Chinstrap", "Gentoo"] and penguins["kind"] == "table"
    islands = next(f for f in penguins["features"] if f["name"] == "island")
    assert islands["categories"] == ["Biscoe", "Dream", "Torgersen"]
    size = {"height": 28, "width": 28, "channels": 1, "files": True, "white": 255.0, "guessed": False, "drawn": True}
    assert mnist["image"] == size and mnist["inputs"] == {"input_layer": {"shape": [28, 28, 1], "dtype": "uint8"}}
    assert reviews["kind"] == "text" and reviews["outputs"][0]["kind"] == "binary"
    assert served("pictures").ask("/model.json").document["image"]["drawn"] is False
    health = served("mnist").ask("/healthz")
    assert health.status == 200 and health.document["status"] == "ok"
