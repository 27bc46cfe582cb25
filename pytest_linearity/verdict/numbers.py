"""Numbers as people read them, in messages and in reports alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_linearity.verdict.confidence import Interval


_LARGE = 1e6
"""From here on digits behind the point say nothing."""


def limit(value: float) -> str:
    """A limit with two digits behind the point, or as many as it has."""
    short = f"{value:.2f}"
    return short if float(short) == value else f"{value:g}"


def tick(radius: float) -> str:
    """A radius at an axis, where there is room for three digits."""
    return f"{float(f'{radius:.3g}'):g}"


def linearity_radius(radius: float | None) -> str:
    """A linearity radius; ``none`` where no tested radius complies."""
    return "none" if radius is None else str(radius)


def mean(value: float | None) -> str:
    """A mean in at most six letters; ``-`` where there is none."""
    if value is None:
        return "-"
    if abs(value) >= 10:
        return f"{value:.3g}"
    return f"{value:.4f}" if value >= 0.001 or value <= 0 else f"{value:.0e}"


def spread(value: float | None, deviation: float | None) -> str:
    """A mean with its standard deviation; ``undefined`` where there is none."""
    if value is None or deviation is None:
        return "undefined"
    return f"{value:{_spec(value)}} ± {deviation:{_spec(value)}}"


def against(value: float, limit: float, sign: str) -> str:
    """`0.31 > 0.20`, with as many digits as it takes to tell the two apart."""
    if abs(value) >= _LARGE:
        return f"{value:.3g} {sign} {limit:.2f}"
    for digits in range(2, 12):
        if f"{value:.{digits}f}" != f"{limit:.{digits}f}":
            break
    return f"{value:.{digits}f} {sign} {limit:.{digits}f}"


def percent(part: float) -> str:
    """A confidence, as ``95%``."""
    return f"{100 * part:.6g}%"


def interval(ends: Interval) -> str:
    """An interval, its ends as means are shown."""
    low, high = (f"{end:{_spec(abs(end))}}" for end in ends)
    return f"[{low}, {high}]"


def interval_around(ends: Interval, limit: float) -> str:
    """An interval, with as many digits as tell its ends from a limit."""
    for digits in range(2, 12):
        low, high, middle = (f"{value:.{digits}f}" for value in (*ends, limit))
        if middle not in (low, high):
            break
    return f"[{low}, {high}]"


def _spec(value: float) -> str:
    """Four digits behind the point, unless they would be zeros."""
    return ".4f" if value >= 0.001 or value <= 0 else ".1e"
