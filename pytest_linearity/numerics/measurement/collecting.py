"""What a measurement under way has come to: a `Measurement`, of all directions and of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from torch import Tensor

from pytest_linearity.numerics.measurement.measurement import KindFacts, Measurement
from pytest_linearity.numerics.measurement.running import RunningMeasurement


def collect(
    radii: Sequence[float], work: RunningMeasurement, tested: Mapping[str, Sequence[float]]
) -> Measurement:
    """The figures that a measurement has so far, at some of its radii.

    Args:
        radii: At which.
        work: The measurement.
        tested: The radii of each kind of directions.
    """
    figures, dtypes, calibration = work.figures, work.dtypes, work.calibration
    over_radii = zip(*(figures.values(radius) for radius in radii), strict=True)
    by_name = {values[0].metric.name: values for values in over_radii}
    noise = {
        n: [
            _of_all(work, r, at.noise)
            for r, at in zip(radii, v, strict=True)
            if at.noise is not None
        ]
        for n, v in by_name.items()
    }
    return Measurement(
        radii=tuple(radii),
        figures={
            n: torch.stack([_of_all(work, r, at.values) for r, at in zip(radii, v, strict=True)])
            for n, v in by_name.items()
        },
        precision=tuple(str(dtypes[r]).removeprefix("torch.") for r in radii),
        noise_floor=tuple(_floor(work, radius) for radius in radii),
        jvp_method=calibration.jvp_method,
        no_forward_mode=calibration.no_forward_mode,
        kinds=work.kinds,
        directions=tuple(figures.directions),
        not_interleaved=calibration.not_interleaved,
        evaluations=work.evaluations,
        evaluations_run=work.evaluations_run,
        routing_flips=tuple(figures.flips(r) for r in radii) if calibration.selects else None,
        still=tuple(map(figures.is_still, radii)),
        metric_noise={name: torch.stack(moved) for name, moved in noise.items() if moved},
        metric_failures={
            m.name: tuple(at.failure for at in by_name[m.name]) for m in work.setup.metrics
        },
        by_kind=_facts(work, tested) if len({*work.kinds}) > 1 else {},
    )


def _of_all(work: RunningMeasurement, radius: float, values: Tensor) -> Tensor:
    """Figures [directions, prompts] of all directions; ``nan`` where one was not measured."""
    at, directions = work.figures.directions_at(radius), work.figures.directions
    if at == directions:
        return values
    whole = values.new_full((len(directions), values.shape[1]), torch.nan)
    whole[[directions.index(k) for k in at]] = values
    return whole


def _floor(
    work: RunningMeasurement, radius: float, rows: Sequence[int] | None = None
) -> float | None:
    """The mean noise floor over the pairs of some directions for which it is defined."""
    change = work.figures.change(radius)
    change = change if rows is None else change[list(rows)]
    floor = work.calibration.noise_floor(change, work.dtypes[radius])
    defined = floor[floor.isfinite()]
    mean = float(defined.mean()) if len(defined) else float("nan")
    return mean if isfinite(mean) else None


def _facts(work: RunningMeasurement, tested: Mapping[str, Sequence[float]]) -> dict[str, KindFacts]:
    """What holds of each kind by itself."""
    figures, selects = work.figures, work.calibration.selects
    facts = {}
    for kind in dict.fromkeys(work.kinds):
        radii = tested[kind]
        rows = [work.rows_at(radius)[kind] for radius in radii]
        at = list(zip(radii, rows, strict=True))
        facts[kind] = KindFacts(
            radii=tuple(radii),
            noise_floor=tuple(_floor(work, radius, k) for radius, k in at),
            routing_flips=tuple(figures.flips(radius, k) for radius, k in at) if selects else None,
            still=tuple(figures.is_still(radius, k) for radius, k in at),
        )
    return facts
