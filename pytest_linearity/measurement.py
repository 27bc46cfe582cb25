"""`measure`: true change against first-order prediction, for any module."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from pytest_linearity.calibration import Calibration, calibrate, carries
from pytest_linearity.directions import Directions
from pytest_linearity.errors import MeasurementError
from pytest_linearity.pages import kept_pages
from pytest_linearity.passes import Figures, Logits, Pass, Progress
from pytest_linearity.precision import Arithmetic, arithmetic_for
from pytest_linearity.verdict import Limits, undecided


@dataclass(frozen=True)
class Measurement:
    """All figures of one model, one per (radius, direction, prompt)."""

    radii: tuple[float, ...]
    """The radii, in the order they were asked for."""
    relative_error: Tensor
    """ε, float64 Tensor [radii, directions, prompts]; see `metrics` for what marks a pair whose
    figure is undefined."""
    cosine_similarity: Tensor
    """c, float64 Tensor [radii, directions, prompts]."""
    precision: tuple[str, ...]
    """Arithmetic of the forwards at each radius, `float32` or `float64`."""
    noise_floor: tuple[float | None, ...]
    """Relative error that rounding alone causes at each radius; None where it is not finite."""
    jvp_method: str
    """`forward-mode`, or `central-differences` where an operation has no forward derivative."""
    no_forward_mode: str | None
    """What forward mode failed at; None where it works."""
    routing_flips: tuple[int, ...] | None
    """Discrete choices that differ between θ* and θ* + rδ at each radius, over all pairs; None
    for a model that makes none."""


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
        radii: How far to go along each direction, > 0, in the parameters' Euclidean norm.
        precision: `float32`, `float64`, or `auto`: float32 where rounding leaves ε exact to 1% or
            1e-4, float64 elsewhere.
        device: Where to compute; None is where the model's first parameter lies.
        calibration: Runs the model on a small part of the prompts, to find out how large rounding
            is and what evaluations may share; None takes the first of `logits`.
        limits: With `auto`, a radius whose mean lies so near a limit that rounding in float32 could
            turn the verdict is measured again in float64.
        progress: Told (done, total) as parameters are served.

    Returns:
        The figures of all (radius, direction, prompt).

    Raises:
        MeasurementError: If the model cannot be measured: see `calibration`; or out of memory.
        ValueError: If an argument is out of range.
    """
    batches = [logits] if callable(logits) else list(logits)
    _check(batches, radii, precision)
    place = torch.device(device) if device is not None else next(model.parameters()).device
    with _sigterm_interrupts(), _readable_out_of_memory(), kept_pages():
        known = calibrate(model, calibration or batches[0], directions, min(radii), place)
        work = _Work(model, batches, directions, known, place, progress)
        work.measure(radii, precision)
        if precision == "auto":
            work.settle(limits)
    return _collect(radii, work.figures, work.dtypes, known)


class _Work:
    """Passes over the parameters, and the figures they have given so far."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Logits],
        directions: Directions,
        known: Calibration,
        device: torch.device,
        progress: Progress | None,
    ) -> None:
        self._model = model
        self._batches = batches
        self._directions = directions
        self._known = known
        self._exact = arithmetic_for(model, "float64", device)
        self._coarse = arithmetic_for(model, "float32", device)
        self._progress = progress
        self.figures = Figures(len(batches), directions.count)
        self.dtypes: dict[float, torch.dtype] = {}

    def measure(self, radii: Sequence[float], precision: str) -> None:
        """Run one pass per arithmetic, the derivatives in the first and most exact of them."""
        in_coarse = [radius for radius in radii if self._is_coarse(radius, precision)]
        in_exact = [radius for radius in radii if radius not in in_coarse]
        plan = []
        if in_exact or self._known.step is not None:
            plan.append((self._exact, in_exact))
        if in_coarse:
            plan.append((self._coarse, in_coarse))
        for place, (arithmetic, some) in enumerate(plan):
            progress = _share(self._progress, place, len(plan))
            self._pass(arithmetic, some, progress, derivatives=place == 0)

    def settle(self, limits: Limits | None) -> None:
        """Measure those radii again in float64 whose figure or verdict float32 did not carry."""
        again = [
            radius
            for radius, dtype in self.dtypes.items()
            if dtype == torch.float32 and self._undecided(radius, limits)
        ]
        if again:
            self._pass(self._exact, again, None, derivatives=True)

    def _pass(
        self,
        arithmetic: Arithmetic,
        radii: Sequence[float],
        progress: Progress | None,
        *,
        derivatives: bool,
    ) -> None:
        Pass(
            self._model,
            self._batches,
            self._directions,
            arithmetic,
            self._known,
            self.figures,
            progress,
        ).run(radii, derivatives=derivatives)
        self.dtypes.update(dict.fromkeys(radii, arithmetic.dtype))

    def _is_coarse(self, radius: float, precision: str) -> bool:
        if self._exact == self._coarse or precision == "float64":
            return False
        return precision == "float32" or self._known.float32_carries(radius)

    def _undecided(self, radius: float, limits: Limits | None) -> bool:
        error = self.figures.stack("relative_error", radius)
        floor = self._known.noise_floor(self.figures.stack("change", radius), torch.float32)
        if not error.isfinite().all() or not floor.isfinite().all():
            return False
        if not carries(float(error.mean()), float(floor.mean())):
            return True
        cosine = self.figures.stack("cosine_similarity", radius)
        return limits is not None and undecided(error, cosine, floor, limits)


def _collect(
    radii: Sequence[float],
    figures: Figures,
    dtypes: dict[float, torch.dtype],
    known: Calibration,
) -> Measurement:
    floors = []
    for radius in radii:
        floor = known.noise_floor(figures.stack("change", radius), dtypes[radius])
        defined = floor[floor.isfinite()]
        mean = float(defined.mean()) if len(defined) else float("nan")
        floors.append(mean if isfinite(mean) else None)
    return Measurement(
        radii=tuple(radii),
        relative_error=torch.stack([figures.stack("relative_error", r) for r in radii]),
        cosine_similarity=torch.stack([figures.stack("cosine_similarity", r) for r in radii]),
        precision=tuple(str(dtypes[r]).removeprefix("torch.") for r in radii),
        noise_floor=tuple(floors),
        jvp_method=known.jvp_method,
        no_forward_mode=known.no_forward_mode,
        routing_flips=tuple(figures.flips(r) for r in radii) if known.selects else None,
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


def _share(progress: Progress | None, place: int, passes: int) -> Progress | None:
    """Progress of one of several passes, seen as part of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(place * total + done, passes * total)


@contextmanager
def _readable_out_of_memory() -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise MeasurementError(_OUT_OF_MEMORY) from error
    except RuntimeError as error:
        if "not enough memory" in str(error):
            raise MeasurementError(_OUT_OF_MEMORY) from error
        raise


_OUT_OF_MEMORY = (
    "out of memory while measuring; lower `batch_size` (prompts per forward) or `cutoff_len`"
)


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Turn SIGTERM into the interrupt that Ctrl-C is, unless the program handles it itself."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt("SIGTERM")

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
