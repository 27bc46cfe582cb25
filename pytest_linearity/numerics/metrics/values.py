"""What a metric came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.spread import mean_std

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MetricValues:
    """The figures of one metric at one radius."""

    metric: Metric
    """The metric."""
    values: Tensor
    """float64 Tensor [directions, prompts]; ``nan`` where its function gave no figure."""
    noise: Tensor
    """How far rounding can move each, float64 Tensor [directions, prompts]."""
    failure: str | None
    """Why its function gave no figures, in one line; None where it always did."""

    def at(self, directions: Sequence[int]) -> MetricValues:
        """The figures along some of the directions."""
        rows = list(directions)
        values, noise = self.values[rows], self.noise[rows]
        failed = not values.isfinite().all()
        return MetricValues(self.metric, values, noise, self.failure if failed else None)

    def keeps(self, limit: float | None) -> bool:
        """Whether every figure is defined, and their mean within a limit, if there is one."""
        mean = mean_std(self.values)[0]
        if self.failure is not None or mean is None:
            return False
        if limit is None:
            return True
        return mean <= limit if self.metric.good == "smaller" else mean >= limit

    def near(self, limit: float | None) -> bool:
        """Whether rounding can carry the mean over a limit; never where there is none."""
        if limit is None:
            return False
        noise = self.noise.mean()
        return bool(noise > 0 and (self.values.mean() - limit).abs() <= noise)
