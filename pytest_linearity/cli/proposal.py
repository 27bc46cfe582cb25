"""A config that is right for a checkpoint: looked for by measuring it, and others that are healthy.

The radii straddle the crossing of the limits, so that the gate can fail. With several healthy
checkpoints (seeds, or steps of a good run) the limits themselves are proposed: a further healthy
one breaks them with a probability that is known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pytest_linearity.config.config import Config
from pytest_linearity.errors import MeasurementError
from pytest_linearity.run.analysis import analyze
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.tolerance import ToleranceBound, upper_bound

_SHARE_OF_MEMORY = 0.6
"""What part of the machine's memory a run may take at its peak."""
_BATCH_SIZES = (64, 32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Proposal:
    """What is proposed, and the reports that it rests on."""

    radii: tuple[float, ...]
    """On both sides of the crossing."""
    least: float
    """The smallest linearity radius that passes."""
    relative_error: float
    """Limit of the mean relative error."""
    cosine_similarity: float
    """Limit of the mean cosine similarity."""
    bound: ToleranceBound | None
    """What the first limit rests on; None for the usual limits."""
    batch_size: int
    """Prompts per forward pass."""
    reports: tuple[Report, ...]
    """On each checkpoint, at these radii."""


def propose(configs: Sequence[Config], told: Callable[[str], None] = lambda _: None) -> Proposal:
    """Measure healthy checkpoints, and propose a gate that they pass.

    Args:
        configs: Of one checkpoint each, alike but for that; their radii are not looked at.
        told: Told what is being done.

    Raises:
        LinearityError: If one cannot be used.
        MeasurementError: If there is no radius at which all comply.
    """
    size = _batch_size(configs[0])
    first = replace(configs[0], radii="auto", batch_size=size)
    told(f"{first.checkpoint}: looking for the crossing of the limits")
    reports = [analyze(first)]
    radii = tuple(figures.radius for figures in reports[0].radii)
    for config in configs[1:]:
        told(f"{config.checkpoint}: measuring at r = {', '.join(map(str, radii))}")
        reports.append(analyze(replace(config, radii=radii, batch_size=size)))
    least = _least(configs, radii, reports)
    bound, error, cosine = _limits(first, least, reports)
    return Proposal(radii, least, error, cosine, bound, size, tuple(reports))


def _least(configs: Sequence[Config], radii: Sequence[float], reports: Sequence[Report]) -> float:
    """The largest radius up to which all of them comply."""
    reached = None
    for radius in radii:
        if not all(report.at(radius).complies for report in reports):
            break
        reached = radius
    if reached is None:
        broken = next(
            config.checkpoint
            for config, report in zip(configs, reports, strict=True)
            if not report.at(radii[0]).complies
        )
        if len(reports) == 1:
            raise MeasurementError(
                f"{broken}: its first direction crosses the limits above r = {radii[0]}, and all "
                "together do not comply there: its directions are too unlike for a gate"
            )
        raise MeasurementError(
            f"{broken}: does not comply at r = {radii[0]}, below the crossing of the first "
            "checkpoint: these are not alike, and no gate is right for all of them"
        )
    return reached


def _limits(
    config: Config, least: float, reports: Sequence[Report]
) -> tuple[ToleranceBound | None, float, float]:
    """The limits at the least radius: bounds over the checkpoints, at most the usual limits."""
    usual_error, usual_cosine = config.relerr_threshold, config.cos_threshold
    assert isinstance(usual_error, float)
    assert isinstance(usual_cosine, float)
    figures = [report.at(least) for report in reports]
    errors = [f.mean_relative_error for f in figures]
    gaps = [
        None if f.mean_cosine_similarity is None else 1 - f.mean_cosine_similarity for f in figures
    ]
    if len(reports) < 2 or not all(errors) or not all(gaps):
        return None, usual_error, usual_cosine
    bound = upper_bound([error for error in errors if error])
    turned = upper_bound([gap for gap in gaps if gap])
    error = min(usual_error, _up(bound.limit))
    cosine = max(usual_cosine, 1 - _up(turned.limit))
    return bound, error, round(cosine, 12)


def _up(value: float) -> float:
    """A number rounded up to two digits."""
    rounded = float(f"{value:.1e}")
    return rounded if rounded >= value else float(f"{value * 1.05:.1e}")


def _batch_size(config: Config) -> int:
    """The config's, or the largest below it whose plan stays within the machine's memory."""
    from pytest_linearity.plan import plan_of

    memory = _physical_memory()
    if memory is None:
        return config.batch_size
    for size in (config.batch_size, *(s for s in _BATCH_SIZES if s < config.batch_size)):
        plan = plan_of(replace(config, batch_size=size), timed=False)
        if max(case.peak_memory for case in plan.cases) <= _SHARE_OF_MEMORY * memory:
            return size
    return _BATCH_SIZES[-1]


def _physical_memory() -> int | None:
    """Bytes of the machine's memory; None where that is not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
