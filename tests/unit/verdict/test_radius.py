"""The verdict on a radius, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.verdict.passing import linearity_radius, passes
from pytest_linearity.verdict.radius import judge_radius
from tests.support.figures import metric_values

LIMITS = Limits(relative_error=0.20, cosine_similarity=0.95)


def judge(errors: list[float], cosines: list[float], **more: float) -> object:
    return judge_radius(
        1.0, metric_values(torch.tensor(errors), torch.tensor(cosines)), LIMITS, **more
    )


def test_mean_and_spread_over_all_pairs() -> None:
    figures = judge([0.1, 0.2, 0.15], [0.97, 0.99, 0.98])
    assert figures.mean_relative_error == pytest.approx(0.15)
    assert figures.std_relative_error == pytest.approx(math.sqrt((0.05**2 + 0.05**2) / 3))
    assert figures.mean_cosine_similarity == pytest.approx(0.98)
    assert figures.complies
    assert figures.reason is None


def test_the_largest_figures_have_a_mean_and_a_spread() -> None:
    cosines = torch.tensor([0.99, 0.99])
    errors = torch.tensor([1e300, 3e300], dtype=torch.float64)
    figures = judge_radius(1.0, metric_values(errors, cosines), LIMITS)
    assert figures.mean_relative_error == pytest.approx(2e300)
    assert figures.std_relative_error == pytest.approx(1e300)
    assert figures.reason == "mean relative error 2e+300 > 0.20"


def test_limits_themselves_comply() -> None:
    exactly = torch.tensor([0.20], dtype=torch.float64), torch.tensor([0.95], dtype=torch.float64)
    assert judge_radius(1.0, metric_values(*exactly), LIMITS).complies


def test_reasons_name_figure_and_limit() -> None:
    assert judge([0.31], [0.99]).reason == "mean relative error 0.31 > 0.20"
    assert judge([0.1], [0.9]).reason == "mean cosine similarity 0.90 < 0.95"
    both = judge([0.31], [0.9]).reason
    assert both == "mean relative error 0.31 > 0.20, mean cosine similarity 0.90 < 0.95"
    assert judge([0.2004], [0.99]).reason == "mean relative error 0.2004 > 0.2000"


def test_undefined_pairs_fail_their_radius_and_leave_no_nan() -> None:
    still = judge([math.inf, 0.1], [math.nan, 0.99])
    assert "undefined in 1 of 2" in still.reason
    broken = judge([math.nan, 0.1], [math.nan, 0.99])
    assert "not finite in 1 of 2" in broken.reason
    for figures in (still, broken):
        assert not figures.complies
        assert figures.mean_relative_error is None
        assert figures.mean_cosine_similarity is None


def test_a_verdict_below_the_noise_is_no_verdict() -> None:
    figures = judge([0.1], [0.99], noise_floor=0.3)
    assert not figures.complies
    assert "rounding alone" in figures.reason


def test_linearity_radius_and_pass() -> None:
    def at(radius: float, error: float) -> object:
        return judge_radius(
            radius, metric_values(torch.tensor([error]), torch.tensor([0.99])), LIMITS
        )

    radii = [at(0.1, 0.01), at(0.3, 0.1), at(1.0, 0.4)]
    assert linearity_radius(radii) == 0.3
    assert linearity_radius([at(0.1, 0.5)]) is None
    assert not passes(radii, None)
    assert passes(radii, 0.3)
    assert passes(radii, 0.1)
    assert not passes(radii, 0.5)
    assert not passes([at(0.1, 0.5), at(0.3, 0.1)], 0.3)
    assert passes(radii[:2], None)
