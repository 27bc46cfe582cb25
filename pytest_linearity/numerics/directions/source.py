"""What the engine knows of directions, be they of one scope or of several at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from pytest_linearity.numerics.directions.parts import Part


class DirectionSource(Protocol):
    """What the engine knows of directions."""

    @property
    def scopes(self) -> Sequence[frozenset[str]]:
        """Canonical names of the parameters that some of the directions move, each set once."""

    def scope_of(self, k: int) -> int:
        """Which of `scopes` direction k moves."""

    def part(self, k: int, name: str) -> Part:
        """Direction k's part of one parameter in its scope."""


class JointDirections:
    """Directions of several scopes over one model; each moves the parameters of its own alone."""

    def __init__(self, members: Sequence[DirectionSource], counts: Sequence[int]) -> None:
        """The members' directions, numbered one after another.

        Args:
            members: The directions of each scope.
            counts: How many each has.
        """
        self._members = members
        self.offsets = [0, *accumulate(counts)]
        """Index of the first direction of each member, and the number of all."""
        self._scopes = [tuple(member.scopes) for member in members]
        self._first_scope = [0, *accumulate(map(len, self._scopes))]

    @property
    def scopes(self) -> tuple[frozenset[str], ...]:
        """The parameters of each scope."""
        return tuple(names for scopes in self._scopes for names in scopes)

    def scope_of(self, k: int) -> int:
        """Which of `scopes` direction k moves."""
        member, place = self._place(k)
        return self._first_scope[member] + self._members[member].scope_of(place)

    def part(self, k: int, name: str) -> Part:
        """Direction k's part of one parameter.

        Raises:
            KeyError: If the parameter is not in that direction's scope.
            IndexError: If there is no such direction.
        """
        member, place = self._place(k)
        return self._members[member].part(place, name)

    def _place(self, k: int) -> tuple[int, int]:
        """Whose direction it is, and which of that member's."""
        if not 0 <= k < self.offsets[-1]:
            raise IndexError(f"direction {k} of {self.offsets[-1]}")
        member = bisect_right(self.offsets, k) - 1
        return member, k - self.offsets[member]
