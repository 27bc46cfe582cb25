"""Is this checkpoint's logit map still locally linear? A pytest plugin and regression gate.

The public names below are loaded on first use, so that importing the package (as pytest does for
every run once the plugin is installed) imports neither torch nor transformers nor datasets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config, load_config
    from pytest_linearity.errors import LinearityError
    from pytest_linearity.numerics.directions.directions import Directions
    from pytest_linearity.numerics.measurement.measure import measure
    from pytest_linearity.numerics.measurement.measurement import Measurement
    from pytest_linearity.numerics.metrics.metric import Metric
    from pytest_linearity.numerics.metrics.registry import find_metric
    from pytest_linearity.run.analysis import analyze
    from pytest_linearity.verdict.document import MetricFigures, RadiusFigures, Report

__version__ = "0.1.0"

_HOMES = {
    "Config": "config.config",
    "Directions": "numerics.directions.directions",
    "LinearityError": "errors",
    "Measurement": "numerics.measurement.measurement",
    "Metric": "numerics.metrics.metric",
    "MetricFigures": "verdict.document",
    "RadiusFigures": "verdict.document",
    "Report": "verdict.document",
    "analyze": "run.analysis",
    "find_metric": "numerics.metrics.registry",
    "load_config": "config.config",
    "measure": "numerics.measurement.measure",
}

__all__ = [
    "Config",
    "Directions",
    "LinearityError",
    "Measurement",
    "Metric",
    "MetricFigures",
    "RadiusFigures",
    "Report",
    "__version__",
    "analyze",
    "find_metric",
    "load_config",
    "measure",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
