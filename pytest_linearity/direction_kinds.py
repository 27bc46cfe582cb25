"""The kinds of directions that a config can ask for, by name; torch is not needed for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_linearity import values
from pytest_linearity.errors import shown

RANDOM = ("gaussian", "rademacher", "layerwise", "filterwise")
"""Drawn with the seed, as many as `num_directions` says."""
FIXED = ("update", "gradient")
"""One direction each, given by the checkpoint; `file:` gives others."""
FILE = "file:"
"""What stands before the path of a direction in a file."""
_SUFFIX = ".safetensors"
_RANGE = {"min": 2, "max": 64}
"""What holds of a range that names one end alone; an interval takes two directions at least."""
_MOST = 1_000_000
"""More directions than anybody waits for; what counts them all would run out of memory first."""


def parse_count(value: Any) -> int | dict[str, int]:
    """How many random directions: a number, or a mapping of ``min`` and ``max``.

    Raises:
        ValueError: If it is neither, or a number is out of range.
    """
    if not isinstance(value, Mapping):
        return _count(value, 1)
    for key in value:
        if key not in _RANGE:
            raise ValueError(f"{shown(key)} is neither min nor max")
    ends = {**_RANGE, **{key: end for key, end in value.items() if end is not None}}
    found = {key: _end(key, end) for key, end in ends.items()}
    if found["min"] > found["max"]:
        default = "" if value.get("max") is not None else ", its default"
        raise ValueError(f"min {found['min']} is above max {found['max']}{default}")
    return found


def _end(key: str, value: Any) -> int:
    try:
        return _count(value, 2)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _count(value: Any, least: int) -> int:
    count = int(values.integer(least)(value))
    if count > _MOST:
        raise ValueError(f"{shown(value)} is out of range: at most {_MOST}")
    return count


def parse_directions(value: Any) -> tuple[str, ...]:
    """One kind, or a list of different ones.

    Raises:
        ValueError: If a kind is unknown or repeated, or there is none.
    """
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    if not entries:
        raise ValueError(f"is an empty list: name at least one of {accepted()}")
    kinds = tuple(_parsed(entry) for entry in entries)
    for place, kind in enumerate(kinds):
        if kind in kinds[:place]:
            raise ValueError(f"{shown(kind)} is repeated")
    return kinds


def unreversed(kind: str) -> str:
    """The kind without the minus that asks for the opposite direction."""
    return kind.removeprefix("-")


def file_of(kind: str) -> str | None:
    """The path that a kind names; None where it names none."""
    name = unreversed(kind)
    return name.removeprefix(FILE) if name.startswith(FILE) else None


def accepted() -> str:
    """The kinds there are, for a message."""
    return ", ".join([*RANDOM, *FIXED, f"{FILE}PATH{_SUFFIX}"])


def _parsed(value: Any) -> str:
    kind = values.path(value)
    name = unreversed(kind)
    if name in RANDOM and name != kind:
        raise ValueError(f"{shown(kind)}: the opposite of a random direction is just another one")
    path = file_of(kind)
    if path is None and name not in (*RANDOM, *FIXED):
        raise ValueError(f"{shown(kind)} is not one of {accepted()}")
    if path is not None and not path.strip().endswith(_SUFFIX):
        raise ValueError(f"{shown(kind)} names no {_SUFFIX} file")
    return kind
