"""What a metric came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_linearity.metrics.metric import Metric

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

    def near(self, limit: float | None) -> bool:
        """Whether rounding can carry the mean over a limit; never where there is none."""
        if limit is None:
            return False
        noise = self.noise.mean()
        return bool(noise > 0 and (self.values.mean() - limit).abs() <= noise)
