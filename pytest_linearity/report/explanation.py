"""What intervals, scale, second order, layer profile and refined radius say, a sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_linearity.report.scale import distance_line, learning_rate_line
from pytest_linearity.verdict import numbers

if TYPE_CHECKING:
    from pytest_linearity.report.results import Result
    from pytest_linearity.verdict.diagnosis_figures import CurvatureFigures, ProfileFigures
    from pytest_linearity.verdict.document import RadiusFigures, Report, SamplingFigures

_EXPLAINED = 1.5
"""Measured over predicted up to which curvature is taken for the cause: ε ≈ rκ/2 leaves out higher
orders, which count by so much where ε is as large as the usual limits."""


def explanation(report: Report) -> list[str]:
    """A sentence on the intervals and the scale, and on each of what was asked for."""
    said = sampling_line(report), distance_line(report), learning_rate_line(report)
    lines = list(filter(None, said))
    if report.config.get("refine"):
        lines.append(_refined(report))
    if report.second_order is not None:
        lines.append(_curvature(report, report.second_order))
    if report.layers is not None:
        lines.append(_layers(report, report.layers))
    return lines


def _refined(report: Report) -> str:
    refined = report.refined
    if refined is not None:
        low, high = numbers.tick(refined.linearity_radius), numbers.tick(refined.first_failing)
        return f"refined linearity radius {low} (fails at {high})"
    if report.radii[-1].complies:
        return "no refined linearity radius: the largest radius complies"
    return "no refined linearity radius: no radius complies"


def _curvature(report: Report, curvature: CurvatureFigures) -> str:
    mean, std = curvature.mean_curvature_ratio, curvature.std_curvature_ratio
    ratio = f"curvature ratio {numbers.spread(mean, std)}"
    if not mean:
        return f"{ratio}: no crossing of the limit predicted"
    limit = numbers.limit(report.limits["relative_error"])
    crossing = curvature.predicted_crossing_radius
    crosses = "-" if crossing is None else numbers.tick(crossing)
    return (
        f"{ratio}: relative error {limit} predicted at r = {crosses}; "
        f"{_met(decisive(report), curvature)}"
    )


def _met(figures: RadiusFigures, curvature: CurvatureFigures) -> str:
    """How the prediction met the measured error at one radius."""
    predicted = curvature.predicted[str(figures.radius)]
    quotient = predicted.measured_over_predicted
    beside = (
        f"at r = {numbers.tick(figures.radius)} measured {_error(figures.mean_relative_error)}, "
        f"predicted {_error(predicted.relative_error)}"
    )
    if quotient is None:
        return beside
    if quotient > _EXPLAINED:
        return (
            f"{beside}: more than curvature explains; "
            "look at routing flips, noise floor, layer profile"
        )
    if quotient < 1 / _EXPLAINED:
        return f"{beside}: beyond second order, the prediction is too large"
    return f"{beside}: plain curvature"


def _layers(report: Report, layers: ProfileFigures) -> str:
    figures = decisive(report)
    errors = layers.radii[str(figures.radius)].relative_error
    where = f"layer profile at r = {numbers.tick(figures.radius)}"
    final = errors[-1]
    if final is None:
        return f"{where}: relative error undefined after the last block"
    blocks = enumerate(zip(layers.names, errors, strict=True), start=1)
    place, name, error = next(
        (place, name, error)
        for place, (name, error) in blocks
        if place == len(errors) or (error is not None and error > final / 2)
    )
    whole = f"{where}: relative error {_error(final)} after the last block"
    if place == len(errors):
        return f"{whole}, {name}, and less than half of it before"
    block = f"block {place} of {len(errors)}, {name}"
    return f"{whole}, more than half of it ({_error(error)}) after {block}"


def decisive(report: Report) -> RadiusFigures:
    """The smallest radius that does not comply, or else the largest."""
    failing = (figures for figures in report.radii if not figures.complies)
    return next(failing, report.radii[-1])


def _error(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


def sampling_line(report: Report) -> str | None:
    """What the brackets hold, and what is not settled; None where there are no intervals."""
    sampling = report.sampling
    if sampling is None or sampling.directions < 2:
        return None
    line = (
        f"[ ] {numbers.percent(sampling.confidence)} interval of the mean over all directions, "
        f"from {sampling.directions} of them{_rounds(sampling)}"
    )
    radii = _open(report)
    if radii:
        return f"{line}; inconclusive at r={', '.join(radii)}: more directions are needed"
    return f"{line}; every radius is settled" if len(sampling.planned) > 1 else line


def series_line(series: Sequence[Result]) -> str | None:
    """The radii of each checkpoint about which the verdict is inconclusive; None where none is."""
    unsettled = [(result.short, _open(result.report)) for result in series]
    doubts = [f"{name} at r={', '.join(radii)}" for name, radii in unsettled if radii]
    return f"inconclusive: {'; '.join(doubts)}" if doubts else None


def _rounds(sampling: SamplingFigures) -> str:
    if len(sampling.planned) < 2:
        return ""
    rounds = len(sampling.rounds)
    return f" in {rounds} round{'s' * (rounds > 1)}, at most {sampling.planned[-1]}"


def _open(report: Report) -> list[str]:
    return [str(figures.radius) for figures in report.radii if figures.inconclusive]
