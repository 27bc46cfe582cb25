"""The figures that one metric has at one radius, before they are reduced to a mean."""

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
    noise: Tensor | None
    """How far rounding can move each, float64 Tensor [directions, prompts]; None for relative error
    and cosine similarity, of which the noise floor tells it."""
    failure: str | None
    """Why its function gave no figures, in one line; None where it always did."""

    def at(self, directions: Sequence[int]) -> MetricValues:
        """The figures along some of the directions."""
        rows = list(directions)
        values, noise = self.values[rows], None if self.noise is None else self.noise[rows]
        failed = not values.isfinite().all()
        return MetricValues(self.metric, values, noise, self.failure if failed else None)

    def keeps(self, limit: float | None) -> bool:
        """Whether every figure is defined, and their mean within a limit, if there is one."""
        mean = mean_std(self.values)[0]
        if self.failure is not None or mean is None:
            return False
        return limit is None or self.metric.keeps(limit, mean)
