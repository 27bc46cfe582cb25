"""A measurement under way: which radius gets which arithmetic, and the figures so far.

With precision `auto` a radius is measured in float32 where calibration expects rounding not to
matter, and again in float64 where the figures show that it did, or are not finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pytest_linearity.numerics.calibration.calibration import Calibration, carries
from pytest_linearity.numerics.directions.kinds import rows_by_kind
from pytest_linearity.numerics.measurement.figures import PairStore
from pytest_linearity.numerics.measurement.gather import gather
from pytest_linearity.numerics.measurement.layers import LayerFigures
from pytest_linearity.numerics.measurement.limits import Limits, undecided
from pytest_linearity.numerics.measurement.passes import Pass
from pytest_linearity.numerics.measurement.schedule import (
    Progress,
    Wanted,
    evaluations_of,
    passes_of,
    share_of,
)
from pytest_linearity.numerics.measurement.setup import Setup
from pytest_linearity.numerics.metrics.values import MetricValues
from pytest_linearity.numerics.precision import arithmetic_for
from pytest_linearity.numerics.ranks import shard


class RunningMeasurement:
    """Passes over the parameters, and the figures they have given so far."""

    def __init__(self, setup: Setup, calibration: Calibration) -> None:
        """A measurement of which no pass has run, and what is known of its model."""
        self.setup = setup
        self.calibration = calibration
        self._exact = arithmetic_for(setup.model, "float64", setup.device)
        self._coarse = arithmetic_for(setup.model, "float32", setup.device)
        self.layers = LayerFigures(setup.taps, len(setup.batches)) if setup.taps else None
        """Those of hidden states, if they are asked for."""
        self.figures = PairStore(len(setup.batches), setup.metrics, calibration.noise_floor)
        """The figures of all pairs."""
        self.dtypes: dict[float, torch.dtype] = {}
        """The arithmetic in which each radius was measured."""
        self.evaluations = 0
        """How many evaluations of one batch each the figures rest on, on all ranks together."""
        self.evaluations_run = 0
        """How many have run now, see `Measurement.evaluations_run`."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each direction that has been measured."""
        return tuple(self.setup.directions.kinds[k] for k in self.figures.directions)

    def rows_at(self, radius: float) -> dict[str, list[int]]:
        """The directions of each kind that were measured at one radius, as rows of its figures."""
        directions = self.figures.directions_at(radius)
        kinds = [self.setup.directions.kinds[k] for k in directions]
        return rows_by_kind(kinds, len(directions))

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
        coarse = [radius for radius in radii if self._is_coarse(radius)]
        passes = passes_of(
            directions,
            radii,
            coarse,
            second_order=second_order,
            difference=self.calibration.step,
            only_exact=self.calibration.only_exact,
        )
        for place, wanted in enumerate(passes):
            self._pass(wanted, share_of(progress, place, len(passes)))

    def add(self, radius: float, limits: Limits, directions: Sequence[int]) -> None:
        """Measure one more radius along some directions, with the derivatives that are there."""
        exact = not self._is_coarse(radius)
        self._pass(Wanted(exact, tuple(directions), (radius,), derivatives=False), None)
        self.settle(limits)

    def settle(self, limits: Limits | None) -> None:
        """With `auto`, measure those radii again in float64 that float32 did not carry."""
        again = tuple(
            radius
            for radius, dtype in self.dtypes.items()
            if dtype == torch.float32 and self._undecided(radius, limits)
        )
        if self.setup.precision != "auto":
            return
        measured = {radius: tuple(self.figures.directions_at(radius)) for radius in again}
        h = self.calibration.step
        for directions in dict.fromkeys(measured.values()):
            radii = tuple(radius for radius in again if measured[radius] == directions)
            self._pass(Wanted(True, directions, radii, derivatives=True, difference=h), None)

    def _pass(self, wanted: Wanted, progress: Progress | None) -> None:
        """Run one pass on all ranks; afterwards each has the figures of all of them."""
        setup, stores = self.setup, (self.figures, self.layers)
        arithmetic = self._exact if wanted.exact else self._coarse
        mine = replace(wanted, directions=shard(setup.group, wanted.directions))
        ours = Pass(setup, self.calibration, arithmetic, mine, *stores)
        self.evaluations += self._needed(wanted)
        self.evaluations_run += gather(
            setup.group,
            lambda: ours.run(progress) if mine.directions else 0,
            *stores,
            wanted.radii,
            mine.directions,
            setup.device,
        )
        self.dtypes.update(dict.fromkeys(wanted.radii, arithmetic.dtype))

    def _needed(self, wanted: Wanted) -> int:
        """How many evaluations a pass is made of: the same in how many rounds it may be taken."""
        _, *along = evaluations_of(0, wanted.directions, wanted)
        ranks = len(self.setup.group.hosts)
        baselines = {k % ranks for k in wanted.directions}  # every rank that has directions
        return len(self.setup.batches) * (len(baselines) + len(along))

    def _is_coarse(self, radius: float) -> bool:
        if radius in self.dtypes:  # along other directions: one radius, one arithmetic
            return self.dtypes[radius] == torch.float32
        if self._exact == self._coarse or self.setup.precision == "float64":
            return False
        return self.setup.precision == "float32" or self.calibration.float32_carries(radius)

    def _undecided(self, radius: float, limits: Limits | None) -> bool:
        if self.figures.is_in_doubt(radius):
            return True
        metrics = self.figures.values(radius)
        floor = self.calibration.noise_floor(self.figures.change(radius), torch.float32)
        return any(
            _leaves_open([m.at(k) for m in metrics], floor[k], limits and limits.of_kind(kind))
            for kind, k in self.rows_at(radius).items()
        )


def _leaves_open(metrics: Sequence[MetricValues], floor: Tensor, limits: Limits | None) -> bool:
    """Whether float32 did not carry the figures of some pairs, or the verdict on them."""
    error = metrics[0].values
    if not error.isfinite().all():  # float64 has room for more
        return True
    if not floor.isfinite().all():
        return False
    if not carries(float(error.mean()), float(floor.mean())):
        return True
    return limits is not None and undecided(metrics, floor, limits)
