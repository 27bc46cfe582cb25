"""When to look at the figures, and what each look costs: directions drawn in rounds.

A look is what statisticians call an interim analysis; a run of several is group-sequential.
A mean that is looked at often, until it suits, is sooner or later on the wrong side of its limit.
So the looks are planned beforehand, each at three quarters more directions than the one before (2,
4, 7, 13, …), and the allowed rate of wrong intervals is shared among them in equal parts
(Bonferroni): with J looks at confidence q, each is taken at 1 − (1 − q)/J. Whatever look it ends
at, and for whatever reason, *all* intervals hold the true mean together with probability q at
least.

Bounds that are valid at every single number of directions need no plan, but assume bounded or
sub-Gaussian figures, which ε is not, or are wider at few directions, where the time is to be saved.
Error spending by joint distributions of the looks gains little over equal parts where they lie so
far apart. Rounds that grow by less than this cost more looks, and those that grow by more measure
more directions than it takes; each also costs one baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil

from pytest_linearity.numerics.directions.kinds import RANDOM, rows_by_kind

_GROWTH = Fraction(7, 4)


@dataclass(frozen=True)
class SamplingPlan:
    """The looks of a run, planned before the first."""

    counts: tuple[int, ...]
    """How many directions of each random kind there are at each look, ascending."""
    confidence: float
    """How often the intervals of all looks hold the true mean together."""

    @classmethod
    def planned(cls, least: int, most: int, confidence: float) -> SamplingPlan:
        """Looks from the fewest to the most directions; a single one where these are the same."""
        counts = [least]
        while counts[-1] < most:
            counts.append(min(ceil(counts[-1] * _GROWTH), most))
        return cls(tuple(counts), confidence)

    @property
    def level(self) -> float:
        """Confidence of the interval of a single look."""
        return 1 - (1 - self.confidence) / len(self.counts)

    @property
    def most(self) -> int:
        """How many directions of each random kind there are at the last look."""
        return self.counts[-1]

    def counts_up_to(self, directions: int) -> tuple[int, ...]:
        """How many directions there were at each look, up to so many; none for no directions."""
        earlier = [count for count in self.counts if count < directions]
        return (*earlier, directions) if directions else ()

    def rounds(self, kinds: Sequence[str]) -> list[list[int]]:
        """Which directions are measured before each look.

        Those that are not random are measured in the first round.

        Args:
            kinds: The kind of each direction, as many of each random kind as the last look has.
        """
        rows = rows_by_kind(kinds, len(kinds))
        random = [found for kind, found in rows.items() if kind in RANDOM]
        fixed = [k for kind, found in rows.items() if kind not in RANDOM for k in found]
        if not random:
            return [fixed]
        rounds = [
            [k for found in random for k in found[start:stop]]
            for start, stop in pairwise((0, *self.counts))
        ]
        return [sorted([*rounds[0], *fixed]), *rounds[1:]]
