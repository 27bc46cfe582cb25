"""`measure`: true change against first-order prediction, for any module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from math import isfinite
from typing import Any, TypeAlias

import torch
from torch import nn

from pytest_linearity.errors import MeasurementError, shown_names
from pytest_linearity.numerics.calibration.calibration import Calibration, calibrate
from pytest_linearity.numerics.calibration.prefix_check import check_prefix
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.logits import Logits, whole
from pytest_linearity.numerics.measurement.collecting import collect
from pytest_linearity.numerics.measurement.guards import guarded
from pytest_linearity.numerics.measurement.layers import LayerTaps
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.numerics.measurement.measurement import Measurement, Refinement
from pytest_linearity.numerics.measurement.refinement import first_crossing, refine
from pytest_linearity.numerics.measurement.resume import calibrated, calibration_of
from pytest_linearity.numerics.measurement.running import RunningMeasurement
from pytest_linearity.numerics.measurement.schedule import Progress, share_of
from pytest_linearity.numerics.measurement.setup import Setup
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.ranks import on_all_ranks
from pytest_linearity.numerics.scope.names import compact

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
    blocks: Mapping[str, nn.Module] | None = None,
    refined: bool = False,
    metrics: Sequence[Metric] = (),
    rounds: Sequence[Sequence[int]] | None = None,
    enough: Enough | None = None,
    progress: Progress | None = None,
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
            that starts with one. `logits` must then have the attribute `needed`.
        refined: Whether the crossing of `limits` between two radii is looked for.
        metrics: What is computed besides relative error and cosine similarity; `find_metric` gives
            those that are built in.
        rounds: Which directions are measured one round after another, each in one of them; None
            measures all at once. Every round costs one more baseline.
        enough: Asked between two rounds whether the figures so far will do; None never asks.
        progress: Told (done, total) as parameters are served.

    Returns:
        The figures of all (radius, direction, prompt).

    Raises:
        MeasurementError: If the model cannot be measured: see `calibration`; or out of memory.
        ValueError: If an argument is out of range.

    Example:
        >>> from pytest_linearity import Directions
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5))
        >>> inputs = torch.ones(2, 3)
        >>> measured = measure(model, lambda: model(inputs), Directions(model, 2), [0.01, 0.1])
        >>> measured.relative_error.shape  # [radii, directions, prompts]
        torch.Size([2, 2, 2])
        >>> bool(measured.relative_error[0].mean() < measured.relative_error[1].mean())
        True
    """
    setup = Setup(
        model,
        [logits] if callable(logits) else list(logits),
        directions,
        torch.device(device) if device is not None else next(model.parameters()).device,
        precision,
        calibration=calibration,
        taps=LayerTaps(blocks) if blocks else None,
        metrics=metrics,
    )
    return measure_with(
        setup,
        radii,
        limits=limits,
        second_order=second_order,
        refined=refined,
        rounds=rounds,
        enough=enough,
        progress=progress,
    )


