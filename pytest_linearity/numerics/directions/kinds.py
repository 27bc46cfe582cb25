"""The kinds of directions that a config can ask for, by name; torch is not needed for that."""

from __future__ import annotations

from collections.abc import Sequence

RANDOM = ("gaussian", "rademacher", "layerwise", "filterwise")
"""Drawn with the seed, as many as `num_directions` says."""
FIXED = ("update", "gradient", "optimizer")
"""One direction each, given by the checkpoint; `file:` gives others."""
FILE = "file:"
"""What stands before the path of a direction in a file."""
SUFFIX = ".safetensors"
"""Of that file."""


def unreversed(kind: str) -> str:
    """The kind without the minus that asks for the opposite direction."""
    return kind.removeprefix("-")


def file_of(kind: str) -> str | None:
    """The path that a kind names; None where it names none."""
    name = unreversed(kind)
    return name.removeprefix(FILE) if name.startswith(FILE) else None


def accepted() -> str:
    """The kinds there are, for a message."""
    return ", ".join([*RANDOM, *FIXED, f"{FILE}PATH{SUFFIX}"])


def rows_by_kind(kinds: Sequence[str], directions: int) -> dict[str, list[int]]:
    """The directions of each kind.

    Args:
        kinds: The kind of each direction; empty where they are all of one.
        directions: How many there are.

    Returns:
        The indices of the directions of each kind, in ascending order.
    """
    rows: dict[str, list[int]] = {}
    for k in range(directions):
        rows.setdefault(kinds[k] if kinds else "", []).append(k)
    return rows
