"""How the layers are connected: an order they can run in, the outputs, and what is wrong with names.

Problems of connections arise here: E304 an unknown name, E305 a name given twice, E306 a cycle, E307 a layer that
nothing reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kerascli.component import nearest
from kerascli.draft import Draft
from kerascli.errors import Problem, Span, SpecFailure
from kerascli.expand import expand
from kerascli.layers.structure import Input, _Entry, _Exit
from kerascli.spec import Loaded
from kerascli.yamltext import Place


@dataclass(frozen=True)
class Outline:
    """The graph before shapes are known."""

    drafts: tuple[Draft, ...]
    outputs: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(draft.name for draft in self.drafts if isinstance(draft.layer, Input))

    @property
    def writes_inputs(self) -> bool:
        """Whether the spec has Input layers; else there is one that nobody wrote."""
        return any(draft.position >= 0 for draft in self.drafts if isinstance(draft.layer, Input))


def outline(loaded: Loaded) -> Outline:
    """Names, order and connections."""
    problems: list[Problem] = []
    drafts = _ordered(expand(loaded, problems), loaded, problems)
    outputs = _outputs(drafts, loaded, problems)
    if not problems:
        _unused(drafts, outputs, loaded, problems)
    if problems:
        raise SpecFailure(problems)
    return Outline(tuple(drafts), tuple(outputs))


def span_of(loaded: Loaded, place: Place) -> Span:
    """A layer's place: that of its type, where it says one."""
    return loaded.document.type_span(place)


def _ordered(drafts: list[Draft], loaded: Loaded, problems: list[Problem]) -> list[Draft]:
    """Inputs first, then every layer after those it reads, else as written. Unknown names and cycles are problems."""
    by_name = {draft.name: draft for draft in drafts}
    for draft in drafts:
        for index, name in enumerate(draft.inputs):
            if name not in by_name or by_name[name].inside != draft.reads_from:
                problems.append(_unseen(draft, name, drafts, span_of(loaded, draft.places[index])))
    if problems:
        return drafts
    done: dict[str, Draft] = {d.name: d for d in drafts if isinstance(d.layer, Input)}
    waiting = [d for d in drafts if d.name not in done]
    while waiting:
        ready = next((d for d in waiting if all(name in done for name in d.inputs)), None)
        if ready is None:
            problems.append(_cycle(waiting, done, loaded))
            return drafts
        done[ready.name] = ready
        waiting.remove(ready)
    return list(done.values())


def _cycle(waiting: list[Draft], done: Mapping[str, Draft], loaded: Loaded) -> Problem:
    by_name = {draft.name: draft for draft in waiting}
    way = [waiting[0].name]
    while way.count(way[-1]) < 2:
        way.append(next(name for name in by_name[way[-1]].inputs if name not in done))
    ring = way[way.index(way[-1]) :]
    depth = min(name.count("/") for name in ring)
    ring = [name for name in ring if name.count("/") == depth]  # a nested model in it is one step
    if len(ring) == 1 or ring[0] != ring[-1]:
        ring.append(ring[0])
    start = min((by_name[name] for name in ring), key=lambda d: span_of(loaded, d.path))
    words = " reads ".join(f"`{name}`" for name in ring)
    return Problem("E306", f"the layers go round in a circle: {words}", span_of(loaded, start.path))


def unknown(name: str, names: Sequence[str], where: Span, who: str) -> Problem:
    """An unknown layer's name, with the one that was probably meant."""
    near = nearest(name, names)
    few = f"there are {', '.join(f'`{n}`' for n in names)}" if len(names) <= 12 else ""
    help = few or "`kerascli summary` shows the names of all layers"
    return Problem(
        "E304", f"{who} `{name}`, and no layer is called so", where, f"did you mean `{near}`?" * bool(near), help
    )


def _unseen(draft: Draft, name: str, drafts: Sequence[Draft], where: Span) -> Problem:
    """A name that is unknown where it is read; inside of a nested model and outside of it others are known."""
    around = draft.reads_from
    names = _local(drafts, around)
    who = f"{draft.title} reads"
    if isinstance(draft.layer, _Entry):
        who = f"Model `{draft.inside}` reads"
    elif isinstance(draft.layer, _Exit):
        who = f"`outputs` of Model `{around}` names"
    word = name.removeprefix(f"{around}/") if around else name
    found = unknown(word, names, where, who)
    if "/" in word:
        help = f"what a nested model makes is read by the model's own name, `{word.split('/')[0]}`"
        return replace(found, label="", help=f"{help}; name more of it in its `outputs`")
    if around and word in _local(drafts, "") and word not in names:
        help = f"a nested model reads nothing outside: give `{around}` the input and an Input for it"
        return replace(found, label=f"`{word}` is outside of `{around}`", help=help)
    return found


def _local(drafts: Sequence[Draft], around: str) -> list[str]:
    """The names that are known in a nested model, or outside of all."""
    names = (draft.name.removeprefix(f"{around}/") for draft in drafts if draft.inside == around)
    return list(dict.fromkeys(names))


def _outputs(drafts: list[Draft], loaded: Loaded, problems: list[Problem]) -> list[str]:
    names = loaded.spec.outputs
    if names is None:
        last = max(drafts, key=lambda d: d.position)
        return [last.name]
    known = _local(drafts, "")
    for index, name in enumerate(names):
        where = loaded.document.span(("outputs", index))
        if name not in known:
            problems.append(unknown(name, known, where, "`outputs` names"))
        elif name in names[:index]:
            problems.append(Problem("E305", f"`outputs` names `{name}` twice", where, help="name it once"))
    return names


def _unused(drafts: list[Draft], outputs: list[str], loaded: Loaded, problems: list[Problem]) -> None:
    needed = set(outputs)
    for draft in reversed(drafts):
        if draft.name in needed:
            needed.update(draft.inputs)
    read = {name for draft in drafts for name in draft.inputs} | needed
    ends: dict[str, list[str]] = {}
    """The outputs of each nested model: one that is read is enough."""
    for draft in drafts:
        if isinstance(draft.layer, _Exit):
            ends.setdefault(draft.layer.model, []).append(draft.name)
    for draft in drafts:
        if read.isdisjoint(ends.get(draft.name, [draft.name])) and not _is_copy(draft):
            message = f"{draft.title} is read by no layer and is no output"
            owner = f" of `{draft.inside}`" if draft.inside else ""
            own = [d for d in drafts if isinstance(d.layer, _Exit) and d.layer.model == draft.inside]
            last = ", ".join(d.inputs[0].rpartition("/")[2] for d in own) if draft.inside else ", ".join(outputs)
            help = f"the outputs{owner} are {last}: add it to `outputs` or to a layer's `inputs`, or remove it"
            problems.append(Problem("E307", message, span_of(loaded, draft.path), help=help))


def _is_copy(draft: Draft) -> bool:
    """A further output of a nested model, or a layer of another call of one: the first is blamed alone."""
    return (isinstance(draft.layer, _Exit) and draft.layer.number > 0) or bool(draft.shared and draft.inside)
