"""The tail: linear layers of which only the last tokens' rows can reach the logits.

After the last attention every token goes its own way, and all but the last of each prompt go
nowhere. Which layers these are is not guessed from an architecture: the rows left out hold NaN, so
that a row somebody needs after all makes the logits NaN, and never wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


class TailMismatch(Exception):
    """Logits are not finite where rows were left out: take all rows, and see."""


class Site(NamedTuple):
    """One use of a linear layer in a forward."""

    name: str
    """Canonical name of the matrix."""
    start: int
    """First of its rows that are used."""
    use: int
    """How often the forward had used these rows before."""


@dataclass(frozen=True)
class Tail:
    """What one batch may leave out."""

    needed: Tensor
    """bool Tensor [tokens]: whether a token's logits are looked at."""
    sites: frozenset[Site] = frozenset()
    """Where only needed tokens matter."""

    def rows(self, site: Site, count: int) -> Tensor | None:
        """The rows to compute of a product with `count` rows, int64 Tensor; None for all."""
        if site not in self.sites or count != len(self.needed):
            return None
        return self.needed.nonzero().flatten()


@dataclass(frozen=True)
class SiteLog(Tail):
    """Leaves nothing out, and notes where something could be."""

    seen: dict[Site, None] = field(default_factory=dict)
    """Sites whose products have a row for every token, in the order of the forward."""

    def rows(self, site: Site, count: int) -> Tensor | None:
        """All rows; but now the site is known."""
        if count == len(self.needed):
            self.seen[site] = None
        return None


def spread(part: Tensor, rows: Tensor | None, count: int) -> Tensor:
    """Put rows where they belong among `count`; all others hold NaN.

    Args:
        part: Float Tensor [rows, width].
        rows: Where they go, int64 Tensor [rows]; None if `part` has all rows.
        count: Rows of the result.
    """
    if rows is None:
        return part
    whole = part.new_full((count, part.shape[1]), torch.nan)
    return whole.index_copy_(0, rows.to(part.device), part)
