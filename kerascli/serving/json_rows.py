"""Samples in JSON: rows of numbers, rows of features, texts; every fault named by row and place."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from kerascli.component import nearest
from kerascli.errors import Failure, Problem, Span
from kerascli.ops.ir import Array, Shape
from kerascli.serving.refusal import REQUEST, Refusal
from kerascli.sources.base import InputInfo
from kerascli.sources.cells import ValueCells
from kerascli.sources.raw_arrays import Arrays
from kerascli.sources.rows import TEXT
from kerascli.sources.table import BATCH, MOST_PROBLEMS, Batch

FORM = 'write `{"inputs": [row, …]}`, and `"top_k": 3` for the likeliest classes alone'

_LONGEST, _MOST_KEYS = 60, 50
"""Characters of a key that may have been meant for another, and how many are looked at."""


@dataclass(frozen=True)
class Asked:
    """What a JSON body asks for."""

    rows: list[Any]
    top_k: int | None = None


def asked(body: bytes, allow_nan: bool) -> Asked:
    """The body's rows; a Refusal where it is no JSON (400), or of another form (422)."""
    document = _parsed(body, allow_nan)
    if not isinstance(document, dict):
        raise _odd(f"the body is {_shown(document)}, and an object is expected")
    problems = []
    for key in islice((key for key in document if key not in ("inputs", "top_k")), MOST_PROBLEMS):
        near = nearest(key[:_LONGEST], ["inputs", "top_k"])
        label = f"did you mean `{near}`?" if near else ""
        problems.append(Problem("E706", f"the body has an unknown key `{key[:40]}`", REQUEST, label, FORM))
    if problems:
        raise Refusal(422, problems)
    if "inputs" not in document:
        raise _odd("the body has no `inputs`")
    rows, top_k = document["inputs"], document.get("top_k")
    if not isinstance(rows, list):
        raise _odd(f"`inputs` is {_shown(rows)}, and a list of rows is expected")
    if not rows:
        raise _odd("`inputs` has no row")
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise _odd(f"`top_k` is {_shown(top_k)}, and a whole number from 1 is expected")
    return Asked(rows, top_k)


def _odd(message: str) -> Refusal:
    return Refusal(422, Problem("E706", message, REQUEST, help=FORM))


def _parsed(body: bytes, allow_nan: bool) -> Any:
    def constant(word: str) -> float:
        if not allow_nan:
            raise ValueError(f"it has `{word}`, which is no JSON; a missing value is `null`")
        return float(word.replace("Infinity", "inf"))

    try:
        found = json.loads(body.decode("utf-8-sig"), parse_constant=constant)
        if b"\\ud" in body or b"\\uD" in body:
            json.dumps(found, ensure_ascii=False).encode()  # half of a pair is no character
        return found
    except json.JSONDecodeError as error:
        place = Span(str(REQUEST), error.lineno, error.colno)
        message = f"the body is no JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        raise Refusal(400, Problem("E701", message, place, help=FORM)) from None
    except UnicodeError as error:
        raise Refusal(400, Problem("E701", f"the body is not UTF-8 text: {error.reason}", REQUEST)) from None  # type: ignore[attr-defined]
    except RecursionError:
        raise Refusal(400, Problem("E701", "the body has lists in lists without end", REQUEST, help=FORM)) from None
    except ValueError as error:
        why = str(error) if str(error).startswith("it has") else "it has a number too long"
        raise Refusal(400, Problem("E701", f"the body cannot be read: {why}", REQUEST)) from None


# ------------------------------------------------------------------ features


@dataclass
class Given:
    """Rows of features, as a table that is being read from the top."""

    rows: list[Mapping[str, Any]]
    name: str = str(REQUEST)
    header: tuple[str, ...] | None = None
    cells: ValueCells = field(default_factory=ValueCells)
    shown: str = ""
    rows_read: int = 0

    def __post_init__(self) -> None:
        self._rest = iter(self.rows)

    def place(self, line: int) -> Path:
        return REQUEST

    def batches(self, names: Collection[str] | None = None) -> Iterator[Batch]:
        while rows := list(islice(self._rest, BATCH)):
            first, self.rows_read = self.rows_read, self.rows_read + len(rows)
            numbers = list(range(first + 1, self.rows_read + 1))
            yield Batch(first, numbers, {name: [row.get(name) for row in rows] for name in names or ()})


def table(rows: list[Any], features: Sequence[str], targets: Collection[str] = ()) -> Given:
    """The rows; a key that one lacks is a missing value, as in JSON lines, but for a row with other keys in its place.

    Such a row was probably misspelt; the columns of targets are passed over.
    """
    problems: list[Problem] = []
    for number, row in enumerate(rows, 1):
        if len(problems) >= MOST_PROBLEMS:
            break
        if not isinstance(row, dict):
            names = ", ".join(f'"{name}": …' for name in features[:3]) + ", …" * (len(features) > 3)
            message = f"row {number}: expected an object of features, found {_shown(row)}"
            problems.append(Problem("E706", message, REQUEST, help=f"write `{{{names}}}`"))
            continue
        absent = [name for name in features if name not in row]
        others = list(islice((key for key in row if key not in features and key not in targets), _MOST_KEYS))
        if absent and (others or len(absent) == len(features)):
            problems += [_absent(number, name, others) for name in absent[:MOST_PROBLEMS]]
    if problems:
        raise Failure(problems[:MOST_PROBLEMS])
    return Given(rows)


def _absent(row: int, name: str, others: Sequence[str]) -> Problem:
    near = nearest(name, [key for key in others if len(key) <= _LONGEST])
    label = f"did you mean it by `{near}`?" if near else ""
    message = f"row {row}, column `{name}`: expected a value, found no such key"
    return Problem("E409", message, REQUEST, label, "a missing value is `null`")


