"""The figures as properties of JUnit test cases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_linearity.verdict.document import RadiusFigures, Report, SampleFigures
from pytest_linearity.verdict.kinds import by_kind
from pytest_linearity.verdict.update_figures import UpdateFigures

Properties = list[tuple[str, object]]
"""Name and value of each property; pytest writes them into the test case."""

_APART = (
    *("metrics", "by_kind", "radius_absolute", "radius_relative", "radius_in_updates"),
    *("learning_rate", "adamw_learning_rates"),
)
"""What is no property, or is one under another name."""


def radius_properties(figures: RadiusFigures) -> Properties:
    """The figures of one radius; one that is not defined is left out.

    Of several kinds of directions each has figures of its own, with the kind in brackets.
    """
    if figures.by_kind:
        whole = figures.to_dict()
        entries = {key: whole[key] for key in ("precision", "complies", "reason", "inconclusive")}
        for kind, sample in figures.by_kind.items():
            own = _sample(sample, but=("reason",)).items()
            entries |= {f"{key}[{kind}]": value for key, value in own}
    else:
        entries = _sample(figures)
    if figures.radius != figures.radius_absolute:
        entries["radius_absolute"] = figures.radius_absolute
    return _properties([("radius", figures.radius), *entries.items()])


def _sample(sample: SampleFigures, but: Sequence[str] = ()) -> dict[str, Any]:
    """The figures of all directions, or of one of several kinds, `but` for some."""
    apart = {*_APART, *but}
    entries = {key: value for key, value in sample.to_dict().items() if key not in apart}
    for name, metric in sample.metrics.items():
        entries |= {f"mean_{name}": metric.mean, f"std_{name}": metric.std}
        entries[f"interval_{name}"] = metric.interval
    return entries


def verdict_properties(report: Report) -> Properties:
    """The linearity radius and the verdict on the checkpoint; no radius is ``null``."""
    kinds = by_kind(report)
    further: dict[str, Any] = {}
    for kind, of_kind in kinds.items():
        mark = f"[{kind}]" if len(kinds) > 1 else ""
        if mark:
            further[f"linearity_radius{mark}"] = json.dumps(of_kind.linearity_radius)
        curvature, refined = of_kind.second_order, of_kind.refined
        further |= {
            f"mean_curvature_ratio{mark}": curvature and curvature.mean_curvature_ratio,
            f"predicted_crossing_radius{mark}": curvature and curvature.predicted_crossing_radius,
            f"refined_linearity_radius{mark}": refined and refined.linearity_radius,
        }
    return [
        ("linearity_radius", json.dumps(report.linearity_radius)),
        ("passed", json.dumps(report.passed)),
        *_properties(further.items()),
    ]


def update_properties(update: UpdateFigures) -> Properties:
    """The figures of the update; what was not measured is left out."""
    return _properties(
        (f"update_{name}", getattr(update, name))
        for name in (
            *("norm", "mean_relative_error", "mean_cosine_similarity", "noise_floor"),
            *("complying_length", "failing_length", "in_linearity_radii"),
        )
    )


def _properties(values: Iterable[tuple[str, Any]]) -> Properties:
    """Numbers and booleans as JSON spells them, so that one parser reads report and XML."""
    return [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in values
        if value is not None
    ]
