"""All passes of one measurement: which radius gets which arithmetic, and the figures so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pytest_linearity.numerics.calibration.calibration import Calibration, carries
from pytest_linearity.numerics.derivatives import dual_step
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.directions.kinds import rows_by_kind
from pytest_linearity.numerics.lockstep.logits import Logits
from pytest_linearity.numerics.measurement.figures import PairStore
from pytest_linearity.numerics.measurement.gather import gather
from pytest_linearity.numerics.measurement.jobs import Engine
from pytest_linearity.numerics.measurement.layers import LayerFigures
from pytest_linearity.numerics.measurement.limits import Limits, undecided
from pytest_linearity.numerics.measurement.passes import Pass
from pytest_linearity.numerics.measurement.resume import Journal, Rounds
from pytest_linearity.numerics.measurement.schedule import Progress, Wanted
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.values import MetricValues
from pytest_linearity.numerics.precision import Arithmetic, arithmetic_for
from pytest_linearity.numerics.ranks import ProcessGroup, SingleProcess, shard


class RunningMeasurement:
    """Passes over the parameters, and the figures they have given so far."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Logits],
        directions: Directions,
        known: Calibration,
        device: torch.device,
        precision: str,
        layers: LayerFigures | None,
        metrics: Sequence[Metric] = (),
        engine: Engine | None = None,
        group: ProcessGroup | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Nothing runs yet; `known` is what calibration found, the rest is as for `measure`."""
        self._model = model
        self._batches = batches
        self._directions = directions
        self._known = known
        self._exact = arithmetic_for(model, "float64", device)
        self._coarse = arithmetic_for(model, "float32", device)
        self._precision = precision
        self._layers = layers
        self._engine = engine
        self._group = group or SingleProcess()
        self._journal = journal
        self.figures = PairStore(len(batches), metrics, known.noise_floor)
        """The figures of all pairs."""
        self.dtypes: dict[float, torch.dtype] = {}
        """The arithmetic in which each radius was measured."""
        self.evaluations = 0
        """How many evaluations of one batch each have run, on all ranks together."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each direction that has been measured."""
        return tuple(self._directions.kinds[k] for k in self.figures.directions)

    def measure(
        self,
        directions: Sequence[int],
        radii: Sequence[float],
        *,
        second_order: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Run one pass per arithmetic, the derivatives in the first and most exact of them.

        Args:
            directions: Along which directions, none of them measured before.
            radii: Where to measure.
            second_order: Whether to take second derivatives, in float64 whatever the radii get.
            progress: Told (done, total) as parameters are served.
        """
        self.figures.directions = sorted({*self.figures.directions, *directions})
        plan = self._plan(tuple(sorted(directions)), radii, second_order)
        for place, (arithmetic, wanted) in enumerate(plan):
            self._pass(arithmetic, wanted, share_of(progress, place, len(plan)))

    def add(self, radius: float, limits: Limits) -> None:
        """Measure one more radius with the derivatives that are there."""
        arithmetic = self._coarse if self._is_coarse(radius) else self._exact
        measured = tuple(self.figures.directions)
        self._pass(arithmetic, Wanted(measured, (radius,), derivatives=False), None)
        self.settle(limits)

    def settle(self, limits: Limits | None) -> None:
        """With `auto`, measure those radii again in float64 that float32 did not carry."""
        again = tuple(
            radius
            for radius, dtype in self.dtypes.items()
            if dtype == torch.float32 and self._undecided(radius, limits)
        )
        if again and self._precision == "auto":
            measured = tuple(self.figures.directions)
            self._pass(self._exact, Wanted(measured, again, derivatives=True), None)

    def _plan(
        self, ks: tuple[int, ...], radii: Sequence[float], second_order: bool
    ) -> list[tuple[Arithmetic, Wanted]]:
        coarse = tuple(radius for radius in radii if self._is_coarse(radius))
        exact = tuple(radius for radius in radii if radius not in coarse)
        # Central differences give second derivatives by the way.
        by_duals = second_order and self._known.step is None
        h = dual_step(min(radii)) if by_duals else None
        plan = []
        if exact or self._known.step is not None:
            plan.append((self._exact, Wanted(ks, exact, derivatives=True, curvature=h)))
        if coarse:
            plan.append((self._coarse, Wanted(ks, coarse, derivatives=not plan)))
        if by_duals and not exact:
            plan.append((self._exact, Wanted(ks, (), derivatives=False, curvature=h)))
        return plan

    def _pass(self, arithmetic: Arithmetic, wanted: Wanted, progress: Progress | None) -> None:
        dtype, device = arithmetic.dtype, arithmetic.device
        stores = self.figures, self._layers
        rounds = None
        if self._journal is not None:
            rounds = Rounds(self._journal, *stores, dtype, device)
        one = Pass(
            self._model,
            self._batches,
            self._directions,
            arithmetic,
            self._known,
            self.figures,
            progress,
            self._layers,
            self._engine,
            rounds,
        )
        mine = replace(wanted, directions=shard(self._group, wanted.directions))

        def part() -> int:
            if mine.directions:
                one.run(mine)
            return one.evaluations

        self.evaluations += gather(
            self._group, part, *stores, wanted.radii, mine.directions, device
        )
        self.dtypes.update(dict.fromkeys(wanted.radii, dtype))

    def _is_coarse(self, radius: float) -> bool:
        if radius in self.dtypes:  # along other directions: one radius, one arithmetic
            return self.dtypes[radius] == torch.float32
        if self._exact == self._coarse or self._precision == "float64":
            return False
        return self._precision == "float32" or self._known.float32_carries(radius)

    def _undecided(self, radius: float, limits: Limits | None) -> bool:
        error = self.figures.stack("relative_error", radius)
        cosine = self.figures.stack("cosine_similarity", radius)
        floor = self._known.noise_floor(self.figures.stack("change", radius), torch.float32)
        metrics = self.figures.of_metrics(radius)
        return any(
            _leaves_open(error[k], cosine[k], floor[k], limits, [m.at(k) for m in metrics])
            for k in rows_by_kind(self.kinds, len(error)).values()
        )


def _leaves_open(
    error: Tensor,
    cosine: Tensor,
    floor: Tensor,
    limits: Limits | None,
    metrics: Sequence[MetricValues],
) -> bool:
    """Whether float32 did not carry the figures of some pairs, or the verdict on them."""
    if not error.isfinite().all() or not floor.isfinite().all():
        return False
    if not carries(float(error.mean()), float(floor.mean())):
        return True
    return limits is not None and undecided(error, cosine, floor, limits, metrics)


def share_of(progress: Progress | None, place: int, parts: int) -> Progress | None:
    """Progress of one of several equal parts, seen as part of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(place * total + done, parts * total)
