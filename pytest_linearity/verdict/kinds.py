"""Kinds of directions: which a report has, and each of several as a report of its own.

Figures over several kinds say little (nine directions of one kind and one of another have no mean
that means anything), so whatever is shown or compared is shown or compared kind by kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_linearity.numerics.directions.kinds import RANDOM
from pytest_linearity.verdict.document import RadiusFigures, Report, linearity_radii
from pytest_linearity.verdict.passing import passes

_BY_KIND = ("radii", "relerr_threshold", "cos_threshold", "min_linearity_radius")
"""Keys of a config that each kind may have its own value of."""


def kinds_of(report: Report) -> tuple[str, ...]:
    """The kinds of directions of a report, in the order of its config."""
    kinds = report.config.get("directions")
    return tuple(map(str, kinds)) if isinstance(kinds, list) else ("gaussian",)


def by_kind(report: Report) -> dict[str, Report]:
    """A report for each kind of directions: the report itself where there is one kind."""
    kinds, reached = kinds_of(report), linearity_radii(report.radii)
    if not reached:
        return {kinds[0]: report}
    return {kind: of_kind(report, kind) for kind in kinds if kind in reached}


def of_kind(report: Report, kind: str) -> Report:
    """The report that one of several kinds of directions would have had alone.

    Args:
        report: The report on several kinds.
        kind: One of them.
    """
    radii = radii_of_kind(report.radii, kind)
    curvature, layers = report.second_order, report.layers
    profile = layers and layers.by_kind.get(kind)
    return replace(
        report,
        config=_config(report.config, kind),
        radii=radii,
        linearity_radius=max((f.radius for f in radii if f.complies), default=None),
        passed=passes(radii, least_radius(report.config, kind)),
        scope=_scope(report.scope, kind),
        pairs={
            str(figures.radius): {
                name: [rows[k] for k in rows_at(report, figures.radius)[kind]]
                for name, rows in report.pairs.get(str(figures.radius), {}).items()
            }
            for figures in radii
        },
        sampling=report.sampling
        and replace(
            report.sampling,
            directions=report.sampling.directions if kind in RANDOM else 0,
            settled=tuple(f.radius for f in radii if not f.inconclusive),
        ),
        second_order=curvature and curvature.by_kind.get(kind),
        layers=layers and replace(layers, radii=profile, by_kind={}) if profile else None,
        refined=report.refined_by_kind.get(kind),
        refined_by_kind={},
    )


def radii_of_kind(radii: Sequence[RadiusFigures], kind: str) -> tuple[RadiusFigures, ...]:
    """The figures of one of several kinds, at each radius that it has."""
    return tuple(
        replace(figures, **vars(figures.by_kind[kind]), by_kind={})
        for figures in radii
        if kind in figures.by_kind
    )


def worst_kinds(report: Report) -> tuple[str, ...]:
    """The kinds that have the linearity radius of the report, where others reach further.

    Empty where there is one kind, or all reach equally far.
    """
    reached = linearity_radii(report.radii)
    worst = tuple(kind for kind, radius in reached.items() if radius == report.linearity_radius)
    return worst if len(worst) < len(reached) else ()


def rows_at(report: Report, radius: float) -> dict[str, list[int]]:
    """The directions of each kind as rows of the pairs of one radius.

    The pairs hold the kinds that have the radius, one after another; where there is but one kind,
    all rows are its.
    """
    kinds = report.at(radius).by_kind
    if not kinds:
        pairs = report.pairs.get(str(radius), {})
        return {kinds_of(report)[0]: list(range(len(pairs.get("relative_error", ()))))}
    counts = {
        entry["kind"]: entry["count"]
        for entry in directions_of(report.scope).get("kinds", ())
        if isinstance(entry, Mapping)
    }
    rows: dict[str, list[int]] = {}
    start = 0
    for kind in kinds:
        count = int(counts.get(kind, 0))
        rows[kind] = list(range(start, start + count))
        start += count
    return rows


def directions_of(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a report's scope says of directions; nothing where it says nothing."""
    directions = scope.get("directions")
    return directions if isinstance(directions, Mapping) else {}


def facts_of(report: Report, kind: str) -> Mapping[str, Any]:
    """What is known of the directions of one kind: how many, and of a vector norm and digests."""
    kinds = directions_of(report.scope).get("kinds")
    entries = kinds if isinstance(kinds, list) else []
    known = (entry for entry in entries if isinstance(entry, Mapping))
    return next((entry for entry in known if entry.get("kind") == kind), {})


def least_radius(config: Mapping[str, Any], kind: str) -> float | None:
    """The smallest linearity radius that passes, by the config of a report.

    None where every radius must comply.
    """
    least: float | None = _of(config.get("min_linearity_radius"), kind)
    return least


def must_comply(figures: RadiusFigures, config: Mapping[str, Any]) -> bool:
    """Whether a radius has a kind of directions that does not comply there, though it must.

    Args:
        figures: The figures of the radius.
        config: Of the report.
    """
    samples = figures.by_kind or {"": figures}
    return any(
        least is None or figures.radius <= least
        for kind, sample in samples.items()
        if not sample.complies
        for least in [least_radius(config, kind)]
    )


def _config(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    limits = config.get("limits")
    own = {key: _of(config[key], kind) for key in _BY_KIND if key in config}
    if isinstance(limits, Mapping):
        own["limits"] = {name: _of(limit, kind) for name, limit in limits.items()}
    return {**config, **own, "directions": [kind]}


def _of(value: Any, kind: str) -> Any:
    return value.get(kind) if isinstance(value, Mapping) else value


def _scope(scope: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The parameters in scope, and the directions of one kind."""
    directions = directions_of(scope)
    entries = [entry for entry in directions.get("kinds", ()) if entry.get("kind") == kind]
    count = sum(entry.get("count", 0) for entry in entries)
    return {**scope, "directions": {**directions, "count": count, "kinds": entries}}
