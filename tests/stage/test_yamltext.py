"""YAML text: the core schema of YAML 1.2, the places of keys and values, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kerascli import yamltext
from kerascli.errors import Problem, Span, SpecFailure


def problems(text: str | bytes) -> list[Problem]:
    with pytest.raises(SpecFailure) as caught:
        yamltext.parse(text, "s.yaml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("+7", 7),
        ("-.inf", -math.inf),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("True", True),
        ("tRue", "tRue"),
        ("~", None),
        ("Null", None),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("0b11", "0b11"),
        ("=", "="),
        ("'1'", "1"),
        ('"true"', "true"),
        ("0xZ", "0xZ"),
        ("1e", "1e"),
    ],
)
def test_a_scalar_is_read_by_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    read = yamltext.parse(f"a: {text}", "s.yaml").value["a"]
    assert read == value
    assert type(read) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(yamltext.parse("a: .nan", "s.yaml").value["a"])


def test_every_key_and_value_has_its_place() -> None:
    document = yamltext.parse("a: 1\nlayers:\n  - {type: Dense, units: 10}\n  - Flatten\n", "s.yaml")
    assert document.key_span(("layers", 0, "units")) == Span("s.yaml", 3, 19, 24)
    assert document.span(("layers", 0, "units")) == Span("s.yaml", 3, 26, 28)
    assert document.span(("layers", 1)) == Span("s.yaml", 4, 5, 12)
    assert document.span(("layers", 0)) == Span("s.yaml", 3, 5, 6)
    assert document.span(("layers", 0, "units")).text == "  - {type: Dense, units: 10}"


def test_an_unknown_place_is_the_nearest_one_around_it() -> None:
    document = yamltext.parse("a: {b: 1}\n", "s.yaml")
    assert document.span(("a", "dict[str, int]", "b", 0)) == document.span(("a", "b"))
    assert document.span(("x",)) == document.span(())


def test_an_alias_has_the_value_and_the_place_of_its_anchor() -> None:
    document = yamltext.parse("a: &x {b: [1]}\nc: *x\n", "s.yaml")
    assert document.value == {"a": {"b": [1]}, "c": {"b": [1]}}
    assert document.span(("c", "b", 0)) == Span("s.yaml", 1, 12, 13)


def test_integer_keys_stay_integers() -> None:
    assert yamltext.parse("{0: a, '0': b}", "s.yaml").value == {0: "a", "0": "b"}


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("", "E102", 1, 1),
        ("# nothing but a comment\n", "E102", 1, 1),
        ("---\n", "E102", 1, 1),
        (b"a: \xff\n", "E103", 1, 4),
        ("ä: x\n".encode("utf-16"), "E103", 1, 1),
        ("a: \x07\n", "E103", 1, 4),
        ("a:\n\t- 1\n", "E104", 2, 1),
        ("a: b: c\n", "E104", 1, 5),
        ("a: [1, 2\nb: 3\n", "E104", 2, 2),
        ("a: 'x\n", "E104", 1, 4),
        ("a: 1\n---\nb: 2\n", "E104", 2, 1),
        ("a: 1\na: 2\n", "E105", 2, 1),
        ("[1]: 2\n", "E106", 1, 1),
        ("true: 2\n", "E106", 1, 1),
        ("1.5: 2\n", "E106", 1, 1),
        ("a: !!python/object:os.system x\n", "E107", 1, 4),
        ("a: !!str 1\n", "E107", 1, 4),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "E107", 2, 5),
        ("a: " + "[" * 200 + "]" * 200, "E108", 1, 68),
        ("a: *x\n", "E109", 1, 4),
        ("a: &x [*x]\n", "E109", 1, 8),
        ("a: " + "9" * 5000, "E106", 1, 4),
    ],
)
def test_a_fault_of_the_text_is_located(text: str | bytes, code: str, line: int, column: int) -> None:
    (problem,) = problems(text)
    assert isinstance(problem.where, Span)
    assert (problem.code, problem.where.line, problem.where.column) == (code, line, column)


def test_a_repeated_key_shows_both_places() -> None:
    (problem,) = problems("epochs: 1\nx: 2\nepochs: 3\n")
    assert "line 1, column 1" in problem.label


def test_faults_that_can_be_read_past_are_shown_together() -> None:
    assert [p.code for p in problems("a: 1\na: 2\nb: !x 3\n")] == ["E105", "E107"]


def test_an_expansion_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]
    (problem,) = problems("\n".join(lines))
    assert problem.code == "E108"


def test_a_file_that_is_too_large_is_refused() -> None:
    (problem,) = problems("# " + "x" * yamltext.MAX_BYTES)
    assert problem.code == "E102"


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(SpecFailure, match="no such file"):
        yamltext.read(tmp_path / "absent.yaml")


def test_a_folder_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(SpecFailure, match="directory"):
        yamltext.read(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert yamltext.read(tmp_path / "s.yaml").value == {"a": 1, "b": 2}


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
_PLAIN = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)


@example({"value": {"<<": "\x85"}})
@settings(max_examples=60, deadline=None)
@given(_PLAIN.map(lambda value: {"value": value}))
def test_what_is_dumped_reads_back_as_it_was(value: Any) -> None:
    assert yamltext.parse(yamltext.dump(value), "s.yaml").value == value


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab:-[]{},&*! \n\t'\"#|>?%@`<0123456789", max_size=40))
def test_any_text_is_a_value_or_a_located_problem(text: str) -> None:
    try:
        yamltext.parse(text, "s.yaml")
    except SpecFailure as failure:
        assert failure.problems
        assert all(isinstance(p.where, Span) and p.where.line >= 1 for p in failure.problems)
