"""What an interval does to the verdict on a radius, and what people are told of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from pytest_linearity.numerics.measurement.limits import Limits, undecided
from pytest_linearity.numerics.metrics.registry import find_metric
from pytest_linearity.numerics.metrics.values import MetricValues
from pytest_linearity.verdict.document import RadiusFigures
from pytest_linearity.verdict.radius import judge_radius
from pytest_linearity.verdict.standing import Certainty
from tests.support.figures import metric_values

LIMITS = Limits(relative_error=0.2, cosine_similarity=0.95)
MEAN = Certainty(0.95, 0.95)
CONFIDENT = Certainty(0.95, 0.95, required=True)

WITHIN, BEYOND = [0.10, 0.11, 0.12], [0.30, 0.31, 0.32]
BELOW, ABOVE = [0.15, 0.19, 0.23], [0.17, 0.21, 0.25]
"""Means on either side of the limit, which their intervals hold."""


def judged(
    errors: Sequence[float],
    certainty: Certainty | None,
    cosines: Sequence[float] = (0.99, 0.991, 0.992),
    **more: object,
) -> RadiusFigures:
    values = (torch.tensor(v, dtype=torch.float64)[:, None] for v in (errors, cosines))
    return judge_radius(1.0, metric_values(*values), LIMITS, certainty=certainty, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("errors", "mean", "confident", "inconclusive"),
    [
        (WITHIN, True, True, False),
        (BELOW, True, False, True),
        (ABOVE, False, False, True),
        (BEYOND, False, False, False),
    ],
)
def test_the_four_cases(
    errors: list[float], mean: bool, confident: bool, inconclusive: bool
) -> None:
    for certainty, complies in ((None, mean), (MEAN, mean), (CONFIDENT, confident)):
        figures = judged(errors, certainty)
        assert figures.complies is complies
        assert figures.inconclusive is (inconclusive and certainty is not None)
        assert (figures.interval_relative_error is None) is (certainty is None)


def test_reasons_on_the_mean() -> None:
    assert judged(BELOW, MEAN).reason is None
    assert judged(ABOVE, MEAN).reason == (
        "mean relative error 0.21 > 0.20 (inconclusive: 95% interval [0.11, 0.31])"
    )
    assert judged(BEYOND, MEAN).reason == "mean relative error 0.31 > 0.20"


def test_reasons_say_whether_the_limit_is_broken_or_directions_are_needed() -> None:
    assert judged(BEYOND, CONFIDENT).reason == (
        "mean relative error 0.31 > 0.20 (limit broken: 95% interval [0.29, 0.33])"
    )
    for errors, mean in ((BELOW, "0.19"), (ABOVE, "0.21")):
        reason = str(judged(errors, CONFIDENT).reason)
        assert reason.startswith(
            f"more directions are needed to tell mean relative error {mean} from 0.20 (95% inter"
        )


def test_no_doubt_about_one_limit_where_the_other_is_surely_broken() -> None:
    figures = judged(BELOW, CONFIDENT, [0.80, 0.81, 0.82])
    assert (figures.complies, figures.inconclusive) == (False, False)
    assert str(figures.reason).startswith("mean cosine similarity 0.81 < 0.95 (limit broken: 95%")
    assert "more directions" not in str(figures.reason)
    assert judged(ABOVE, MEAN, [0.80, 0.81, 0.82]).reason == (
        "mean relative error 0.21 > 0.20, mean cosine similarity 0.81 < 0.95"
    )


def test_both_limits_must_be_kept_for_sure() -> None:
    figures = judged(WITHIN, CONFIDENT, [0.94, 0.96, 0.98])
    assert (figures.complies, figures.inconclusive) == (False, True)
    assert "mean cosine similarity 0.96 from 0.95" in str(figures.reason)


def test_intervals_that_touch_a_limit_keep_it() -> None:
    half = torch.full((3, 1), 0.5, dtype=torch.float64)
    figures = judge_radius(1.0, metric_values(half, half), Limits(0.5, 0.5), certainty=CONFIDENT)
    assert (figures.complies, figures.inconclusive) == (True, False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_undefined_pairs_fail_as_before(value: float) -> None:
    plain, sure = (judged([0.1, value, 0.1], certainty) for certainty in (None, CONFIDENT))
    assert (sure.complies, sure.inconclusive, sure.reason) == (False, False, plain.reason)
    assert sure.interval_relative_error is None


def test_more_directions_do_not_help_against_rounding() -> None:
    figures = judged(BELOW, CONFIDENT, noise_floor=0.5)
    assert (figures.complies, figures.inconclusive) == (False, False)
    assert str(figures.reason).startswith("rounding alone causes")


def test_a_single_direction_is_judged_by_its_mean() -> None:
    figures = judged([0.19], CONFIDENT, [0.99])
    assert (figures.complies, figures.inconclusive, figures.interval_relative_error) == (
        True,
        False,
        None,
    )


def test_what_rounding_has_to_do_with_it_is_said_where_it_is_much() -> None:
    reason = "mean relative error 0.31 > 0.20"
    assert judged(BEYOND, MEAN, noise_floor=0.03).reason == reason
    assert judged(BEYOND, MEAN, noise_floor=0.032, precision="float64").reason == (
        f"{reason} (of which rounding in float64 alone causes 0.032)"
    )


@pytest.mark.parametrize(("distance", "open_"), [(0.014, True), (0.016, False)])
def test_rounding_leaves_open_what_it_could_turn(distance: float, open_: bool) -> None:
    """At ε = 0.5 a relative error of 0.01 from rounding moves ε by 0.015 at most."""
    error, cosine, floor = torch.tensor([[[0.5]], [[0.9]], [[0.01]]], dtype=torch.float64)
    for limit in (0.5 - distance, 0.5 + distance):
        assert undecided(metric_values(error, cosine), floor, Limits(limit, 0.0)) is open_


@pytest.mark.parametrize(("turn", "open_"), [(0.0099, True), (0.0101, False)])
def test_rounding_leaves_open_a_change_that_it_could_turn(turn: float, open_: bool) -> None:
    error, cosine, floor = torch.tensor([[[0.0]], [[0.9]], [[0.01]]], dtype=torch.float64)
    for angle in (math.acos(0.9) - turn, math.acos(0.9) + turn):
        assert undecided(metric_values(error, cosine), floor, Limits(0.5, math.cos(angle))) is open_


class TestFurtherMetrics:
    def judged(self, kl: Sequence[float], certainty: Certainty) -> RadiusFigures:
        values = torch.tensor(kl, dtype=torch.float64)[:, None]
        metric = MetricValues(find_metric("kl"), values, torch.zeros_like(values), None)
        limits = replace(LIMITS, metrics={"kl": 0.2})
        values = (torch.tensor(v, dtype=torch.float64)[:, None] for v in (WITHIN, [0.99] * 3))
        return judge_radius(1.0, metric_values(*values, metric), limits, certainty=certainty)

    def test_take_part(self) -> None:
        assert self.judged(WITHIN, CONFIDENT).complies
        assert self.judged(BELOW, MEAN).complies
        assert self.judged(BELOW, MEAN).inconclusive
        figures = self.judged(BELOW, CONFIDENT)
        assert not figures.complies
        assert "more directions are needed to tell mean kl 0.19 from 0.20" in str(figures.reason)
        assert figures.metrics["kl"].interval == pytest.approx((0.0906, 0.2894), abs=1e-3)
        assert not figures.metrics["kl"].complies
        assert not self.judged(BEYOND, MEAN).inconclusive


class TestKinds:
    KINDS = ("gaussian",) * 3 + ("layerwise",) * 3 + ("update",)

    def judged(
        self, gaussian: list[float], layerwise: list[float], update: float, certainty: Certainty
    ) -> RadiusFigures:
        errors = [*gaussian, *layerwise, update]
        return judged(errors, certainty, [0.99] * 7, kinds=self.KINDS)

    def test_each_is_a_sample_of_its_own(self) -> None:
        figures = self.judged(WITHIN, BELOW, 0.1, MEAN)
        assert figures.interval_relative_error is None
        assert figures.by_kind["gaussian"].interval_relative_error == pytest.approx(
            (0.0852, 0.1348), abs=1e-3
        )
        assert figures.by_kind["update"].interval_relative_error is None
        assert [kind.inconclusive for kind in figures.by_kind.values()] == [False, True, False]
        assert (figures.complies, figures.inconclusive) == (True, True)

    def test_confident(self) -> None:
        figures = self.judged(WITHIN, BELOW, 0.1, CONFIDENT)
        assert not figures.complies
        assert str(figures.reason).startswith("layerwise: more directions are needed")
        assert self.judged(WITHIN, WITHIN, 0.19, CONFIDENT).complies

    @pytest.mark.parametrize("certainty", [MEAN, CONFIDENT])
    def test_more_directions_do_not_help_against_rounding(self, certainty: Certainty) -> None:
        errors = [*WITHIN, *BELOW, 0.1]
        figures = judged(errors, certainty, [0.99] * 7, kinds=self.KINDS, noise_floor=0.5)
        assert not figures.by_kind["layerwise"].inconclusive
        assert (figures.complies, figures.inconclusive) == (False, False)
        assert str(figures.reason).count(": rounding alone causes") == 3

    def test_each_must_keep_the_limits_of_further_metrics(self) -> None:
        """The mean over all of them does."""
        errors, cosines, values = (
            torch.tensor(v, dtype=torch.float64)[:, None]
            for v in ([0.1] * 7, [0.99] * 7, [0.1] * 3 + [0.3] * 3 + [0.1])
        )
        metric = MetricValues(find_metric("kl"), values, torch.zeros_like(values), None)
        limits = replace(LIMITS, metrics={"kl": 0.2})
        figures = judge_radius(
            1.0, metric_values(errors, cosines, metric), limits, kinds=self.KINDS
        )
        assert figures.metrics["kl"].complies
        assert not figures.complies
        assert figures.reason == "layerwise: mean kl 0.30 > 0.20"

    def test_a_fixed_direction_beyond_the_limit_settles_it(self) -> None:
        figures = self.judged(WITHIN, BELOW, 0.3, CONFIDENT)
        assert (figures.complies, figures.inconclusive) == (False, False)
        assert figures.reason == "update: mean relative error 0.30 > 0.20"
