"""Dataclasses as JSON and back: exactly what was written, or a phrase that says what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from pytest_linearity.verdict.decode import Spelled, decode, encode


@dataclass(frozen=True)
class Part:
    size: float
    good: Literal["small", "large"] = "small"


@dataclass(frozen=True)
class Whole:
    number: float
    count: int
    facts: Mapping[str, Any]
    ends: tuple[float, float] | None
    names: tuple[str, ...]
    counts: tuple[int, ...]
    rows: list[list[float | None]]
    parts: Mapping[Spelled, Part] = field(default_factory=dict)
    flag: bool = False
    one: Part | None = None


WHOLE = Whole(
    number=0.5,
    count=3,
    facts={"any": [1, {"thing": None}]},
    ends=(-0.5, 1.0),
    names=("a", "b"),
    counts=(2, 4),
    rows=[[0.1, None], [0.2, 1e-300]],
    parts={"0.1": Part(1.0, "large"), "1e3": Part(2.0)},
    one=Part(0.25),
)


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(encode(WHOLE), allow_nan=False)), **changes}


def test_all_that_there_is_is_read_back() -> None:
    assert decode(Whole, document()) == WHOLE


def test_unknown_keys_are_left_out_and_defaults_taken() -> None:
    values = document(later=1, one={"size": 1, "later": []})
    del values["parts"]
    read = decode(Whole, values)
    assert read.parts == {}
    assert read.one == Part(1.0)


def test_whole_numbers_are_numbers() -> None:
    read = decode(Whole, document(number=2, ends=[0, 1], rows=[[1, 2]]))
    for value in (read.number, *(read.ends or ()), *read.rows[0]):
        assert isinstance(value, float)


def test_fields_may_come_from_elsewhere() -> None:
    values = document()
    del values["number"]
    assert decode(Whole, values, number=0.5) == WHOLE


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("number", "x", "here.number is 'x', not a number"),
        ("number", True, "here.number is True, not a number"),
        ("number", None, "here.number is None, not a number"),
        ("number", math.inf, "here.number is inf, which is not finite"),
        ("number", math.nan, "here.number is nan, which is not finite"),
        ("number", 10**400, "here.number is inf, which is not finite"),
        ("count", 1.5, "here.count is 1.5, not a whole number"),
        ("flag", 1, "here.flag is 1, not true or false"),
        ("facts", [], "here.facts is [], not an object"),
        ("ends", [1], "here.ends is [1], not a lower and an upper end"),
        ("ends", [1, "x"], "here.ends is 'x', not a number"),
        ("names", "ab", "here.names is not a list of texts"),
        ("names", ["a", 1], "here.names is 1, not text"),
        ("counts", [1, None], "here.counts holds null"),
        ("counts", {}, "here.counts is not a list of numbers"),
        ("counts", [True], "here.counts is True, not a whole number"),
        ("rows", [1], "here.rows is not a list of lists"),
        ("rows", [[1], []], "here.rows has rows of different length"),
        ("rows", [["x"]], "here.rows is 'x', not a number or null"),
        ("parts", [], "here.parts is not an object"),
        ("parts", {"wide": {}}, "here.parts has the key 'wide', which is not a number"),
        ("parts", {"nan": {}}, "here.parts has the key 'nan', which is not a number"),
        ("parts", {"1": 3}, "here.parts.1 is not an object"),
        ("parts", {"1": {}}, "here.parts.1.size is missing"),
        ("one", None, "here.one is not an object"),
        ("one", {"size": 1, "good": "big"}, "here.one.good is 'big', not small or large"),
        ("one", {"size": 1, "good": []}, "here.one.good is [], not small or large"),
    ],
)
def test_what_is_wrong_is_said(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        decode(Whole, document(**{key: value}), "here")
    assert str(caught.value) == message


def test_something_else_than_an_object() -> None:
    with pytest.raises(ValueError, match="here is not an object"):
        decode(Whole, [], "here")
