"""Where along some directions a model stops complying, when nothing is known of the scale.

Curvature says where to look: with ε ≈ rκ/2 the limit is reached near a radius of 2 limit / κ. From
there steps of a factor lead to a radius on the other side, and bisection closes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, sqrt

from pytest_linearity.numerics.measurement.collecting import collect
from pytest_linearity.numerics.measurement.guards import guarded
from pytest_linearity.numerics.measurement.limits import Limits, kept
from pytest_linearity.numerics.measurement.measure import calibrated_setup
from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.numerics.measurement.running import RunningMeasurement
from pytest_linearity.numerics.measurement.schedule import Progress
from pytest_linearity.numerics.measurement.setup import Setup

STEP = 3.0
"""From a radius to the next while the other side is looked for."""
_FURTHEST = 14
"""So many steps: seven orders of magnitude in one direction, beyond which nothing is expected."""


@dataclass(frozen=True)
class Crossing:
    """Between which radii a model stops complying."""

    low: float | None
    """The largest radius below the crossing that complies; None where none that was tried does."""
    high: float | None
    """The smallest above it that does not; None where all that were tried comply."""
    curvature_ratio: float | None
    """Mean of κ over all pairs, one over the unit of the radius; None where it is not defined."""
    measurement: Measurement
    """All figures at the radius to begin with."""
    evaluated: tuple[float, ...]
    """The radii that were measured, in their order."""
    relative_error: tuple[float, ...]
    """Mean of ε at each of these; not finite where it is not defined."""
    cosine_similarity: tuple[float, ...]
    """Mean of c, likewise."""

    @property
    def radius(self) -> float | None:
        """The middle of the two on a logarithmic scale; the one there is; None for none."""
        if self.low is not None and self.high is not None:
            return sqrt(self.low * self.high)
        return self.low if self.high is None else self.high


def find_crossing(
    setup: Setup,
    limits: Limits,
    start: float,
    *,
    directions: Sequence[int] = (0,),
    width: float = STEP,
    progress: Progress | None = None,
) -> Crossing:
    """Bracket the crossing of the limits along directions of one kind.

    Every radius costs a baseline and an evaluation per direction and batch; the derivatives are
    taken once, with two more for curvature.

    Args:
        setup: What is measured, and by what means.
        limits: What complies.
        start: A radius above zero to begin with, as the norm of the step: of the right order at
            best, as the length of an update or a thousandth of the parameters' norm.
        directions: Along which of the setup's directions; all of one kind.
        width: Ratio of the two ends at which the crossing is known well enough.
        progress: Told (done, total) of the first pass, which is most of the work.

    Raises:
        MeasurementError: If the model cannot be measured; or out of memory.
    """
    with guarded():
        search = _Search(setup, limits, start, tuple(directions), progress)
        search.bracket()
        search.close_in(width)
        return search.crossing()


class _Search:
    """The radii measured so far, and which of them comply."""

    def __init__(
        self,
        setup: Setup,
        limits: Limits,
        start: float,
        directions: tuple[int, ...],
        progress: Progress | None,
    ) -> None:
        self._limits = limits
        self._start = start
        self._directions = directions
        self._work = RunningMeasurement(setup, calibrated_setup(setup, start))
        self._work.measure(directions, [start], second_order=True, progress=progress)
        self._work.settle(limits)
        self._means: dict[float, tuple[float, float]] = {}
        self._low: float | None = None
        self._high: float | None = None
        self._moves = True
        self._note(start)

    def bracket(self) -> None:
        """Find a radius on each side."""
        for _ in range(_FURTHEST):
            if not self._moves or (self._low is not None and self._high is not None):
                return
            self._try(self._next())

    def close_in(self, width: float) -> None:
        """Bisect until both sides are as near as that."""
        while self._low is not None and self._high is not None and self._high / self._low > width:
            self._try(sqrt(self._low * self._high))

    def crossing(self) -> Crossing:
        """What was found out."""
        errors, cosines = zip(*self._means.values(), strict=True)
        kinds = dict.fromkeys(self._work.kinds, (self._start,))
        measurement = replace(
            collect([self._start], self._work, kinds),
            curvature_ratio=self._work.figures.curvature_ratio(),
        )
        return Crossing(
            self._low,
            self._high,
            self._curvature,
            measurement,
            tuple(self._means),
            errors,
            cosines,
        )

    @property
    def _curvature(self) -> float | None:
        kappa = float(self._work.figures.curvature_ratio().mean())
        return kappa if isfinite(kappa) else None

    def _next(self) -> float:
        """The predicted crossing while it is on the side that is missing, else a step further."""
        predicted = self._predicted()
        if self._high is None:
            assert self._low is not None
            further = self._low * STEP
            return max(further, predicted) if predicted is not None else further
        further = self._high / STEP
        return min(further, predicted) if predicted is not None else further

    def _predicted(self) -> float | None:
        """Where ε ≈ rκ/2 reaches its limit, unless that is out of all proportion."""
        kappa, limit = self._curvature, self._limits.relative_error
        radius = 2 * limit / kappa if kappa and limit else 0.0
        reach = STEP**_FURTHEST
        near = self._start / reach < radius < self._start * reach
        # Once it has been tried it leads no further.
        return radius if near and radius not in self._means else None

    def _try(self, radius: float) -> None:
        self._work.add(radius, self._limits, self._directions)
        self._note(radius)

    def _note(self, radius: float) -> None:
        metrics = self._work.figures.values(radius)
        error, cosine = (float(metric.values.mean()) for metric in metrics[:2])
        self._means[radius] = error, cosine
        self._moves = not self._work.figures.is_still(radius)
        if self._moves and kept(metrics, self._limits):
            self._low = radius
        else:
            self._high = radius
