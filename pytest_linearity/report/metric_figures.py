"""The figures of a metric, as the report has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pytest_linearity.confidence import Interval
from pytest_linearity.report.typed import as_list, intervals, typed


@dataclass(frozen=True)
class MetricFigures:
    """What a metric that was asked for came to at one radius."""

    label: str
    """What tables call the metric."""
    good: str
    """Which values are good ones: ``smaller`` or ``larger``."""
    mean: float | None
    """Mean over all (direction, prompt) pairs; ``None`` where one is not defined."""
    std: float | None
    """Standard deviation over all pairs (population)."""
    noise_floor: float | None
    """How far rounding alone can move the mean; ``None`` where that is not defined."""
    limit: float | None
    """What the mean is held against; ``None`` for a metric that does not gate."""
    complies: bool
    """Whether it is defined and keeps its limit, if it has one."""
    reason: str | None = None
    """Why it does not comply, as ``mean kl 0.08 > 0.05``; ``None`` when it does."""
    interval: Interval | None = None
    """Where the mean over all directions lies; ``None`` for a single one, or several kinds."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this metric."""
        return {**asdict(self), "interval": as_list(self.interval)}

    def keeps(self, limit: float) -> bool:
        """Whether the mean is defined and on the good side of a limit, or on it."""
        if self.mean is None:
            return False
        return self.mean <= limit if self.good == "smaller" else self.mean >= limit


def metric_figures(values: Any, name: str) -> dict[str, MetricFigures]:
    """The exact inverse of `MetricFigures.to_dict`, for all metrics of a radius.

    Args:
        values: An object of objects; keys that are not known are left out.
        name: What a message calls it.

    Raises:
        ValueError: If a figure is missing or of another type than it must be.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is not an object")
    known = {key.name for key in fields(MetricFigures)}
    found = {}
    for metric, figures in values.items():
        if not isinstance(figures, Mapping):
            raise ValueError(f"{name}.{metric} is not an object")
        given = {key: value for key, value in figures.items() if key in known}
        given |= intervals(given, f"{name}.{metric}.")
        found[metric] = typed(MetricFigures, given, f"{name}.{metric}.")
        if found[metric].good not in ("smaller", "larger"):
            raise ValueError(f"{name}.{metric}.good is {found[metric].good!r}")
    return found
