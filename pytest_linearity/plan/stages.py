"""What a config asks for, as passes over the parameters.

Which passes a measurement takes is decided by `schedule.passes_of`, here as there; only what is
found out on the way, as the arithmetic of a radius with precision `auto`, is assumed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log, log2
from typing import TYPE_CHECKING

import torch

from pytest_linearity.numerics.directions.kinds import RANDOM
from pytest_linearity.numerics.measurement.grid import grid_around
from pytest_linearity.numerics.measurement.refinement import WIDTH
from pytest_linearity.numerics.measurement.schedule import (
    MEMORY_BUDGET,
    Wanted,
    evaluation_bytes,
    grouped,
    passes_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_linearity.config.config import Config
    from pytest_linearity.plan.workload import BatchSize, Workload


_STEPS = 5
"""Radii that a search looks at beside its first, usually, to choose radii."""
_STEPS_OF_UPDATE = 7
"""The same to know the crossing along the update to 5%."""


@dataclass(frozen=True)
class Stage:
    """Evaluations that run in one pass, or in as many as memory asks for."""

    dtype: torch.dtype
    """Of the arithmetic."""
    directions: int
    """Along how many directions, in each scope."""
    scopes: int
    """In how many scopes at once."""
    radii: int
    """At how many radii."""
    derivatives: bool
    """Whether Jδ is taken."""
    curvature: bool = False
    """Whether f''[δ, δ] is taken."""

    @property
    def along(self) -> int:
        """Directions of all scopes."""
        return self.directions * self.scopes

    @property
    def duals(self) -> int:
        """Evaluations with a tangent, for each direction and batch."""
        return int(self.derivatives) + 2 * self.curvature

    @property
    def per_direction(self) -> int:
        """Evaluations for each direction and batch."""
        return self.radii + self.duals

    def evaluations(self, workload: Workload, widest: int) -> int:
        """All evaluations of a batch each; see `rounds`."""
        return sum(
            len(batches) * (1 + directions * self.per_direction)
            for batches, directions in self.rounds(workload, widest)
        )

    def rounds(self, workload: Workload, widest: int) -> Iterator[tuple[list[BatchSize], int]]:
        """The batches that advance together, and along how many directions.

        Args:
            workload: The batches.
            widest: Inputs plus outputs of the model's widest linear layer, in features.
        """
        sizes = [evaluation_bytes(b.tokens, widest, self.dtype) for b in workload.batches]
        ks = list(range(self.directions))
        for batches, some in grouped(sizes, ks, self.per_direction, MEMORY_BUDGET // self.scopes):
            yield [workload.batches[batch] for batch in batches], len(some) * self.scopes


def directions_of(config: Config, random: int) -> int:
    """How many directions there are in all, with so many of each random kind."""
    return _directions(config.directions, random)


def _directions(kinds: Iterable[str], random: int) -> int:
    return sum(random if kind in RANDOM else 1 for kind in kinds)


def stages_of(
    config: Config, dtype: torch.dtype, random: int, scopes: int, ranks: int
) -> list[Stage]:
    """What one rank does with all radii in one arithmetic, where forward mode works.

    Args:
        config: What to measure.
        dtype: The arithmetic; second derivatives are taken in float64 whatever it is.
        random: How many directions of each random kind are measured before the end.
        scopes: How many scopes are measured at once.
        ranks: How many processes share the directions.
    """
    stages = _searches(config, dtype, scopes)
    config = _settled(config)
    before = 0
    for count in config.sampling.counts_up_to(random):
        for radii, kinds in _kinds_by_radii(config).items():
            new = _directions(kinds, count) - (_directions(kinds, before) if before else 0)
            if not new:
                continue
            coarse = radii if dtype == torch.float32 else ()
            passes = passes_of(
                range(ceil(new / ranks)), radii, coarse, second_order=config.second_order
            )
            stages += [stage_of(wanted, scopes) for wanted in passes]
        before = count
    return stages


def _settled(config: Config) -> Config:
    """A config with some radii where they are chosen by measuring."""
    return config.with_radii(dict.fromkeys(config.automatic, grid_around(1.0)))


def _searches(config: Config, dtype: torch.dtype, scopes: int) -> list[Stage]:
    """What is measured along one direction to find a crossing: for radii, and along the update."""
    steps = [_STEPS] * len(config.automatic) + [_STEPS_OF_UPDATE] * config.gates_update
    coarse = (1.0,) if dtype == torch.float32 else ()
    begin = [
        stage_of(wanted, scopes) for wanted in passes_of([0], (1.0,), coarse, second_order=True)
    ]
    step = Stage(dtype, 1, scopes, 1, derivatives=False)
    return [stage for count in steps for stage in (*begin, *[step] * count)]


def _kinds_by_radii(config: Config) -> dict[tuple[float, ...], list[str]]:
    """The kinds of directions that are measured together, as they have the same radii."""
    kinds: dict[tuple[float, ...], list[str]] = {}
    for kind, radii in config.radii_by_kind.items():
        kinds.setdefault(radii, []).append(kind)
    return kinds


def stage_of(wanted: Wanted, scopes: int) -> Stage:
    """A pass of a measurement, of as many scopes at once, as a stage."""
    return Stage(
        torch.float64 if wanted.exact else torch.float32,
        len(wanted.directions),
        scopes,
        len(wanted.radii),
        wanted.derivatives,
        curvature=wanted.curvature is not None,
    )


def refinements(config: Config) -> int:
    """How many radii `refine` measures at most, each along the directions of one kind."""
    return sum(map(_bisections, _settled(config).radii_by_kind.values())) if config.refine else 0


def _bisections(radii: Sequence[float]) -> int:
    widest = max((high / low for low, high in pairwise(radii)), default=1.0)
    return ceil(log2(log(widest) / log(WIDTH))) if widest > WIDTH else 0
