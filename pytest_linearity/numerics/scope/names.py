"""Many parameter names in few lines: what differs in numbers alone is written once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"0|[1-9][0-9]*")


def compact(names: Iterable[str]) -> list[str]:
    """Join names that differ in one number into one, as `model.layers.{0-31}.mlp.weight`.

    Nothing is lost: every combination of the numbers in braces is one of the names.

    Args:
        names: Names of parameters, of segments between dots.

    Returns:
        The joined names, in the order in which the first of each came.
    """
    rows = [tuple(name.split(".")) for name in names]
    for place in reversed(range(max(map(len, rows), default=0))):
        rows = _joined(rows, place)
    return [".".join(row) for row in rows]


def _joined(rows: Sequence[tuple[str, ...]], place: int) -> list[tuple[str, ...]]:
    """Join rows that differ in the number at one place alone."""
    numbers: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        is_number = place < len(row) and _NUMBER.fullmatch(row[place]) is not None
        key = (*row[:place], "{}", *row[place + 1 :]) if is_number else row
        numbers.setdefault(key, []).extend([int(row[place])] if is_number else [])
    return [
        (*key[:place], _ranges(values), *key[place + 1 :]) if values else key
        for key, values in numbers.items()
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """`7`, `{0-31}` or `{0,2-5}`."""
    if len(numbers) == 1:
        return str(numbers[0])
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return "{" + ",".join(f"{a}-{b}" if a < b else str(a) for a, b in ranges) + "}"
