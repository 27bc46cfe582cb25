"""Relative error and cosine, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pytest_linearity.numerics.metrics.changes import cosine_similarity, relative_error


def pair(true: list[float], predicted: list[float]) -> tuple[float, float]:
    a, b = torch.tensor(true), torch.tensor(predicted)
    return float(relative_error(a, b)), float(cosine_similarity(a, b))


def test_figures_by_hand() -> None:
    assert pair([3.0, 4.0], [3.0, 4.0]) == (0.0, pytest.approx(1.0))
    assert pair([3.0, 4.0], [-3.0, -4.0]) == (2.0, pytest.approx(-1.0))
    assert pair([2.0, 0.0], [0.0, 1.0]) == (pytest.approx(math.sqrt(5) / 2), 0.0)


def test_both_changes_zero() -> None:
    assert pair([0.0, 0.0], [0.0, 0.0]) == (0.0, 1.0)


def test_only_the_true_change_zero_is_undefined() -> None:
    error, cosine = pair([0.0, 0.0], [1.0, 0.0])
    assert math.isinf(error)
    assert math.isnan(cosine)


def test_only_the_predicted_change_zero() -> None:
    assert pair([1.0, 0.0], [0.0, 0.0]) == (1.0, 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_marked(bad: float) -> None:
    assert all(math.isnan(figure) for figure in pair([bad, 1.0], [1.0, 1.0]))
    error, cosine = pair([1.0, 1.0], [bad, 1.0])
    assert not math.isfinite(error)
    assert not math.isfinite(cosine)


def test_tiny_changes_do_not_underflow() -> None:
    a = torch.tensor([3e-200, 4e-200], dtype=torch.float64)
    assert float(cosine_similarity(a, 2 * a)) == pytest.approx(1.0)
    assert float(relative_error(a, 2 * a)) == pytest.approx(1.0)
