"""Some of the (batch, direction) pairs, at some radii."""

from __future__ import annotations

from collections.abc import Iterable


class Pairs:
    """Pairs by what they may be of."""

    def __init__(
        self,
        radii: Iterable[float],
        directions: Iterable[int],
        batches: Iterable[int] | None = None,
    ) -> None:
        """Every batch where none are given."""
        self._radii = frozenset(radii)
        self._directions = frozenset(directions)
        self._batches = None if batches is None else frozenset(batches)

    def of(self, batch: int, direction: int) -> bool:
        """Whether a pair is one of them."""
        return direction in self._directions and (self._batches is None or batch in self._batches)

    def hold(self, radius: float, direction: int, batch: int) -> bool:
        """Whether it is at one of the radii, too."""
        return radius in self._radii and self.of(batch, direction)
