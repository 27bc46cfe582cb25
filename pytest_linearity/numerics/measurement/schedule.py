"""Which passes a measurement takes, which evaluations a pass, and which of them advance together.

The forecast of `pytest-linearity plan` counts by the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from pytest_linearity.numerics.derivatives import dual_step, steps
from pytest_linearity.numerics.lockstep.evaluation import Evaluation

Progress: TypeAlias = Callable[[int, int], None]
"""Told (done, total)."""


def share_of(progress: Progress | None, place: int, parts: int) -> Progress | None:
    """Progress of one of several equal parts, seen as part of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(place * total + done, parts * total)


MEMORY_BUDGET = 4 << 30
"""Bytes that the activations of evaluations under way may take together."""


@dataclass(frozen=True)
class Wanted:
    """What a pass is to find out, of every batch and along every one of its directions.

    The true change f(θ* + rδ) − f(θ*) at each radius takes an evaluation, Jδ a JVP (or as many
    evaluations as `derivatives.steps` has steps) and f''[δ, δ] two JVPs. What makes two passes of
    one is the arithmetic, in which all evaluations of a pass are computed.
    """

    exact: bool
    """Whether in float64; in float32 otherwise, or wider if the model is."""
    directions: tuple[int, ...]
    """Along which directions, ascending."""
    radii: tuple[float, ...]
    """Where the true change is measured."""
    derivatives: bool
    """Whether Jδ is; without, an earlier pass must have taken it."""
    difference: float | None = None
    """Largest step of the central differences that Jδ comes from; None for forward mode."""
    curvature: float | None = None
    """The step at which f''[δ, δ] is taken from two JVPs; None for none."""

    @property
    def duals(self) -> int:
        """JVPs per direction and batch in forward mode."""
        return self.derivatives + (2 if self.curvature is not None else 0)

    @property
    def per_direction(self) -> int:
        """Evaluations per direction and batch, but for those of central differences."""
        return len(self.radii) + self.duals

    @property
    def differences(self) -> tuple[float, ...]:
        """The steps along a direction whose evaluations give Jδ; none in forward mode."""
        if self.difference is None or not self.derivatives:
            return ()
        return steps(self.difference)


def passes_of(
    directions: Sequence[int],
    radii: Sequence[float],
    coarse: Container[float],
    *,
    second_order: bool = False,
    difference: float | None = None,
    only_exact: bool = False,
) -> list[Wanted]:
    """The passes that measure some directions for the first time, in their order.

    Derivatives are taken once, in the first and most exact pass: those in float64 serve float32
    radii, too, and central differences and second derivatives need it. A pass in float64 that no
    radius asks for is made for the latter two alone.

    Args:
        directions: Along which directions.
        radii: Where the true change is measured.
        coarse: Those that are measured in float32.
        second_order: Whether f''[δ, δ] is taken.
        difference: Largest step of central differences where forward mode does not work. They give
            second derivatives by the way.
        only_exact: Whether derivatives are to be taken in float64 whatever the radii get.
    """
    ks = tuple(sorted(directions))
    narrow = tuple(radius for radius in radii if radius in coarse)
    wide = tuple(radius for radius in radii if radius not in coarse)
    h = dual_step(min(radii)) if second_order and difference is None else None
    passes = []
    exact = bool(wide) or difference is not None or only_exact
    if exact:
        passes.append(Wanted(True, ks, wide, True, difference, h))
    if narrow:
        passes.append(Wanted(False, ks, narrow, derivatives=not passes))
    if h is not None and not exact:
        passes.append(Wanted(True, ks, (), derivatives=False, curvature=h))
    return passes


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


def evaluations_of(batch: int, ks: Sequence[int], wanted: Wanted) -> Iterator[Evaluation]:
    """One baseline, and for each direction its derivatives and its steps."""
    at = sorted({*wanted.radii, *wanted.differences})
    yield Evaluation(batch)
    for k in ks:
        if wanted.derivatives and wanted.difference is None:
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
