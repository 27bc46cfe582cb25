"""How well a sample of directions tells the mean over all directions.

Prompts are fixed and directions are drawn at random, so the sample is of directions: with x_k the
mean of a figure over the prompts of direction k,

    x̄ ± t_{(1 + q)/2, K−1} · s / √K

is Student's two-sided interval at confidence q for the mean over all directions (W. S. Gosset, The
probable error of a mean, 1908), s being the sample standard deviation of the x_k.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias

Interval: TypeAlias = tuple[float, float]
"""Lower and upper end."""

_ALMOST_ONE = math.nextafter(1, 0)
"""The level of one of many looks may have been rounded to 1, which no finite interval has."""


def mean_interval(samples: Iterable[float], confidence: float) -> Interval | None:
    """Student's interval of a mean.

    Args:
        samples: One figure per direction.
        confidence: How often such an interval holds the true mean, in (0, 1).

    Returns:
        None for fewer than two directions, or where a figure or an end is not finite.
    """
    values = list(samples)
    count = len(values)
    if count < 2 or not math.isfinite(sum(values)):
        return None
    mean = math.fsum(values) / count
    # hypot, for the square of a large figure would overflow
    spread = math.hypot(*(value - mean for value in values))
    half = _quantile(count - 1, confidence) * spread / math.sqrt((count - 1) * count)
    ends = mean - half, mean + half
    return ends if all(map(math.isfinite, ends)) else None


def _quantile(freedom: int, confidence: float) -> float:
    """t_{(1 + q)/2}: from the tail, which keeps its digits where q is almost 1."""
    from scipy.special import stdtrit

    tail = 1 - min(confidence, _ALMOST_ONE)
    return -float(stdtrit(freedom, tail / 2))
