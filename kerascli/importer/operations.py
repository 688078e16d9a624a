"""Array operations that Keras writes between layers, as layers: `x + y` is Add, `x / 255` is Rescaling.

Of Keras 3 these are objects of `keras.ops`, of Keras 2 layers called TFOpLambda. Masks vanish elsewhere: nothing but
the layers' own masks reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from kerascli.activations import Activation
from kerascli.component import snake_case
from kerascli.importer.network import Call, Config, Entry, Ref, plain
from kerascli.importer.values import Refusal, short

Layers = tuple[list[Config], list[Ref]]
"""Layers one after the other, and what the first of them reads."""

MERGES = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
POOLING = {"Mean": "GlobalAveragePooling", "Max": "GlobalMaxPooling"}
PASSED = ("Identity", "Copy", "ConvertToTensor")
KERAS2 = {
    **{f"math.{name}": name.title() for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")},
    **{f"__operators__.{name}": name.title() for name in ("add", "subtract", "multiply")},
    "math.truediv": "Divide",
    "__operators__.truediv": "Divide",
    "cast": "Cast",
    "identity": "Identity",
    "concat": "Concatenate",
    "reshape": "Reshape",
    "nn.relu": "Relu",
    "nn.softmax": "Softmax",
    "math.sigmoid": "Sigmoid",
    "math.tanh": "Tanh",
    "nn.gelu": "Gelu",
    "nn.elu": "Elu",
    "nn.silu": "Silu",
    "math.reduce_mean": "Mean",
    "math.reduce_max": "Max",
    "expand_dims": "ExpandDims",
    "squeeze": "Squeeze",
    "transpose": "Transpose",
    "nn.relu6": "Relu6",
    "nn.selu": "Selu",
    "nn.softplus": "Softplus",
}
"""What Keras 2 calls them: the function in TensorFlow."""


def translated(entry: Entry, call: Call) -> Layers | Ref:
    """The layers that stand for an operation, or the tensor that it passes on."""
    kind = entry.kind
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        function = str(entry.config.get("function"))
        kind = KERAS2.get(function, function)
    values = {**entry.config, **call.kwargs}
    if kind in PASSED or (kind == "Cast" and str(values.get("dtype")).startswith(("float", "bfloat"))):
        return _tensor(kind, call)
    if kind in MERGES or kind in ("Divide", "TrueDivide", "Negative"):
        return _arithmetic(kind, call)
    if kind in SHAPES:
        x = _tensor(kind, call)
        return SHAPES[kind](x, values, call), [x]
    if kind == "Concatenate":
        return _concatenation(call, values)
    found = Activation.find(snake_case(kind))
    if found is None:
        message = f"the operation `{kind[:60]}` between layers has no layer that stands for it"
        raise Refusal(message, "make the model with layers alone, and save it again")
    x = _tensor(kind, call)
    given = {key: values[key] for key in found.model_fields if values.get(key) is not None}
    function = short("activation", {"type": snake_case(kind), **given})
    return [{"type": "Activation", "activation": function}], [x]


def _tensor(kind: str, call: Call) -> Ref:
    """The tensor that an operation reads alone."""
    given = list(call.refs)
    if len(given) != 1 or not call.args or not isinstance(call.args[0], Ref):
        raise Refusal(f"the operation `{kind[:60]}` reads {len(given)} layers, which no layer does")
    return given[0]


def _arithmetic(kind: str, call: Call) -> Layers:
    operands = [*call.args, *(call.kwargs[key] for key in ("y", "x2") if key in call.kwargs)]
    if len(operands) == 1 and isinstance(operands[0], list):
        operands = operands[0]
    if kind == "Negative" and len(operands) == 1 and isinstance(operands[0], Ref):
        return [{"type": "Rescaling", "scale": -1.0}], [operands[0]]
    if len(operands) != 2:
        raise Refusal(f"the operation `{kind}` has {len(operands)} operands")
    one, other = operands
    if isinstance(one, Ref) and isinstance(other, Ref):
        if kind not in MERGES:
            raise Refusal("no layer divides one tensor by another", "multiply by what the other layer gives")
        if one.shape is not None and other.shape is not None and len(one.shape) != len(other.shape):
            raise Refusal(f"`{kind}` of tensors of {len(one.shape)} and {len(other.shape)} axes has no layer")
        return [{"type": kind}], [one, other]
    x = one if isinstance(one, Ref) else other
    constant = other if isinstance(one, Ref) else one
    if not isinstance(x, Ref) or isinstance(constant, bool) or not isinstance(constant, (int, float)):
        raise Refusal(f"`{kind}` with a constant array has no layer")
    scale, offset = _affine(kind, float(constant), isinstance(one, Ref))
    found: Config = {"type": "Rescaling", "scale": scale}
    return [found | ({"offset": offset} if offset else {})], [x]


def _affine(kind: str, c: float, first: bool) -> tuple[float, float]:
    """scale and offset of `x kind c`, or of `c kind x`."""
    if kind == "Add":
        return 1.0, c
    if kind == "Subtract":
        return (1.0, -c) if first else (-1.0, c)
    if kind == "Multiply":
        return c, 0.0
    if kind in ("Divide", "TrueDivide") and first and c:
        return 1.0 / c, 0.0
    raise Refusal(f"`{kind}` with a constant has no layer")


def _concatenation(call: Call, values: Mapping[str, Any]) -> Layers:
    reads = call.args[0] if call.args and isinstance(call.args[0], list) else list(call.args)
    if not reads or not all(isinstance(each, Ref) for each in reads):
        raise Refusal("`Concatenate` with constants has no layer")
    axis = values.get("axis", -1)
    return [{"type": "Concatenate", "axis": int(axis)}], list(reads)


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _known(x: Ref) -> tuple[int, ...]:
    """The shape of a sample."""
    if x.shape is None or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in x.shape[1:]):
        raise Refusal("an operation changes the shape of a tensor, and the file does not say that shape")
    return tuple(n for n in x.shape[1:] if n is not None)


def _axis(x: Ref, axis: Any) -> int:
    rank = len(x.shape or ())
    if not isinstance(axis, int) or isinstance(axis, bool) or not -rank <= axis <= rank:
        raise Refusal(f"an operation's axis is {axis}")
    return axis


def _reshape(x: Ref, values: Mapping[str, Any], call: Call) -> list[Config]:
    shape = plain(values.get("newshape", values.get("shape", call.args[1] if len(call.args) > 1 else None)))
    if not isinstance(shape, list) or not shape or any(n is not None and type(n) is not int for n in shape):
        raise Refusal("an operation reshapes to what is no shape")
    if shape[0] not in (-1, None) and (x.shape is None or shape[0] != x.shape[0]):
        raise Refusal("an operation reshapes the axis of the batch")
    target = [-1 if n is None else n for n in shape[1:]]
    if shape[0] == -1 and -1 not in target and prod(target) != prod(_known(x)):
        raise Refusal("an operation reshapes the axis of the batch")
    return [{"type": "Reshape", "target_shape": target}]


def _transpose(x: Ref, values: Mapping[str, Any], call: Call) -> list[Config]:
    axes = plain(values.get("axes", values.get("perm")))
    if not isinstance(axes, list) or not axes or axes[0] != 0:
        raise Refusal("an operation moves the axis of the batch")
    return [{"type": "Permute", "dims": axes[1:]}]


def _expand(x: Ref, values: Mapping[str, Any], call: Call) -> list[Config]:
    shape, axis = list(_known(x)), _axis(x, values.get("axis"))
    place = axis - 1 if axis > 0 else axis + len(shape) + 1
    if axis == 0 or place < 0:
        raise Refusal("an operation moves the axis of the batch")
    return [{"type": "Reshape", "target_shape": [*shape[:place], 1, *shape[place:]]}]


def _squeeze(x: Ref, values: Mapping[str, Any], call: Call) -> list[Config]:
    shape, axes = list(_known(x)), plain(values.get("axis"))
    given = axes if isinstance(axes, list) else [axes] if axes is not None else []
    places = {_axis(x, axis) % (len(shape) + 1) for axis in given} or {k + 1 for k, n in enumerate(shape) if n == 1}
    if 0 in places:
        raise Refusal("an operation drops the axis of the batch")
    return [{"type": "Reshape", "target_shape": [n for k, n in enumerate(shape) if k + 1 not in places]}]


def _flatten(x: Ref, values: Mapping[str, Any], call: Call) -> list[Config]:
    return [{"type": "Flatten"}]


def _pool(kind: str) -> Callable[[Ref, Mapping[str, Any], Call], list[Config]]:
    def pool(x: Ref, values: Mapping[str, Any], call: Call) -> list[Config]:
        axes = plain(values.get("axis"))
        given = sorted(_axis(x, axis) % len(_batched(x)) for axis in (axes if isinstance(axes, list) else [axes]))
        rank = len(_batched(x)) - 2
        if given != list(range(1, rank + 1)) or rank not in (1, 2, 3):
            raise Refusal(f"`{kind}` over the axes {given} has no layer: pooling goes over all axes but the last")
        found: Config = {"type": f"{POOLING[kind]}{rank}D"}
        return [found | ({"keepdims": True} if values.get("keepdims") else {})]

    return pool


def _batched(x: Ref) -> tuple[int | None, ...]:
    if x.shape is None:
        raise Refusal("an operation goes over axes, and the file does not say the shape of what it reads")
    return x.shape


def _part(x: Ref, values: Mapping[str, Any], call: Call) -> list[Config]:
    """`x[:, 2:-1]` is a Cropping, `x[:, -1]` one and a Reshape."""
    key = call.args[1] if len(call.args) > 1 else values.get("key")
    steps = list(key) if isinstance(key, list) else [key]
    shape = list(_known(x))
    if any(_is(step, "__ellipsis__") for step in steps):
        at = next(k for k, step in enumerate(steps) if _is(step, "__ellipsis__"))
        missing = len(shape) + 1 - (len(steps) - 1)
        steps[at : at + 1] = [{"class_name": "__slice__", "config": {}}] * missing
    if not steps or len(steps) > len(shape) + 1 or _bounds(steps[0], 10) != (0, 10):
        raise Refusal("an operation takes a part of the batch")
    cuts = [_bounds(step, n) for step, n in zip(steps[1:], shape, strict=False)]
    cuts += [(0, n) for n in shape[len(cuts) :]]
    cropped = [[start, n - stop] for (start, stop), n in zip(cuts, shape, strict=True)]
    rank = len(shape) - 1
    if rank not in (1, 2, 3) or cropped[-1] != [0, 0] or len(steps) > len(shape):
        raise Refusal("an operation takes a part of the last axis, which no layer does")
    crop = cropped[0] if rank == 1 else cropped[:-1]
    found: list[Config] = [{"type": f"Cropping{rank}D", "cropping": crop}] if any(map(any, cropped)) else []
    whole = [type(step) is int for step in steps[1:]] + [False] * (len(shape) - len(steps) + 1)
    if any(whole):
        kept = [stop - start for (start, stop), one in zip(cuts, whole, strict=True) if not one]
        found.append({"type": "Reshape", "target_shape": kept})
    return found or [{"type": "Identity"}]


def _is(step: Any, kind: str) -> bool:
    return isinstance(step, Mapping) and step.get("class_name") == kind


def _bounds(step: Any, n: int) -> tuple[int, int]:
    """Where a step of `x[...]` begins and ends on an axis of n places."""
    if type(step) is int and -n <= step < n:
        return step % n, step % n + 1
    if not _is(step, "__slice__"):
        raise Refusal("an operation takes a part by what is neither a number nor a slice")
    config = step["config"]
    parts = [config.get(key) for key in ("start", "stop", "step")]
    if any(part is not None and type(part) is not int for part in parts) or parts[2] not in (None, 1):
        raise Refusal("an operation takes a part in steps, which no layer does")
    start, stop, _ = slice(*parts).indices(n)
    if stop <= start:
        raise Refusal("an operation takes an empty part")
    return start, stop


SHAPES: dict[str, Callable[[Ref, Mapping[str, Any], Call], list[Config]]] = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "ExpandDims": _expand,
    "Squeeze": _squeeze,
    "Flatten": _flatten,
    "GetItem": _part,
    **{kind: _pool(kind) for kind in POOLING},
}
