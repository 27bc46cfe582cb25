"""`measure`: true change against first-order prediction, for any module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import TypeAlias

import torch
from torch import nn

from pytest_linearity.numerics.calibration.calibration import Calibration, calibrate
from pytest_linearity.numerics.calibration.prefix_check import check_prefix
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.logits import Logits, whole
from pytest_linearity.numerics.measurement.guards import (
    outside_inference_mode,
    readable_out_of_memory,
    sigterm_interrupts,
)
from pytest_linearity.numerics.measurement.jobs import Engine
from pytest_linearity.numerics.measurement.layers import LayerFigures, LayerTaps
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.numerics.measurement.malloc import kept_pages
from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.numerics.measurement.refinement import refine
from pytest_linearity.numerics.measurement.resume import Journal, calibrated, calibration_of
from pytest_linearity.numerics.measurement.running import RunningMeasurement, share_of
from pytest_linearity.numerics.measurement.schedule import Progress
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.ranks import ProcessGroup, SingleProcess, on_all_ranks

Enough: TypeAlias = "Callable[[Measurement], bool]"
"""Says whether the directions measured so far are enough."""


def measure(
    model: nn.Module,
    logits: Logits | Sequence[Logits],
    directions: Directions,
    radii: Sequence[float],
    precision: str = "auto",
    *,
    device: str | torch.device | None = None,
    calibration: Logits | None = None,
    limits: Limits | None = None,
    second_order: bool = False,
    blocks: Mapping[str, nn.Module] | LayerTaps | None = None,
    refined: bool = False,
    metrics: Sequence[Metric] = (),
    rounds: Sequence[Sequence[int]] | None = None,
    enough: Enough | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
    group: ProcessGroup | None = None,
    journal: Journal | None = None,
) -> Measurement:
    """Compare a model's true change along directions with its first-order prediction.

    The model may be any module; its parameters and buffers are left bit for bit as they were, also
    when the measurement is interrupted.

    Args:
        model: The model.
        logits: Runs the model on the prompts: () -> float Tensor [prompts, V]. Several such calls
            are several batches; their inputs must lie on `device`.
        directions: Unit directions over the model's parameters.
        radii: How far to go along each direction, > 0, as the Euclidean norm of the step.
        precision: `float32`, `float64`, or `auto`: float32 where rounding leaves ε exact to 1% or
            1e-4, float64 elsewhere.
        device: Where to compute; None is where the model's first parameter lies.
        calibration: Runs the model on a small part of the prompts, to find out how large rounding
            is and what evaluations may share; None takes the first of `logits`.
        limits: With `auto`, a radius whose mean lies so near a limit that rounding in float32 could
            turn the verdict is measured again in float64.
        second_order: Whether the second directional derivative is taken, too: two more JVPs per
            direction, in float64.
        blocks: Modules whose output's last tokens are compared like the logits, by the name they
            are reported under; each must return a Tensor [prompts, tokens, hidden], or a tuple
            that starts with one. `logits` must then have the attribute `needed`. Measurements that
            run together must be given the same `LayerTaps`.
        refined: Whether the crossing of `limits` between two radii is looked for.
        metrics: What is computed besides relative error and cosine similarity; `find_metric` gives
            those that are built in.
        rounds: Which directions are measured one round after another, each in one of them; None
            measures all at once. Every round costs one more baseline.
        enough: Asked between two rounds whether the figures so far will do; None never asks.
        progress: Told (done, total) as parameters are served.
        engine: Runs the evaluations; None runs them at once. See `on_all_ranks`.
        group: The ranks that measure together, with the same arguments; None is this process alone.
        journal: Where results are kept as they come, and are taken from; None for nowhere.

    Returns:
        The figures of all (radius, direction, prompt).

    Raises:
        MeasurementError: If the model cannot be measured: see `calibration`; or out of memory.
        ValueError: If an argument is out of range.
    """
    batches = [logits] if callable(logits) else list(logits)
    _check(batches, radii, precision)
    place = torch.device(device) if device is not None else next(model.parameters()).device
    taps = blocks if isinstance(blocks, LayerTaps) else LayerTaps(blocks or {})
    layers = LayerFigures(taps, len(batches)) if blocks else None
    refinement = None
    with outside_inference_mode(), sigterm_interrupts(), readable_out_of_memory(), kept_pages():
        small = calibration or batches[0]
        ranks = group or SingleProcess()
        known = _calibrated_by_one(
            ranks,
            journal,
            lambda: calibrate(model, whole(small), directions, min(radii), place),
        )
        check_prefix(model, batches, small, directions, min(radii), known, place)
        work = RunningMeasurement(
            model,
            batches,
            directions,
            known,
            place,
            precision,
            layers,
            metrics,
            engine,
            ranks,
            journal,
        )
        with taps.attached():
            planned = [list(range(directions.count))] if rounds is None else rounds
            for number, ks in enumerate(planned):
                if number and enough and enough(_collect(radii, work, known, metrics)):
                    break
                part = share_of(progress, number, len(planned))
                work.measure(ks, radii, second_order=second_order, progress=part)
                work.settle(limits)
            if refined and limits is not None:
                refinement = refine(work, radii, limits)
    return replace(
        _collect(radii, work, known, metrics),
        curvature_ratio=work.figures.curvature_ratio() if second_order else None,
        layers=layers.profile(radii, work.figures.directions) if layers else None,
        refinement=refinement,
    )


def _calibrated_by_one(
    group: ProcessGroup, journal: Journal | None, calibrate: Callable[[], Calibration]
) -> Calibration:
    """What one rank finds out for all, as all must decide alike."""
    found = on_all_ranks(
        group, "calibration", lambda: None if group.rank else calibrated(journal, calibrate)
    )[0]
    assert found is not None
    return calibration_of(found)


def _collect(
    radii: Sequence[float], work: RunningMeasurement, known: Calibration, metrics: Sequence[Metric]
) -> Measurement:
    figures, dtypes = work.figures, work.dtypes
    floors = []
    for radius in radii:
        floor = known.noise_floor(figures.stack("change", radius), dtypes[radius])
        defined = floor[floor.isfinite()]
        mean = float(defined.mean()) if len(defined) else float("nan")
        floors.append(mean if isfinite(mean) else None)
    at_radii = zip(*(figures.of_metrics(radius) for radius in radii), strict=True)
    columns = {metric.name: found for metric, found in zip(metrics, at_radii, strict=True)}
    return Measurement(
        radii=tuple(radii),
        relative_error=torch.stack([figures.stack("relative_error", r) for r in radii]),
        cosine_similarity=torch.stack([figures.stack("cosine_similarity", r) for r in radii]),
        precision=tuple(str(dtypes[r]).removeprefix("torch.") for r in radii),
        noise_floor=tuple(floors),
        jvp_method=known.jvp_method,
        no_forward_mode=known.no_forward_mode,
        kinds=work.kinds,
        directions=tuple(figures.directions),
        evaluations=work.evaluations,
        routing_flips=tuple(figures.flips(r) for r in radii) if known.selects else None,
        metrics={name: torch.stack([at.values for at in c]) for name, c in columns.items()},
        metric_noise={name: torch.stack([at.noise for at in c]) for name, c in columns.items()},
        metric_failures={name: tuple(at.failure for at in c) for name, c in columns.items()},
    )


def _check(batches: Sequence[Logits], radii: Sequence[float], precision: str) -> None:
    if not batches:
        raise ValueError("logits is empty; at least one batch is needed")
    if not radii or len(set(radii)) < len(radii):
        raise ValueError(f"radii is {list(radii)}; it must hold different numbers")
    if any(not isfinite(radius) or radius <= 0 for radius in radii):
        raise ValueError(f"radii is {list(radii)}; every radius must be finite and positive")
    if precision not in ("auto", "float32", "float64"):
        raise ValueError(f"precision is {precision!r}; accepted are auto, float32 and float64")
