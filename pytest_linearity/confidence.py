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


def mean_interval(samples: Iterable[float], confidence: float) -> Interval | None:
    """Student's interval of a mean.

    Args:
        samples: One figure per direction.
        confidence: How often such an interval holds the true mean, in (0, 1).

    Returns:
        None for fewer than two directions, or where a figure is not finite.
    """
    values = list(samples)
    count = len(values)
    if count < 2 or not all(map(math.isfinite, values)):
        return None
    mean = math.fsum(values) / count
    squares = math.fsum((value - mean) ** 2 for value in values)
    half = _quantile(count - 1, confidence) * math.sqrt(squares / (count - 1) / count)
    return mean - half, mean + half


def _quantile(freedom: int, confidence: float) -> float:
    """t_{(1 + q)/2}: from the tail, which keeps its digits where q is almost 1."""
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, (1 - confidence) / 2))
