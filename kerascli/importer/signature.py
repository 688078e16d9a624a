"""What an imported model reads and is compared with, though there is no data: its inputs' shapes and types are in the
file, its targets follow from each output and its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kerascli.errors import Problem
from kerascli.graph import Graph
from kerascli.importer.layout import key_of
from kerascli.importer.network import Ref
from kerascli.importer.plan import Key, Plan, Step
from kerascli.losses.base import Loss
from kerascli.objective import activation, wanted_encoding
from kerascli.ops.ir import Shape, ShapeError
from kerascli.preprocessing import InputLayout, Preprocessing, TargetLayout
from kerascli.sources.base import InputInfo, Signature, TargetInfo

LOOKUPS = {"Embedding", "ReversibleEmbedding", "CategoryEncoding", "IntegerLookup"}
"""Layers whose numbers are whole, though Keras's Input says float32 where it says nothing."""
TEXTS = {"StringLookup", "TextVectorization"}
SHAPING = {"Reshape", "Flatten", "Permute", "RepeatVector", "Identity", "Concatenate", "Residual"}
GUESSES = {"softmax": "sparse_categorical_crossentropy", "sigmoid": "binary_crossentropy"}
"""The loss that most outputs of this function are trained with."""


def inputs(plan: Plan, names: Mapping[Key, str], shapes: Mapping[str, Sequence[int]]) -> dict[str, InputInfo] | Problem:
    """Each input's shape and type; `shapes` are given for those that have axes of any length."""
    steps = [step for step in plan.steps if step.spec["type"] == "Input"]
    found: dict[str, InputInfo] = {}
    for number, step in enumerate(steps):
        automatic = "input_layer" + (f"_{number}" if number else "")
        name = names.get(step.key, automatic)
        known = [step.entry.name, name, *([""] if len(steps) == 1 else [])]
        given = next((shapes[key] for key in known if key in shapes), None)
        own = step.spec.get("shape")
        shape = _fitted(own, given)
        if shape is None:
            title = f"Input `{step.entry.name}`"
            prefix = "" if len(steps) == 1 else f"{step.entry.name}="
            example = ",".join(str(n or 100) for n in own or (28, 28, 1))
            said = "has axes of any length" if own and given is None else f"is {own}, and `--shape` says {given}"
            said = said if own or given else "has no shape in the file"
            help = f"say how long samples are, as in `--shape {prefix}{example}`: a program here has fixed shapes"
            return Problem("E605", f"{title} {said}", help=help)
        found[name] = InputInfo(shape, _dtype(plan, step))
    return found


def _fitted(own: Sequence[int | None] | None, given: Sequence[int] | None) -> Shape | None:
    if own is None:
        return tuple(given) if given is not None else None
    if given is None:
        known = [n for n in own if n is not None]
        return tuple(known) if len(known) == len(own) else None
    fits = len(own) == len(given) and all(a in (None, b) for a, b in zip(own, given, strict=True))
    return tuple(given) if fits else None


def _dtype(plan: Plan, step: Step) -> str:
    if step.spec.get("dtype"):
        kind = str(step.spec["dtype"])
        return kind if kind in ("string", "uint8") else "float32" if kind.startswith("float") else "int32"
    readers = _readers(plan, step.key, set())
    if readers & TEXTS:
        return "string"
    return "int32" if readers & LOOKUPS else "float32"


def _readers(plan: Plan, key: Key, seen: set[Key]) -> set[str]:
    """The layers that read a tensor, through those that only shape it and into nested models."""
    found: set[str] = set()
    for step in plan.steps:
        if step.key in seen or key not in [key_of(ref) for ref in step.all_reads]:
            continue
        kind = step.entry.kind
        if not step.spec.get("reverse"):
            found.add(kind)
        if kind in SHAPING:
            found |= _readers(plan, step.key, seen | {step.key})
        if step.inner:
            place = [key_of(ref) for ref in step.reads].index(key)
            entries = step.inner.net.inputs
            if place < len(entries):
                ref: Ref = entries[place]
                found |= _readers(step.inner, key_of(ref), set())
    return found


def guessed_loss(graph: Graph, output: str) -> str:
    """The loss of an output that the file has none for."""
    node = graph.node(output)
    last = activation(graph, node)
    if last == "softmax" and node.shape[-1:] != (1,):
        return GUESSES["softmax"]
    return GUESSES.get(last or "", "mse") if last == "sigmoid" else "mse"


def target(loss: Loss, shape: Shape) -> TargetInfo | None:
    """A target that the loss takes on an output of this shape."""
    classes = shape[-1] if shape else None
    candidates = [TargetInfo(shape, "float32")]
    if classes and classes > 1:
        labels = TargetInfo(shape[:-1], "int64", classes)
        candidates.insert(0 if loss.encoding(shape, classes) != "none" else 1, labels)
    if classes == 1:
        candidates.insert(0, TargetInfo(shape[:-1], "int64", 2))
    candidates += [TargetInfo(shape[:-1], "float32"), TargetInfo((), "int64", classes), TargetInfo((), "float32")]
    for info in candidates:
        encoding = wanted_encoding(loss, shape, info)
        try:
            own = loss.resolve(shape, info.shape_as(encoding))
            if not own.problem(info.shape_as(encoding), info.classes, shape) and _probable(own, info):
                return info
        except (ShapeError, ValueError):
            continue
    return None


def _probable(loss: Loss, info: TargetInfo) -> bool:
    """Labels of two classes are what a crossentropy of one number is about; a regression has values."""
    return info.classes != 2 or hasattr(loss, "from_logits") or loss.targets != "like_output"


def preprocessing(signature: Signature, encodings: Mapping[str, str]) -> Preprocessing:
    """Arrays go in as they are; labels are class numbers."""
    return Preprocessing(
        inputs={name: InputLayout(shape=i.shape, dtype=i.dtype) for name, i in signature.inputs.items()},
        targets={
            name: TargetLayout.model_validate(
                {"encoding": encodings.get(name, "none"), "classes": info.classes, "class_names": info.class_names}
            )
            for name, info in signature.targets.items()
        },
    )
