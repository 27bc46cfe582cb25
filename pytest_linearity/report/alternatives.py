"""What pictures show, in words, for those who cannot see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_linearity.report import text
from pytest_linearity.report.lengths import (
    optimizer_rates,
    peak_rate,
    step_length,
    update_length,
    update_moved,
)
from pytest_linearity.verdict.kinds import by_kind

if TYPE_CHECKING:
    from pytest_linearity.report.results import Result


def described(result: Result) -> str:
    """What `report_drawing` shows of one checkpoint."""
    report = result.report
    said = [f"relative error and cosine similarity of {result.title} over the radii"]
    kinds = list(by_kind(report))
    if len(kinds) > 1:
        said.append(f"relative error along {', '.join(kinds)} in one panel")
    if update_moved(report) and report.update is not None:
        said.append(f"at the update from the base: {text.update(report.update)}")
    if optimizer_rates(report):
        used = peak_rate(report)
        rate = "" if used is None else f", with the run's largest, {text.rate(used)}, as a line"
        said.append(f"relative error over the learning rate{rate}")
    return "; ".join(said)


def described_series(series: Sequence[Result]) -> str:
    """What `series_drawing` shows of the checkpoints of one config."""
    said = f"linearity radius and figures of the checkpoints of {series[0].name}"
    reports = [result.report for result in series]
    if any(step_length(report) for report in reports):
        said += ", with the length of the optimizer's step"
    if any(update_length(report) for report in reports):
        said += ", with the norm of the update"
    return said
