"""Which evaluations a pass takes, and which of them advance together within the memory there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from pytest_linearity.numerics.derivatives import steps
from pytest_linearity.numerics.lockstep.evaluation import Evaluation

Progress: TypeAlias = Callable[[int, int], None]
"""Told (done, total)."""


MEMORY_BUDGET = 4 << 30
"""Bytes that the activations of evaluations under way may take together."""


@dataclass(frozen=True)
class Wanted:
    """What a pass is to find out."""

    directions: tuple[int, ...]
    """Along which directions, ascending."""
    radii: tuple[float, ...]
    """Where the true change is measured."""
    derivatives: bool
    """Whether Jδ is; without, it must be known."""
    curvature: float | None = None
    """The step at which f''[δ, δ] is taken from two JVPs; None for none."""

    @property
    def per_direction(self) -> int:
        """Evaluations per direction and batch, but for those of central differences."""
        return len(self.radii) + self.derivatives + (2 if self.curvature is not None else 0)


def evaluation_bytes(tokens: int, widest: int, dtype: torch.dtype) -> int:
    """Bytes that memory is planned by for one suspended evaluation of a batch.

    Args:
        tokens: Tokens of the batch, padding included.
        widest: Inputs plus outputs of the widest linear layer, in features.
        dtype: Of the arithmetic.
    """
    return int(2 * tokens * widest * dtype.itemsize)


def grouped(
    sizes: Sequence[int], directions: Sequence[int], per_direction: int, budget: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Which batches and directions advance together, within a budget of memory.

    Args:
        sizes: Bytes of one evaluation, for each batch.
        directions: All directions.
        per_direction: Evaluations per direction.
        budget: In bytes.

    Yields:
        Indices of batches, and the directions that are measured on them.
    """
    ks = list(directions)
    group: list[int] = []
    used = 0
    for batch, size in enumerate(sizes):
        need = size * (1 + len(ks) * per_direction)
        if group and used + need > budget:
            yield group, ks
            group, used = [], 0
        if need > budget:
            at_once = max(1, budget // max(1, size * per_direction))
            for start in range(0, len(ks), at_once):
                yield [batch], ks[start : start + at_once]
            continue
        group.append(batch)
        used += need
    if group:
        yield group, ks


def evaluations_of(
    batch: int, ks: Sequence[int], wanted: Wanted, h: float | None
) -> Iterator[Evaluation]:
    """One baseline, and for each direction its derivatives and its steps."""
    at = sorted({*wanted.radii, *(steps(h) if h is not None else ())})
    yield Evaluation(batch)
    for k in ks:
        if wanted.derivatives and h is None:
            yield Evaluation(batch, k)
        if wanted.curvature is not None:
            yield from (Evaluation(batch, k, s * wanted.curvature, dual=True) for s in (1, -1))
        yield from (Evaluation(batch, k, step) for step in at)


_EVALUATIONS = 8
"""Evaluations of a batch per round, at least: each round has a baseline of its own, which so adds
an eighth at most, and what a round has under way is lost when it is killed."""


def portions(directions: Sequence[int], per_direction: int) -> Iterator[list[int]]:
    """Directions by round: as many together as journalling them makes worth while.

    The same whatever has happened before, as figures depend in their last digits on which
    evaluations run together.
    """
    at_once = -(-_EVALUATIONS // max(1, per_direction))
    for start in range(0, len(directions), at_once):
        yield list(directions[start : start + at_once])
