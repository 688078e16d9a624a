"""The spec's JSON Schema (draft 2020-12), for editors: completion, hover texts and errors while typing.

Pydantic writes `{"family": …}` where a component may stand; here each family becomes one definition: its members as
mappings with a `type`, and the bare names of those that need no argument.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from kerascli.component import Component, families
from kerascli.docs import sentences
from kerascli.spec import Spec

DRAFT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def schema() -> Schema:
    """The schema of a whole spec."""
    linker = _Linker()
    top = linker.linked(Spec)
    top["required"] = [key for key in top["required"] if key != "name"]
    while linker.waiting:
        name = linker.waiting.pop()
        linker.definitions[name] = linker.family(name)
    return {"$schema": DRAFT, "title": "kerascli spec", **top, "$defs": dict(sorted(linker.definitions.items()))}


class _Linker:
    """Puts references where markers stand, and remembers which families are still to be written."""

    def __init__(self) -> None:
        self.definitions: Schema = {}
        self.waiting: list[str] = []

    def linked(self, model: type[BaseModel]) -> Schema:
        """A model's schema; its own definitions move to the top."""
        own: Schema = model.model_json_schema()
        for key, sentence in sentences(model).items():
            own["properties"][key] = {"description": sentence, **own["properties"][key]}
        for name, part in own.pop("$defs", {}).items():
            self.definitions[name] = self.link(part)
        found: Schema = self.link(own)
        return found

    def link(self, part: Any) -> Any:
        if isinstance(part, list):
            return [self.link(item) for item in part]
        if not isinstance(part, dict):
            return part
        if isinstance(family := part.get("family"), str):
            if family not in self.definitions:
                self.definitions[family] = {}
                self.waiting.append(family)
            kept = {key: value for key, value in part.items() if key in ("description", "default")}
            return {**kept, "$ref": f"#/$defs/{family}"}
        return {key: self.link(value) for key, value in part.items() if key != "title" or isinstance(value, dict)}

    def family(self, name: str) -> Schema:
        names = families()[name].names()
        members: dict[type[Component], list[str]] = {}
        for word, member in names.items():
            members.setdefault(member, []).append(word)
        bare = [
            word for word, member in names.items() if not any(f.is_required() for f in member.model_fields.values())
        ]
        return {"oneOf": [{"enum": bare}, *(self.member(name, *item) for item in members.items())]}

    def member(self, family: str, member: type[Component], words: list[str]) -> Schema:
        """A reference to a member's definition, where `type` is any of its names."""
        key = f"{family}.{member.__name__}"
        own = self.linked(member)
        kind = {"description": f"Which {family}.", "enum": words} if len(words) > 1 else {"const": words[0]}
        own["properties"] = {"type": kind, **own.get("properties", {})}
        own["required"] = ["type", *own.get("required", [])]
        self.definitions[key] = own
        return {"$ref": f"#/$defs/{key}"}
