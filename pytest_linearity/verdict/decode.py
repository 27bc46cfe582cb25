"""Values of a JSON document -> fields of a dataclass, or a phrase that says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pytest_linearity.errors import shown

_Data = TypeVar("_Data")


def typed(kind: type[_Data], values: Mapping[str, Any], prefix: str = "") -> _Data:
    """A dataclass of values that have been read from a file.

    Args:
        kind: The dataclass; fields may be numbers, texts, booleans, mappings, tuples or ``None``.
        values: By field; one left out has its default.
        prefix: What the names of the fields begin with in a message.

    Raises:
        ValueError: If a value has another type than its field, or one without default is missing.
    """
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for entry in fields(kind):  # type: ignore[arg-type]
        if entry.name in values:
            given[entry.name] = _value(values[entry.name], hints[entry.name], prefix + entry.name)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"{prefix}{entry.name} is missing")
    return kind(**given)


def number(text: str, name: str) -> float:
    """The number that a key of an object spells.

    Raises:
        ValueError: If it spells none, or one that is not finite.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} has the key {shown(text)}, which is not a number")
    return value


def matrix(values: Any, name: str) -> list[list[float | None]]:
    """Rows of numbers, all of one length; ``None`` where there is none.

    Raises:
        ValueError: If it is anything else.
    """
    if not isinstance(values, list) or not all(isinstance(row, list) for row in values):
        raise ValueError(f"{name} is not a list of lists")
    if len({len(row) for row in values}) > 1:
        raise ValueError(f"{name} has rows of different length")
    return [[_value(entry, float | None, name) for entry in row] for row in values]


def intervals(values: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[float, float] | None]:
    """Those of the values that are intervals, which JSON has as lists of two ends.

    Args:
        values: By field; those whose names begin with ``interval`` are taken.
        prefix: What the names of the fields begin with in a message.

    Raises:
        ValueError: If one is neither two numbers nor ``None``.
    """
    found: dict[str, tuple[float, float] | None] = {}
    for name, ends in values.items():
        if not name.startswith("interval"):
            continue
        if ends is None:
            found[name] = None
            continue
        if not isinstance(ends, list) or len(ends) != 2:
            raise ValueError(f"{prefix}{name} is {shown(ends)}, not a lower and an upper end")
        low, high = (_value(end, float, prefix + name) for end in ends)
        found[name] = low, high
    return found


def as_list(interval: tuple[float, float] | None) -> list[float] | None:
    """An interval as JSON has it."""
    return None if interval is None else list(interval)


def _value(value: Any, hint: Any, name: str) -> Any:
    alternatives = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kinds = tuple(get_origin(kind) or kind for kind in alternatives)
    if float in kinds and type(value) is int:
        value = float(value)  # other programs write 1.0 as 1
    if isinstance(value, float) and not math.isfinite(value):  # as 1e999 is
        raise ValueError(f"{name} is {value}, which is not finite")
    # In Python a truth value is an integer, in JSON it is not.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{name} is {shown(value)}, not {_spelled(kinds)}")
    return value


def _spelled(kinds: tuple[Any, ...]) -> str:
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    return " or ".join(
        names.get(kind, "null" if kind is NoneType else "an object") for kind in kinds
    )
