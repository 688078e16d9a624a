"""Which columns of a table go to which input and output of the network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from kerascli.component import nearest
from kerascli.encoders import Raw
from kerascli.errors import Failure, Problem, SpecFailure
from kerascli.features import FeatureOptions
from kerascli.sources.base import InputInfo, did_you_mean
from kerascli.sources.table import Survey

Names = dict[str, tuple[str, ...]]


def input_layout(features: Collection[str], inputs: Sequence[str]) -> Names:
    """Input → its features, one vector of them in column order.

    An input that is named after a feature has that one; a single input of another name has all that are left.
    """
    if not inputs:
        return {"x": tuple(features)}
    others = [name for name in inputs if name not in features]
    left = tuple(name for name in features if name not in inputs)
    meant = len(inputs) > 1 and any(nearest(name, list(left)) for name in others)
    if len(others) > 1 or meant:
        _require(inputs, features, "feature")
    if others and not left:
        message = (
            f"no feature is left for the Input `{others[0]}`: {', '.join(f'`{n}`' for n in features)} have their own"
        )
        help = "drop the Input; or list in `features` the columns that it is to have, for a list leaves out all others"
        raise SpecFailure(Problem("E409", message, help=help))
    return {name: left if name in others else (name,) for name in inputs}


def raw_features(
    layout: Names, asked: Mapping[str, str], options: Mapping[str, FeatureOptions], seen: Survey
) -> dict[str, Raw]:
    """The columns of the inputs that want them as they stand: `string`, or a type of integers."""
    found = {}
    for name, dtype in asked.items():
        for column in layout.get(name, ()):
            given = options.get(column, FeatureOptions())
            if dtype != "string" and makes_integers(given):
                continue
            if given.kind is not None:
                message = f"the Input `{name}` reads column `{column}` as {dtype}, and `features` gives it a `kind`"
                raise SpecFailure(Problem("E409", message, help="drop one of them"))
            other = seen.columns[column].other
            if dtype != "string" and other is not None:
                row, place, text = other
                message = f"row {row}, column `{column}`: `{text[:40]}` is no whole number"
                help = f"the Input `{name}` wants {dtype}; for texts write `dtype: string`, or number their words: "
                help += f"`features: {{{column}: text}}`"
                raise Failure(Problem("E408", message, place, help=help))
            found[column] = Raw(kind="string" if dtype == "string" else "integer", name=column)
    return found


def makes_integers(options: FeatureOptions) -> bool:
    """Whether a feature becomes numbers for Embedding."""
    return (options.kind == "text" and options.output in (None, "int")) or options.encoding == "integer"


def sample(name: str, features: Sequence[str], samples: Mapping[str, InputInfo]) -> InputInfo:
    """One sample of an input: its features side by side, which must be alike."""
    kinds = {samples[feature].dtype for feature in features}
    sequence = next((f for f in features if samples[f].dtype == "int32" and samples[f].shape != (1,)), None)
    if len(features) > 1 and (len(kinds) > 1 or sequence):
        alone = sequence or next(f for f in features if samples[f].dtype != "float32")
        other = next(f for f in features if f != alone)
        what = "a sequence of word numbers" if sequence else "a number for Embedding, or a text as it stands"
        message = f"feature `{alone}` is {what}, and cannot be in one vector with `{other}`"
        mend = "`output: multi_hot`" if sequence else "`encoding: one_hot`"
        help = f"give it an Input of its own, `{{type: Input, name: {alone}}}`, and another Input for the rest; "
        help += f"or make it a vector: {mend}; or leave it out: `features: {{{alone}: ignore}}`"
        raise SpecFailure(Problem("E409", message, help=help))
    width = sum(samples[feature].shape[0] for feature in features)
    return InputInfo((width,), samples[features[0]].dtype)


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
