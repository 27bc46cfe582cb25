"""The literal method: what one writes first, and what the engine is compared with."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import torch
from torch.func import functional_call, jvp

from pytest_linearity import Directions
from pytest_linearity.numerics.metrics.changes import cosine_similarity, relative_error
from tests.benchmarks.models import Work


def literal_seconds(
    work: Work, directions: Directions, radii: Sequence[float], pairs: int
) -> float:
    """Seconds that all (radius, direction) pairs would take, measured on the first few.

    The pairs do the same work each: directions are drawn beforehand and held in memory; then an
    in-place addition, a forward over all positions, an in-place subtraction, a forward, a JVP.
    """
    parameters = dict(work.model.named_parameters())
    chosen = list(itertools.islice(itertools.product(radii, range(directions.count)), pairs))
    drawn = {
        k: {n: directions.tensor(k, n) for n in directions.names} for k in {k for _, k in chosen}
    }
    started = time.perf_counter()
    for radius, k in chosen:
        delta = drawn[k]
        with torch.no_grad():
            for name, step in delta.items():
                parameters[name].add_(step, alpha=radius)
            moved = work.everywhere()
            for name, step in delta.items():
                parameters[name].sub_(step, alpha=radius)
            baseline = work.everywhere()
            point = {name: parameters[name] for name in delta}
            _, tangent = jvp(lambda values: _run(work, values), (point,), (delta,))
        relative_error(moved - baseline, radius * tangent)
        cosine_similarity(moved - baseline, radius * tangent)
    elapsed = time.perf_counter() - started
    return elapsed / len(chosen) * len(radii) * directions.count


def _run(work: Work, values: dict[str, torch.Tensor]) -> torch.Tensor:
    inputs = {"input_ids": work.ids, "use_cache": False}
    return functional_call(work.model, values, (), inputs).logits[:, -1]
