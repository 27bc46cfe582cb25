"""The figures as properties of JUnit test cases."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pytest_linearity.verdict.document import RadiusFigures, Report

Properties = list[tuple[str, object]]
"""Name and value of each property; pytest writes them into the test case."""


def radius_properties(figures: RadiusFigures) -> Properties:
    """The figures of one radius; one that is not defined is left out."""
    apart = ("metrics", "by_kind", "radius_absolute", "radius_relative")
    entries = {key: value for key, value in figures.to_dict().items() if key not in apart}
    for name, metric in figures.metrics.items():
        entries |= {f"mean_{name}": metric.mean, f"std_{name}": metric.std}
        entries[f"interval_{name}"] = metric.interval
    for kind, sample in figures.by_kind.items():
        entries |= {
            f"{key}[{kind}]": value
            for key, value in sample.to_dict().items()
            if key not in ("metrics", "reason")
        }
    if figures.radius != figures.radius_absolute:
        entries["radius_absolute"] = figures.radius_absolute
    return _properties([("radius", figures.radius), *entries.items()])


def verdict_properties(report: Report) -> Properties:
    """The linearity radius and the verdict on the checkpoint; no radius is ``null``."""
    curvature, refined = report.second_order, report.refined
    further = {
        "mean_curvature_ratio": curvature and curvature.mean_curvature_ratio,
        "predicted_crossing_radius": curvature and curvature.predicted_crossing_radius,
        "refined_linearity_radius": refined and refined.linearity_radius,
    }
    return [
        ("linearity_radius", json.dumps(report.linearity_radius)),
        ("passed", json.dumps(report.passed)),
        *_properties(further.items()),
    ]


def _properties(values: Iterable[tuple[str, Any]]) -> Properties:
    """Numbers and booleans as JSON spells them, so that one parser reads report and XML."""
    return [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in values
        if value is not None
    ]
