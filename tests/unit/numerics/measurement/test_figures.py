"""The store of all pairs: what it gives elsewhere, or at another time, is what it has."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.measurement.figures import Pairs, PairStore
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.registry import find_metric
from pytest_linearity.run.store.packing import pack, unpack

RADII = (0.1, 1.0)
CPU = torch.device("cpu")
GENERATOR = torch.Generator().manual_seed(0)


def failing(change: Tensor, predicted: Tensor, baseline: Tensor) -> Tensor:
    if change.norm() > 5:
        raise RuntimeError("too far")
    return change.norm(dim=-1)


METRICS = (find_metric("kl"), Metric("mine", "my metric", "of a test", failing))


def empty() -> PairStore:
    return PairStore(2, METRICS, lambda size, dtype: torch.full_like(size, 1e-3))


def random() -> Tensor:
    return torch.randn(3, 7, dtype=torch.float64, generator=GENERATOR)


@pytest.fixture
def store() -> PairStore:
    """Two batches of three prompts, two directions, two radii."""
    figures = empty()
    figures.directions = [0, 1]
    for batch in (0, 1):
        baseline = random()
        for k in (0, 1):
            figures.derivatives[batch, k] = random()
            figures.second_derivatives[batch, k] = random()
            for place, radius in enumerate(RADII):
                evaluation = Evaluation(batch, k, radius)
                change = radius * (figures.derivatives[batch, k] + 0.1 * radius * random())
                figures.add(evaluation, change, baseline)
                figures.add_flips(evaluation, 1 + batch + 2 * k + 4 * place, 0)
    return figures


def assert_same(one: PairStore, other: PairStore) -> None:
    for radius in RADII:
        assert torch.equal(one.change(radius), other.change(radius))
        assert one.flips(radius) == other.flips(radius)
        for ours, theirs in zip(one.values(radius), other.values(radius), strict=True):
            assert ours.metric == theirs.metric
            assert ours.failure == theirs.failure
            for a, b in ((ours.values, theirs.values), (ours.noise, theirs.noise)):
                assert (a is None) is (b is None)
                assert a is None or torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))
    assert torch.equal(one.curvature_ratio(), other.curvature_ratio())


def test_relative_error_and_cosine_similarity_come_first(store: PairStore) -> None:
    names = [entry.metric.name for entry in store.values(0.1)]
    assert names == ["relative_error", "cosine_similarity", "kl", "mine"]
    assert [entry.noise is None for entry in store.values(0.1)] == [True, True, False, False]
    assert all(entry.values.shape == (2, 6) for entry in store.values(0.1))


def test_flips_and_failures_are_those_of_their_radius(store: PairStore) -> None:
    assert [store.flips(radius) for radius in RADII] == [1 + 2 + 3 + 4, 5 + 6 + 7 + 8]
    assert [store.flips(radius, [1]) for radius in RADII] == [3 + 4, 7 + 8]
    near, far = (store.values(radius)[-1] for radius in RADII)
    assert near.failure is None
    assert far.failure == "mine raised RuntimeError: too far"
    kl = store.values(1.0)[2]
    assert kl.failure is None


def test_figures_go_through_a_file_in_parts(store: PairStore) -> None:
    other = empty()
    other.directions = [0, 1]
    for k in (1, 0):
        for batch in (0, 1):
            pairs = Pairs(RADII, [k], [batch])
            part = {**store.found(pairs), **store.vectors(pairs)}
            assert len(part["figures"]) == len(RADII)
            other.take_over(unpack(pack(part)), CPU)
    assert_same(store, other)
    for pair, vector in store.derivatives.items():
        assert torch.equal(other.derivatives[pair], vector)


def test_figures_alone_are_enough_for_another_rank(store: PairStore) -> None:
    other = empty()
    other.directions = [0, 1]
    other.take_over(store.found(Pairs(RADII, [0, 1])), CPU)
    assert_same(store, other)
    assert not other.derivatives


def test_only_the_pairs_that_are_asked_for(store: PairStore) -> None:
    part = store.found(Pairs([1.0], [1], [0]))
    assert list(part["figures"]) == [(0, 1, 1.0)]
    assert list(part["ratios"]) == [(0, 1)]
