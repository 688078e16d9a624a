"""Which columns of a table go to which input and output of the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kerascli.errors import Problem, SpecFailure
from kerascli.sources.base import did_you_mean

Names = dict[str, tuple[str, ...]]


def input_layout(features: Mapping[str, object], inputs: Sequence[str]) -> Names:
    """Input → its features: one vector of all, or one input a feature where inputs are named after features."""
    if not inputs:
        return {"x": tuple(features)}
    if len(inputs) == 1 and inputs[0] not in features:
        return {inputs[0]: tuple(features)}
    _require(inputs, features, "feature")
    return {name: (name,) for name in inputs}


def target_layout(columns: Sequence[str], outputs: Sequence[str]) -> Names:
    """Target → its columns: one column an output, or all columns as the vector of a single output."""
    if not outputs:
        return {name: (name,) for name in columns}
    if len(outputs) == 1 and (len(columns) == 1 or outputs[0] not in columns):
        return {outputs[0]: tuple(columns)}
    _require(outputs, columns, "target")
    return {name: (name,) for name in outputs}


def _require(wanted: Iterable[str], names: Iterable[str], what: str) -> None:
    have = ", ".join(f"`{name}`" for name in names)
    problems = [
        Problem(
            "E409", f"the table has no {what} `{name}`", label=did_you_mean(name, names), help=f"its {what}s are {have}"
        )
        for name in wanted
        if name not in names
    ]
    if problems:
        raise SpecFailure(problems)