def absences(rows: list[Any], features: Sequence[str]) -> list[str]:
    """A sentence for each feature that rows do not have."""
    counts = {name: sum(name not in row for row in rows) for name in features}
    return [f"column `{n}`: missing in {k:,} {'row' if k == 1 else 'rows'}" for n, k in counts.items() if k]


# ------------------------------------------------------------------ texts


def texts(rows: list[Any], name: str) -> list[str]:
    """Each row is a text, or an object that has one."""
    found = [row[name] if isinstance(row, dict) and name in row else row for row in rows]
    _require(found, (), {str}, name, "a row is a text, or an object with that key")
    return found


# ------------------------------------------------------------------ arrays


def arrays(rows: list[Any], specs: Mapping[str, InputInfo], allow_nan: bool) -> Arrays:
    """Each row is a nested list; or an object with one for each input, where there are several."""
    several = len(specs) > 1
    found = {}
    for name, info in specs.items():
        if several:
            _require_keys(rows, name, specs)
        values = [row[name] if isinstance(row, dict) and name in row else row for row in rows]
        found[name] = _array(values, name, info, allow_nan)
    return found


def _require_keys(rows: list[Any], name: str, specs: Mapping[str, InputInfo]) -> None:
    help = "a row is `{" + ", ".join(f'"{each}": …' for each in specs) + "}`"
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or name not in row:
            what = "an object without it" if isinstance(row, dict) else _shown(row)
            raise Failure(Problem("E409", f"row {number}: expected input `{name}`, found {what}", REQUEST, help=help))


def _array(values: list[Any], name: str, info: InputInfo, allow_nan: bool) -> Array:
    """Shapes: n nested lists → (n, …). A last axis of one number may be left out, as `predict` takes grey images."""
    shape = info.shape
    if shape[-1:] == (1,) and _depth(values[0]) == len(shape) - 1:
        shape = shape[:-1]
    help = f"a sample of `{name}` has the shape {info.shape}"
    _require(values, shape, {str} if info.dtype == "string" else {int, float}, name, help)
    if info.dtype == "string":
        return np.array(values, TEXT).reshape(-1, *info.shape)
    numbers = np.stack([_numbers(value, number, name) for number, value in enumerate(values, 1)])
    if info.dtype == "float32":
        least, most, words = -float(np.finfo(np.float32).max), float(np.finfo(np.float32).max), "a 32-bit number"
        wrong = (numbers < least) | (numbers > most)
        wrong = (wrong & np.isfinite(numbers)) if allow_nan else (wrong | np.isnan(numbers))
    else:
        limits = np.iinfo(info.dtype)
        wrong = ~((numbers >= limits.min) & (numbers <= limits.max) & (numbers == np.floor(numbers)))
        words = f"a whole number from {limits.min} to {limits.max}"
    if wrong.any():
        row, *place = (int(k) for k in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
        value = float(numbers[(row, *place)])
        message = f"{_at(row + 1, name, place)}: expected {words}, found {value:.15g}"
        raise Failure(Problem("E408", message, REQUEST, help="give the data as they were in training"))
    return np.ascontiguousarray(numbers.reshape(-1, *info.shape), info.dtype)


def _numbers(value: Any, number: int, name: str) -> Array:
    try:
        return np.array(value, np.float64)
    except OverflowError:
        message = f"{_at(number, name, [])}: expected 32-bit numbers, found one that no computer holds"
        raise Failure(Problem("E408", message, REQUEST)) from None


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list) and value:
        value, depth = value[0], depth + 1
    return depth


def _require(values: list[Any], shape: Shape, kinds: set[type], name: str, help: str) -> None:
    """Every value must be nested lists of this shape, of numbers or of texts."""
    problems = []
    for number, value in enumerate(values, 1):
        if fault := _fault(value, shape, kinds):
            place, expected, found = fault
            message = f"{_at(number, name, place)}: expected {expected}, found {found}"
            problems.append(Problem("E403", message, REQUEST, help=help))
            if len(problems) == MOST_PROBLEMS:
                break
    if problems:
        raise Failure(problems)


def _fault(value: Any, shape: Shape, kinds: set[type]) -> tuple[list[int], str, str] | None:
    """The first place that is wrong, what is expected there, and what was found."""
    leaf = "a text" if str in kinds else "a number"
    if not shape:
        return None if type(value) in kinds else ([], leaf, _shown(value))
    if type(value) is not list or len(value) != shape[0]:
        what = f"{leaf}s" if len(shape) == 1 else "lists"
        return [], f"a list of {shape[0]} {what.removeprefix('a ')}", _shown(value)
    if len(shape) == 1:
        if set(map(type, value)) <= kinds:
            return None
        place = next(k for k, each in enumerate(value) if type(each) not in kinds)
        return [place], leaf, _shown(value[place])
    for place, part in enumerate(value):
        if fault := _fault(part, shape[1:], kinds):
            return [place, *fault[0]], fault[1], fault[2]
    return None


def _at(row: int, name: str, place: Sequence[int]) -> str:
    return f"row {row}, `{name}`{''.join(f'[{k}]' for k in place)}"


def _shown(value: Any) -> str:
    """A value of JSON in a message."""
    match value:
        case None | True | False:
            return json.dumps(value)
        case str():
            return f'the text "{value[:40]}{"…" if len(value) > 40 else ""}"'
        case list():
            return f"a list of {len(value)}" if value else "an empty list"
        case dict():
            return "an object"
    return f"the number {value:.15g}" if isinstance(value, float) or abs(value) < 10**15 else "a very large number"
