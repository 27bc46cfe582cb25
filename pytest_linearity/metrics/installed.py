"""The metrics of installed packages."""

from __future__ import annotations

from importlib.metadata import entry_points

from pytest_linearity.errors import ConfigError
from pytest_linearity.metrics.metric import Metric
from pytest_linearity.metrics.registry import metrics_among

GROUP = "pytest_linearity.metrics"
"""Group of entry points, each of which is a `Metric` or a list of them."""


def installed_metrics() -> tuple[Metric, ...]:
    """The metrics that installed packages declare as entry points.

    Raises:
        ConfigError: If an entry point cannot be loaded, or is no metric.
    """
    found: list[Metric] = []
    for entry in entry_points(group=GROUP):
        where = f"entry point {entry.name} = {entry.value} of {GROUP}"
        try:
            loaded = entry.load()
        except Exception as error:  # importing a package may raise anything
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"{where}: cannot be loaded: {type(error).__name__}: {reason}"
            ) from None
        found += metrics_among(loaded, where)
    return tuple(found)
