"""Dataclasses as JSON, and back by the type hints of their fields.

Both know numbers, texts, booleans, objects of anything (`Mapping[str, Any]`), and made of these:
other dataclasses, `Mapping[str, X]`, `tuple[X, ...]`, intervals `tuple[X, X]`, rows `list[X]` and
matrices `list[list[X]]`. JSON has no NaN or Infinity, and neither has what is read here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from pytest_linearity.errors import shown

_Data = TypeVar("_Data")

Spelled: TypeAlias = Annotated[str, "a number"]
"""A key of an object that must spell a number, as the radii of a report do."""

_NAMES: Mapping[Any, str] = {
    float: "a number",
    int: "a whole number",
    str: "text",
    bool: "true or false",
    NoneType: "null",
}


def encode(value: Any) -> Any:
    """What `decode` reads, as `json` writes it: fields by name, in their order; tuples as lists."""
    if is_dataclass(value):
        return {entry.name: encode(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(entry) for key, entry in value.items()}
    return [encode(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def decode(kind: type[_Data], values: Any, name: str = "", **decoded: Any) -> _Data:
    """A dataclass of values that have been read from a file.

    Args:
        kind: The dataclass.
        values: By field; keys that are no field are left out, a field left out has its default.
        name: What a message calls the object, as ``metrics.0.1``; empty for a whole document.
        decoded: Fields that are not to be looked for among the values.

    Raises:
        ValueError: If a value has another type than its field, or one without default is missing.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is not an object")
    hints = get_type_hints(kind, include_extras=True)
    prefix = f"{name}." if name else ""
    for entry in fields(kind):  # type: ignore[arg-type]
        if entry.name in decoded:
            continue
        if entry.name in values:
            where = prefix + entry.name
            decoded[entry.name] = decode_value(hints[entry.name], values[entry.name], where)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"{prefix}{entry.name} is missing")
    return kind(**decoded)


def decode_value(hint: Any, value: Any, name: str) -> Any:
    """A value that has been read from a file, as a type hint wants it.

    Args:
        hint: The hint; beside ``None`` a dataclass is one that is left out of the file.
        value: The value.
        name: What a message calls it.

    Raises:
        ValueError: If it is of another type.
    """
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if is_dataclass(kinds[0]):
        return decode(kinds[0], value, name)  # type: ignore[arg-type]
    if value is None and NoneType in kinds:
        return None
    read = _READERS.get(get_origin(kinds[0]))
    return _scalar(kinds, value, name) if read is None else read(get_args(kinds[0]), value, name)


def _mapping(hints: tuple[Any, ...], values: Any, name: str) -> Any:
    key, hint = hints
    if hint is Any:
        return _scalar((Mapping,), values, name)
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is not an object")
    if key == Spelled:
        for text in values:
            number(text, name)
    return {text: decode_value(hint, value, f"{name}.{text}") for text, value in values.items()}


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


def _tuple(hints: tuple[Any, ...], values: Any, name: str) -> tuple[Any, ...]:
    if hints[-1] is not Ellipsis:
        if not isinstance(values, list) or len(values) != len(hints):
            raise ValueError(f"{name} is {shown(values)}, not a lower and an upper end")
        return tuple(map(lambda hint, end: decode_value(hint, end, name), hints, values))
    return tuple(_list(hints[:1], values, name))


def _list(hints: tuple[Any, ...], values: Any, name: str) -> list[Any]:
    (hint,) = hints
    of_lists = get_origin(hint) is list
    if not isinstance(values, list) or (of_lists and not all(isinstance(v, list) for v in values)):
        what = "lists" if of_lists else "texts" if hint is str else "numbers"
        raise ValueError(f"{name} is not a list of {what}")
    if of_lists and len({len(row) for row in values}) > 1:
        raise ValueError(f"{name} has rows of different length")
    if None in values and hint in (float, int, str):
        raise ValueError(f"{name} holds null")
    return [decode_value(hint, value, name) for value in values]


def _choice(choices: tuple[Any, ...], value: Any, name: str) -> Any:
    if value not in choices:
        raise ValueError(f"{name} is {shown(value)}, not {' or '.join(map(str, choices))}")
    return value


_READERS: Mapping[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    Mapping: _mapping,
    tuple: _tuple,
    list: _list,
    Literal: _choice,
}


def _scalar(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    if float in kinds and type(value) is int:  # other programs write 1.0 as 1
        value = float(value) if abs(value) < 2**1024 else math.inf
    if isinstance(value, float) and not math.isfinite(value):  # as 1e999 is
        raise ValueError(f"{name} is {value}, which is not finite")
    # In Python a truth value is an integer, in JSON it is not.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join(_NAMES.get(kind, "an object") for kind in kinds)
        raise ValueError(f"{name} is {shown(value)}, not {expected}")
    return value