def measure_with(
    setup: Setup,
    radii: Sequence[float],
    *,
    radii_by_kind: Mapping[str, Sequence[float]] | None = None,
    limits: Limits | None = None,
    second_order: bool = False,
    refined: bool = False,
    rounds: Sequence[Sequence[int]] | None = None,
    enough: Enough | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """`measure` by means that the caller chooses; the other arguments are the same.

    Args:
        setup: What is measured, and with what.
        radii: All radii.
        radii_by_kind: At which of them directions of each kind are measured, where not all kinds
            are at all of them. Kinds of other radii take a baseline of their own.
        limits: As in `measure`.
        second_order: As in `measure`.
        refined: As in `measure`.
        rounds: As in `measure`.
        enough: As in `measure`.
        progress: As in `measure`.

    Raises:
        MeasurementError: If the model cannot be measured; or out of memory.
        LinearityError: If another rank has failed, or the journal cannot be written.
        ValueError: If a radius is out of range.

    Example:
        >>> from pytest_linearity import Directions, Setup
        >>> model, inputs = nn.Linear(3, 5), torch.ones(2, 3)
        >>> setup = Setup(model, [lambda: model(inputs)], Directions(model, 2), torch.device("cpu"))
        >>> measure_with(setup, [0.1]).cosine_similarity.shape
        torch.Size([1, 2, 2])
    """
    _check(radii)
    kinds = dict.fromkeys(setup.directions.kinds)
    tested = {kind: tuple((radii_by_kind or {}).get(kind, radii)) for kind in kinds}
    refinements: dict[str, Refinement | None] = {}
    refinement = None
    planned = [range(setup.directions.count)] if rounds is None else rounds
    with guarded():
        work = RunningMeasurement(setup, calibrated_setup(setup, min(radii)))
        with setup.taps.attached() if setup.taps else nullcontext():
            for number, directions in enumerate(planned):
                if number and enough and enough(collect(radii, work, tested)):
                    break
                part = share_of(progress, number, len(planned))
                _measure_round(work, directions, tested, second_order=second_order, progress=part)
                work.settle(limits)
            tested = {kind: r for kind, r in tested.items() if kind in work.kinds}
            if refined and limits is not None:
                refinements = refine(work, tested, limits)
                refinement = first_crossing(work, tested, limits, refinements)
    _check_asked(work, radii)
    measured = collect(radii, work, tested)
    return replace(
        measured,
        by_kind={
            kind: replace(facts, refinement=refinements.get(kind))
            for kind, facts in measured.by_kind.items()
        },
        curvature_ratio=work.figures.curvature_ratio() if second_order else None,
        layers=work.layers.profile(radii, work.figures.directions) if work.layers else None,
        refinement=refinement,
    )


def calibrated_setup(setup: Setup, radius: float) -> Calibration:
    """What one rank finds out for all, as all must decide alike; each then checks the prefix."""
    model, directions, device = setup.model, setup.directions, setup.device
    # Not `or`: a compiled module is no truth value.
    small = setup.batches[0] if setup.calibration is None else setup.calibration

    def facts() -> dict[str, Any] | None:
        if setup.group.rank:
            return None
        return calibrated(
            setup.journal, lambda: calibrate(model, whole(small), directions, radius, device)
        )

    of_first_rank = on_all_ranks(setup.group, "calibration", facts)[0]
    assert of_first_rank is not None
    calibration = calibration_of(of_first_rank)
    check_prefix(model, setup.batches, small, directions, radius, calibration, device)
    return calibration


def _measure_round(
    work: RunningMeasurement,
    directions: Sequence[int],
    tested: Mapping[str, tuple[float, ...]],
    *,
    second_order: bool,
    progress: Progress | None,
) -> None:
    """Measure some directions, those of the same radii together."""
    kinds = work.setup.directions.kinds
    groups: dict[tuple[float, ...], list[int]] = {}
    for k in directions:
        groups.setdefault(tested[kinds[k]], []).append(k)
    for place, (radii, ks) in enumerate(groups.items()):
        part = share_of(progress, place, len(groups))
        work.measure(ks, radii, second_order=second_order, progress=part)


def _check_asked(work: RunningMeasurement, radii: Sequence[float]) -> None:
    """Refuse a scope that forwards do not read: there, nothing has been measured.

    Calibration saw one prompt; if another takes an expert that is in scope, its logits have moved.

    Raises:
        MeasurementError: If nobody asked for any parameter in scope.
    """
    if work.calibration.asks or not all(map(work.figures.is_still, radii)):
        return
    directions = work.setup.directions
    raise MeasurementError(
        f"no evaluation asked for any parameter in scope ({directions.scope}: "
        f"{shown_names(compact(directions.names))}): the forward does not use them, or uses them "
        "where no perturbation reaches them, as in what is scripted or traced (torch.jit)"
    )


def _check(radii: Sequence[float]) -> None:
    if not radii or len(set(radii)) < len(radii):
        raise ValueError(f"radii is {list(radii)}; it must hold different numbers")
    if any(not isfinite(radius) or radius <= 0 for radius in radii):
        raise ValueError(f"radii is {list(radii)}; every radius must be finite and positive")
