"""Directions grouped by their kind."""

from __future__ import annotations

from collections.abc import Sequence


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
