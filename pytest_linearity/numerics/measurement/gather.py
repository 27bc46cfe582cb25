"""A pass on several ranks: each measures its directions, and all get the figures of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pytest_linearity.numerics.measurement.figures import Pairs, PairStore
from pytest_linearity.numerics.measurement.layers import LayerFigures
from pytest_linearity.numerics.ranks import ProcessGroup, is_single, on_all_ranks


def gather(
    group: ProcessGroup,
    run: Callable[[], int],
    figures: PairStore,
    layers: LayerFigures | None,
    radii: Sequence[float],
    directions: Sequence[int],
    device: torch.device,
) -> int:
    """Run this rank's part of a pass, and take in what the others have found.

    Figures are exchanged, a few numbers per pair; the derivatives that they are made of stay with
    the rank that has them, which measures the same directions in every pass.

    Args:
        group: The ranks.
        run: Runs this rank's part; returns how many evaluations that took.
        figures: Where its figures are, and all are to be.
        layers: Those of hidden states.
        radii: At which radii the pass measures.
        directions: Along which directions this rank does.
        device: Where vectors live.

    Returns:
        How many evaluations the pass took on all ranks.

    Raises:
        LinearityError: As `on_all_ranks`.
    """
    if is_single(group):
        return run()
    kept = Pairs(radii, directions)

    def part() -> tuple[int, list[dict[str, object]]]:
        evaluations = run()
        return evaluations, [store.found(kept) for store in (figures, layers) if store is not None]

    at = ", ".join(map(str, radii))
    parts = on_all_ranks(group, f"measuring at r = {at}", part)
    for rank, (_, by_store) in enumerate(parts):
        for store, theirs in zip((figures, layers), by_store, strict=False):
            if store is not None and rank != group.rank:
                store.take_over(theirs, device)
    return sum(evaluations for evaluations, _ in parts)
