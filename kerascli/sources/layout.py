"""Which columns of a table go to which input and output of the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kerascli.errors import Failure, Problem, Span, SpecFailure
from kerascli.preprocessing import FeatureOptions, Raw
from kerascli.sources.base import did_you_mean
from kerascli.sources.table import Survey

Names = dict[str, tuple[str, ...]]


def input_layout(features: Mapping[str, object], inputs: Sequence[str]) -> Names:
    """Input → its features: one vector of all, or one input a feature where inputs are named after features."""
    if not inputs:
        return {"x": tuple(features)}
    if len(inputs) == 1 and inputs[0] not in features:
        return {inputs[0]: tuple(features)}
    _require(inputs, features, "feature")
    return {name: (name,) for name in inputs}


def raw_features(
    layout: Names, asked: Mapping[str, str], options: Mapping[str, FeatureOptions], seen: Survey
) -> dict[str, Raw]:
    """The columns of the inputs that want them as they stand: `string`, or a type of integers."""
    found = {}
    for name, dtype in asked.items():
        for column in layout.get(name, ()):
            if options.get(column, FeatureOptions()).kind is not None:
                message = f"the Input `{name}` reads column `{column}` as {dtype}, and `features` gives it a `kind`"
                raise SpecFailure(Problem("E409", message, help="drop one of them"))
            text = seen.columns[column].text_row
            if dtype != "string" and text is not None:
                message = f"row {text[0]}, column `{column}`: `{text[2][:40]}` is no whole number"
                help = f"the Input `{name}` wants {dtype}; for texts write `dtype: string`"
                raise Failure(Problem("E408", message, Span(seen.name, text[1], 1), help=help))
            found[column] = Raw(kind="string" if dtype == "string" else "integer", name=column)
    return found


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
