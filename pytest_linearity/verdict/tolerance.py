"""A limit that healthy checkpoints keep: a one-sided tolerance bound over some of them.

Of n values that are normal with unknown mean and spread, x̄ + k s is with confidence γ above the
part p of all values that will ever come, where

    k = t(γ; n − 1, z(p) √n) / √n

with the quantile t of the noncentral t distribution and z of the normal one (G. J. Hahn, W. Q.
Meeker, Statistical Intervals, 1991, section 4.6). A further healthy checkpoint is above the bound,
a false alarm, with a probability of at most 1 − p. Relative errors of checkpoints differ by
factors, so it is their logarithms that are taken for normal.

Few checkpoints make for a wide bound: at p = γ = 0.95, k is 26.3 for two, 7.66 for three, 4.20 for
five and 2.91 for ten, where knowing mean and spread would give 1.64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class ToleranceBound:
    """A bound, and what it rests on."""

    limit: float
    """The bound."""
    count: int
    """Of how many values."""
    factor: float
    """k, in standard deviations of the logarithm."""
    coverage: float
    """p: what part of all values is to lie below it."""
    confidence: float
    """γ: how sure that is."""

    @property
    def false_alarms(self) -> float:
        """How often a further healthy value is above it, at most."""
        return 1 - self.coverage


def tolerance_factor(count: int, coverage: float = 0.95, confidence: float = 0.95) -> float:
    """K of a one-sided tolerance bound.

    Args:
        count: n, at least 2.
        coverage: p.
        confidence: γ.
    """
    from scipy.stats import nct, norm

    root = math.sqrt(count)
    return float(nct.ppf(confidence, count - 1, norm.ppf(coverage) * root)) / root


def upper_bound(
    values: Sequence[float], coverage: float = 0.95, confidence: float = 0.95
) -> ToleranceBound:
    """The bound over some values above zero.

    Args:
        values: Of healthy checkpoints, at least two.
        coverage: p.
        confidence: γ.

    Raises:
        ValueError: If there are fewer, or one is not above zero.

    Example:
        >>> bound = upper_bound([0.010, 0.012, 0.011, 0.013, 0.010])
        >>> round(bound.limit, 4), round(bound.factor, 2)
        (0.0181, 4.2)
    """
    if len(values) < 2 or not all(value > 0 and math.isfinite(value) for value in values):
        raise ValueError("a bound takes two values or more, all of them above zero")
    logarithms = [math.log(value) for value in values]
    factor = tolerance_factor(len(values), coverage, confidence)
    limit = math.exp(fmean(logarithms) + factor * stdev(logarithms))
    return ToleranceBound(limit, len(values), factor, coverage, confidence)
