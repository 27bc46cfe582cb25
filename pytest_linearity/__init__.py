"""Is this checkpoint's logit map still locally linear? A pytest plugin and regression gate.

The public names below are loaded on first use, so that importing the package (as pytest does for
every run once the plugin is installed) imports neither torch nor transformers nor datasets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_linearity.checkpoint.load import load_checkpoint
    from pytest_linearity.config.config import Config
    from pytest_linearity.config.expansion import checkpoints_of, runs_of
    from pytest_linearity.config.loading import load_config
    from pytest_linearity.errors import LinearityError
    from pytest_linearity.numerics.directions.directions import Directions
    from pytest_linearity.numerics.measurement.measure import measure, measure_with
    from pytest_linearity.numerics.measurement.measurement import Measurement
    from pytest_linearity.numerics.measurement.setup import Setup
    from pytest_linearity.numerics.measurement.simultaneous import measure_together
    from pytest_linearity.numerics.metrics.metric import Metric
    from pytest_linearity.numerics.metrics.registry import find_metric
    from pytest_linearity.probes.load import load_probes
    from pytest_linearity.probes.logits import last_token_logits
    from pytest_linearity.report.json import load_schema
    from pytest_linearity.report.plot import plot_beside
    from pytest_linearity.report.results import Result
    from pytest_linearity.report.style import Style
    from pytest_linearity.report.terminal.report import render
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
    "Result": "report.results",
    "Setup": "numerics.measurement.setup",
    "Style": "report.style",
    "analyze": "run.analysis",
    "checkpoints_of": "config.expansion",
    "find_metric": "numerics.metrics.registry",
    "last_token_logits": "probes.logits",
    "load_checkpoint": "checkpoint.load",
    "load_config": "config.loading",
    "load_probes": "probes.load",
    "load_schema": "report.json",
    "measure": "numerics.measurement.measure",
    "measure_together": "numerics.measurement.simultaneous",
    "measure_with": "numerics.measurement.measure",
    "plot_beside": "report.plot",
    "render": "report.terminal.report",
    "runs_of": "config.expansion",
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
    "Result",
    "Setup",
    "Style",
    "__version__",
    "analyze",
    "checkpoints_of",
    "find_metric",
    "last_token_logits",
    "load_checkpoint",
    "load_config",
    "load_probes",
    "load_schema",
    "measure",
    "measure_together",
    "measure_with",
    "plot_beside",
    "render",
    "runs_of",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
