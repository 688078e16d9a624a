"""`Reuse` replaced by another call of the layer it means; of a nested model, by another call of everything in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kerascli.component import nearest
from kerascli.draft import MAX_LAYERS, Draft
from kerascli.errors import Problem, SpecFailure
from kerascli.layer import Layer
from kerascli.layers.structure import Input, Reuse, _Entry, _Exit
from kerascli.spec import Loaded
from kerascli.yamltext import Place


def shared(drafts: Sequence[Draft], aliases: Mapping[str, str], loaded: Loaded, problems: list[Problem]) -> list[Draft]:
    """The drafts with every Reuse replaced, and names of Repeats by their last layer's."""
    drafts = [replace(d, inputs=tuple(aliases.get(name, name) for name in d.inputs)) for d in drafts]
    copier = _Copier(drafts, loaded, problems)
    # What is deepest comes first: a nested model is copied with the calls in it.
    for draft in sorted((d for d in drafts if isinstance(d.layer, Reuse)), key=lambda d: -d.inside.count("/")):
        copier.resolve(draft)
    return [found for draft in drafts for found in copier.found.get(draft.name, (draft,))]


class _Copier:
    def __init__(self, drafts: Sequence[Draft], loaded: Loaded, problems: list[Problem]) -> None:
        self.drafts, self.loaded, self.problems = drafts, loaded, problems
        self.by_name = {draft.name: draft for draft in drafts}
        self.found: dict[str, tuple[Draft, ...]] = {}
        """What stands in the place of each Reuse."""
        self.copies = 0

    def resolve(self, draft: Draft) -> None:
        owner, seen = draft, {draft.name}
        while isinstance(owner.layer, Reuse):
            name = f"{owner.inside}/{owner.layer.layer}" if owner.inside else owner.layer.layer
            meant = self.by_name.get(name)
            if meant is None or meant.inside != draft.inside or name in seen or _is_input(meant):
                self.problems.append(self.unknown(draft, owner.layer.layer, meant, name in seen))
                return
            owner = meant
            seen.add(name)
        if isinstance(owner.layer, _Exit):
            self.found[draft.name] = tuple(self.model(draft, owner.layer))
        else:
            assert isinstance(draft.layer, Reuse)
            layer = self.reversed(draft, owner.layer) if draft.layer.reverse else owner.layer
            self.found[draft.name] = (replace(draft, layer=layer, shared=owner.name),)

    def reversed(self, draft: Draft, layer: Layer) -> Layer:
        """The layer as it is called in reverse."""
        from kerascli.layers.embedding import ReversibleEmbedding  # specs without one need not wait for it

        if isinstance(layer, ReversibleEmbedding):
            return layer.model_copy(update={"reverse": True})
        kind = type(layer).__name__
        help = "make it a ReversibleEmbedding, or leave `reverse` out"
        place = (*draft.path, "reverse")
        self.problems.append(self.problem("E205", f"{kind} cannot be called in reverse", place, help))
        return layer

    def model(self, draft: Draft, end: _Exit) -> Iterator[Draft]:
        """Another call of a nested model: every draft of it again, with the weights of the first."""
        own = f"{end.model}/"
        around = draft.inside
        body = [d for d in self.drafts if d.name.startswith(own)]
        entries = sum(isinstance(d.layer, _Entry) and d.inside == end.model for d in body)
        if entries != len(draft.inputs) and draft.inputs:
            reads = f"reads {len(draft.inputs)} layer{'s' * (len(draft.inputs) > 1)}"
            message = f"Reuse `{draft.name}` {reads}, and Model `{end.model}` has {entries} Input{'s' * (entries > 1)}"
            self.problems.append(self.problem("E303", message, draft.path, "name a layer for each of its Inputs"))

        def moved(name: str) -> str:
            return f"{draft.name}/{name.removeprefix(own)}" if name.startswith(own) else name

        for first in [each for d in body for each in self.found.get(d.name, (d,))]:
            self.copies += 1
            if self.copies > MAX_LAYERS:
                message = f"the spec has more than {MAX_LAYERS:,} layers"
                raise SpecFailure(self.problem("E305", message, draft.path))
            copy = replace(
                first,
                name=moved(first.name),
                path=draft.path,
                places=(draft.path,) * len(first.places),
                inputs=tuple(map(moved, first.inputs)),
                shared=first.shared or (first.layer.model if isinstance(first.layer, _Exit) else first.name),
                inside=draft.name if first.inside == end.model else moved(first.inside),
                position=-1,
            )
            if isinstance(copy.layer, _Entry) and first.inside == end.model:
                own_read = slice(copy.layer.number, copy.layer.number + 1)
                copy = replace(copy, inputs=draft.inputs[own_read], places=draft.places[own_read])
            elif isinstance(copy.layer, _Exit):
                copy = replace(copy, layer=copy.layer.model_copy(update={"model": moved(copy.layer.model)}))
            yield copy
        for first in [d for d in self.drafts if isinstance(d.layer, _Exit) and d.layer.model == end.model]:
            assert isinstance(first.layer, _Exit)
            layer = first.layer.model_copy(update={"model": draft.name})
            name = draft.name + (f":{layer.number}" if layer.number else "")
            position = -1 if layer.number else draft.position
            inputs = tuple(map(moved, first.inputs))
            places = (draft.path,) * len(inputs)
            yield Draft(name, layer, inputs, draft.path, places, end.model, position, around)

    def unknown(self, draft: Draft, word: str, meant: Draft | None, circle: bool) -> Problem:
        place = (*draft.path, "layer")
        title = f"Reuse `{draft.name}`"
        if meant is not None and _is_input(meant):
            return self.problem("E308", f"{title} means an Input, which has no weights to share", place)
        where = self.loaded.document.span(place)
        if circle:
            return Problem("E306", f"{title} means itself", where, help="name another layer")
        alike = [d for d in self.drafts if d.inside == draft.inside and not isinstance(d.layer, (Input, _Entry, Reuse))]
        near = nearest(word, [d.name.rpartition("/")[2] for d in alike])
        message = f"{title} means `{word}`, and no layer is called so"
        return Problem("E304", message, where, f"did you mean `{near}`?" if near else "")

    def problem(self, code: str, message: str, place: Place, help: str = "") -> Problem:
        return Problem(code, message, self.loaded.document.type_span(place), help=help)


def _is_input(draft: Draft) -> bool:
    return isinstance(draft.layer, (Input, _Entry))
