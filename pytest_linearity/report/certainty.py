"""What intervals say about the verdicts, as people read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_linearity.report import text

if TYPE_CHECKING:
    from pytest_linearity.report.document import Report, SamplingFigures
    from pytest_linearity.report.results import Measured


def sampling_line(report: Report) -> str | None:
    """What the brackets hold, and what is not settled; None where there are no intervals."""
    sampling = report.sampling
    if sampling is None or sampling.directions < 2:
        return None
    line = (
        f"[ ] {text.percent(sampling.confidence)} interval of the mean over all directions, from "
        f"{sampling.directions} of them{_rounds(sampling)}"
    )
    radii = _open(report)
    if radii:
        return f"{line}; inconclusive at r={', '.join(radii)}: more directions are needed"
    return f"{line}; every radius is settled" if len(sampling.planned) > 1 else line


def series_line(series: Sequence[Measured]) -> str | None:
    """The radii of each checkpoint about which the verdict is inconclusive; None where none is."""
    found = [(result.short, _open(result.report)) for result in series]
    doubts = [f"{name} at r={', '.join(radii)}" for name, radii in found if radii]
    return f"inconclusive: {'; '.join(doubts)}" if doubts else None


def _rounds(sampling: SamplingFigures) -> str:
    if len(sampling.planned) < 2:
        return ""
    rounds = len(sampling.rounds)
    return f" in {rounds} round{'s' * (rounds > 1)}, at most {sampling.planned[-1]}"


def _open(report: Report) -> list[str]:
    return [str(figures.radius) for figures in report.radii if figures.inconclusive]
