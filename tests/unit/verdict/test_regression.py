"""A report against a baseline: what is a regression, what is chance, and what is no pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats

from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.regression.compare import RadiusRegression, Regression, compare
from pytest_linearity.verdict.regression.pairing import (
    BaselineMismatch,
    require_same_inputs,
    require_same_keys,
)
from tests.support import kinds
from tests.support.paired import Errors, report


def compared(
    now: Errors, then: Errors, max_regression: float = 0.1, *, noise_floor: float | None = 1e-9
) -> RadiusRegression:
    """One radius, 0.3, of two reports."""
    reports = [report({0.3: errors}, noise_floor=noise_floor) for errors in (now, then)]
    return compare(*reports, max_regression).at(0.3)


def drawn(directions: int, prompts: int, mean: float, spread: float, seed: int = 0) -> Errors:
    random = np.random.default_rng(seed)
    errors: Errors = random.normal(mean, spread, (directions, prompts)).clip(1e-6).tolist()
    return errors


def shifted(errors: Errors, by: float | Sequence[float]) -> Errors:
    """Every direction's errors plus a number, or plus one of its own."""
    steps = [by] * len(errors) if isinstance(by, float) else by
    return [[error + step for error in row] for row, step in zip(errors, steps, strict=True)]


class TestInterval:
    @pytest.mark.parametrize("directions", [2, 3, 8, 40])
    def test_is_students_of_the_paired_differences(self, directions: int) -> None:
        then, now = drawn(directions, 5, 0.2, 0.05), drawn(directions, 5, 0.25, 0.05, seed=1)
        means = [np.mean(errors, axis=1) for errors in (now, then)]
        oracle = stats.ttest_rel(*means).confidence_interval(0.95)
        entry = compared(now, then)
        assert entry.interval == pytest.approx((oracle.low, oracle.high), rel=1e-9)
        assert entry.difference == pytest.approx(np.mean(now) - np.mean(then))
        assert entry.growth == pytest.approx(np.mean(now) / np.mean(then) - 1)

    def test_excludes_zero_exactly_where_the_test_is_significant(self) -> None:
        statuses = set()
        for seed in range(40):
            then = drawn(6, 3, 0.2, 0.03, seed)
            now = shifted(then, np.random.default_rng(seed).normal(0.03, 0.03, 6).tolist())
            entry = compared(now, then, 0.0)
            if entry.difference is not None and entry.difference > 0:
                p = stats.ttest_rel(np.mean(now, axis=1), np.mean(then, axis=1)).pvalue
                assert (entry.status == "regressed") == (p < 0.05), seed
                statuses.add(entry.status)
        assert statuses == {"regressed", "within chance"}

    def test_pairing_sees_what_the_spread_would_hide(self) -> None:
        # Directions differ by far more than the shift, which all of them share.
        then = [[0.1], [0.2], [0.4], [0.8]]
        now = shifted(then, [0.05, 0.055, 0.05, 0.045])
        assert compared(now, then).status == "regressed"
        unpaired = stats.ttest_ind([0.15, 0.255, 0.45, 0.845], [0.1, 0.2, 0.4, 0.8])
        assert unpaired.pvalue > 0.5

    def test_a_single_direction_has_none_and_its_growth_decides(self) -> None:
        entry = compared([[0.3, 0.3]], [[0.2, 0.2]])
        assert entry.interval is None
        assert entry.status == "regressed"
        assert "no interval from a single direction" in str(entry.reason)
        assert compared([[0.21, 0.21]], [[0.2, 0.2]]).passed

    def test_directions_that_agree_exactly(self) -> None:
        entry = compared([[0.5], [0.5]], [[0.25], [0.25]])
        assert entry.interval == (0.25, 0.25)
        assert entry.status == "regressed"


class TestStatus:
    @pytest.mark.parametrize(
        ("now", "max_regression", "status"),
        [
            (0.2, 0.1, "no worse"),
            (0.1, 0.1, "no worse"),
            (0.0, 0.1, "no worse"),
            (0.219, 0.1, "within limit"),
            (0.22, 0.1, "within limit"),
            (0.221, 0.1, "regressed"),
            (0.221, 0.2, "within limit"),
            (0.2001, 0.0, "regressed"),
            (0.2, 0.0, "no worse"),
        ],
    )
    def test_by_growth(self, now: float, max_regression: float, status: str) -> None:
        entry = compared([[now] * 2] * 3, [[0.2] * 2] * 3, max_regression)
        assert entry.status == status
        assert entry.passed == (status != "regressed")
        assert (entry.reason is None) == entry.passed

    def test_large_growth_within_chance(self) -> None:
        then = [[0.2]] * 4
        entry = compared([[0.1], [0.2], [0.3], [0.9]], then)
        assert entry.growth == pytest.approx(0.875)
        assert entry.status == "within chance"

    def test_growth_that_rounding_can_cause(self) -> None:
        then, now = [[0.0010]] * 3, [[0.0015]] * 3
        assert compared(now, then, noise_floor=3e-4).status == "within rounding"
        assert compared(now, then, noise_floor=2e-4).status == "regressed"
        assert compared(now, then, noise_floor=None).status == "regressed"

    def test_a_baseline_without_any_error(self) -> None:
        entry = compared([[0.3], [0.31]], [[0.0], [0.0]])
        assert entry.growth is None
        assert entry.status == "regressed"
        assert str(entry.reason).startswith("mean relative error 0.305 grew from the baseline's 0 ")
        assert compared([[0.0], [0.0]], [[0.0], [0.0]]).status == "no worse"

    def test_the_message_gives_both_figures(self) -> None:
        then = [[0.20, 0.22], [0.21, 0.25]]
        now = shifted(then, [0.09, 0.095])
        assert compared(now, then).reason == (
            "mean relative error 0.312 grew 42% over the baseline's 0.22 at r=0.3 "
            "(limit 10%; difference 0.0925, 95% interval [0.0607, 0.124])"
        )


class TestUndefinedPairs:
    def test_one_that_was_defined_is_a_regression(self) -> None:
        entry = compared([[0.1, None], [0.1, 0.1]], [[0.2, 0.2], [0.2, 0.2]])
        assert entry.status == "regressed"
        assert entry.reason == (
            "relative error undefined in 1 of 4 (direction, prompt) pairs at r=0.3 "
            "where the baseline's is defined"
        )

    def test_all_of_them(self) -> None:
        entry = compared([[None], [None]], [[0.2], [0.2]])
        assert (entry.status, entry.current, entry.interval) == ("regressed", None, None)

    def test_one_that_was_undefined_before_is_left_out(self) -> None:
        entry = compared([[0.2, 9.0], [0.2, 0.2]], [[0.2, None], [0.2, 0.2]])
        assert entry.status == "no worse"
        assert (entry.pairs, entry.undefined) == (3, 1)
        grown = compared([[0.4, 9.0], [0.4, None]], [[0.2, None], [0.2, None]])
        assert grown.status == "regressed"
        assert str(grown.reason).endswith("; 2 undefined pairs left out)")

    def test_a_direction_without_any_is_left_out(self) -> None:
        entry = compared([[0.2], [0.4], [None]], [[0.2], [0.4], [None]])
        assert (entry.baseline, entry.current) == pytest.approx((0.3, 0.3))

    def test_nothing_that_could_be_compared(self) -> None:
        entry = compared([[0.2], [None]], [[None], [None]])
        assert (entry.status, entry.passed) == ("not compared", True)
        assert (entry.difference, entry.growth, entry.reason) == (None, None, None)


class TestLinearityRadius:
    def regression(self, now: float | None, then: float | None) -> Regression:
        errors = {0.1: [[0.1]] * 2, 1.0: [[0.1]] * 2}
        reports = [replace(report(errors), linearity_radius=radius) for radius in (now, then)]
        return compare(*reports, 0.1)

    @pytest.mark.parametrize(
        ("now", "then", "fell"),
        [
            (1.0, 1.0, False),
            (1.0, 0.1, False),
            (1.0, None, False),
            (None, None, False),
            (0.1, 1.0, True),
            (None, 0.1, True),
        ],
    )
    def test_one_sided(self, now: float | None, then: float | None, fell: bool) -> None:
        regression = self.regression(now, then)
        assert regression.radius_fell is fell
        assert regression.passed is not fell
        assert (regression.radius_reason is None) is not fell

    def test_the_message_gives_both(self) -> None:
        assert self.regression(0.1, 1.0).radius_reason == (
            "linearity radius 0.1 fell below the baseline's 1.0"
        )
        assert self.regression(None, 0.1).radius_reason == (
            "linearity radius none fell below the baseline's 0.1"
        )

    def test_a_stricter_limit_is_no_regression(self) -> None:
        errors = {0.1: [[0.1]] * 2, 1.0: [[0.18]] * 2}
        strict, lax = report(errors, relerr_threshold=0.15), report(errors)
        assert (strict.linearity_radius, lax.linearity_radius) == (0.1, 1.0)
        regression = compare(strict, lax, 0.1)
        assert regression.passed
        assert (regression.baseline_radius, regression.rejudged) == (0.1, True)

    def test_a_laxer_limit_hides_none(self) -> None:
        then = report({0.1: [[0.1]] * 2, 1.0: [[0.25]] * 2})
        now = report({0.1: [[0.1]] * 2, 1.0: [[0.45]] * 2}, relerr_threshold=0.3)
        regression = compare(now, then, math.inf)
        assert (now.linearity_radius, then.linearity_radius) == (0.1, 0.1)
        assert regression.radius_reason == (
            "linearity radius 0.1 fell below the baseline's 1.0 (judged by this run's limits)"
        )

    def test_noise_above_the_new_limit(self) -> None:
        then = report({0.1: [[0.01]] * 2}, noise_floor=0.1)
        now = report({0.1: [[0.01]] * 2}, relerr_threshold=0.05, noise_floor=1e-9)
        assert compare(now, then, 0.1).baseline_radius is None


ERRORS = {0.1: [[0.1, 0.1]] * 2}


class TestMismatch:
    def refused(self, now: object, then: object) -> str:
        with pytest.raises(BaselineMismatch) as caught:
            compare(now, then, 0.1, name="old.json")  # type: ignore[arg-type]
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith("old.json: this baseline is not comparable: ")
        return message

    @pytest.mark.parametrize(
        ("keys", "mentioned"),
        [
            ({"seed": 7}, "seed: 42 here, 7 in the baseline"),
            ({"param_scope": "last_blocks:2"}, "param_scope: full here, last_blocks:2 in the"),
            (
                {"probes": {"digest": "x", "rows": []}},
                "probes: 2 prompts here, 0 prompts in the baseline",
            ),
            (
                {
                    "probes": {
                        "digest": "x",
                        "rows": [
                            {"dataset": "d", "row": 0, "hash": "hash0"},
                            {"dataset": "d", "row": 9, "hash": "other"},
                        ],
                    }
                },
                "probes: 1 of 2 prompts have other tokens (the first is row 1 of 'd')",
            ),
            (
                {"scope": {"digest": "other", "parameters": 5}},
                "names or shapes of the parameters in scope: 743808 in 3 tensors here, 5 in 3",
            ),
            (
                {"scope": {"directions": {"kind": "gradient"}}},
                "kind of directions: uniform on the unit sphere here, gradient in the baseline",
            ),
        ],
    )
    def test_names_what_differs(self, keys: dict[str, object], mentioned: str) -> None:
        then = report(ERRORS, **keys)  # type: ignore[arg-type]
        assert mentioned in self.refused(report(ERRORS), then)

    def test_other_radii(self) -> None:
        then = report({0.1: [[0.1, 0.1]] * 2, 0.5: [[0.1, 0.1]] * 2})
        message = self.refused(report(ERRORS), then)
        assert "radii: [0.1] here, [0.1, 0.5] in the baseline" in message

    def test_names_every_difference(self) -> None:
        then = report(ERRORS, seed=7, probes={"digest": "x", "rows": []})
        message = self.refused(report(ERRORS, param_scope="last_blocks:1"), then)
        assert all(part in message for part in ("seed", "param_scope", "probes: 2 prompts"))

    def test_a_baseline_without_pairs(self) -> None:
        message = self.refused(report(ERRORS), replace(report(ERRORS), pairs={}))
        assert "the baseline lacks the figures of single pairs at r=0.1" in message

        message = self.refused(replace(report(ERRORS), pairs={}), report(ERRORS))
        assert "this report lacks the figures of single pairs at r=0.1" in message

    def test_pairs_of_another_number(self) -> None:
        then = report({0.1: [[0.1, 0.1, 0.1]] * 2})
        message = self.refused(report(ERRORS), then)
        assert "prompts of a direction at r=0.1: 2 here, 3 in the baseline" in message

    def test_pairs_of_other_directions_than_it_says(self) -> None:
        kinds = [{"kind": "gaussian", "count": 3}]
        scope = {"directions": {"kind": "one", "kinds": kinds}}
        then, now = report(ERRORS, scope=scope), report({0.1: [[0.1, 0.1]] * 3}, scope=scope)
        message = self.refused(now, then)
        assert "the baseline has 2 directions at r=0.1, not 3" in message


class TestOtherNumberOfDirections:
    THEN: ClassVar = [[0.1], [0.2], [0.4]]

    def test_those_that_both_have_are_compared(self) -> None:
        now = [*shifted(self.THEN, [0.05, 0.055, 0.045]), [9.0], [9.0]]
        same = compared(now[:3], self.THEN)
        entry = compared(now, self.THEN)
        assert entry == same
        assert (entry.status, entry.pairs) == ("regressed", 3)
        assert compared(self.THEN, now).status == "no worse"

    def test_of_each_kind_by_itself(self) -> None:
        def of(gaussian: list[float], update: float) -> Report:
            errors = {"gaussian": {0.3: [[g] for g in gaussian]}, "update": {0.3: [[update]]}}
            return kinds.report(errors)

        regression = compare(of([0.1, 0.2, 0.3], 0.4), of([0.1, 0.2], 0.4), 0.1)
        assert [entry.difference for entry in regression.entries] == [0, 0]
        assert [entry.pairs for entry in regression.entries] == [2, 1]
        assert regression.directions == 2

    def test_the_linearity_radius_is_of_them_too(self) -> None:
        # Its mean over three directions keeps the limit, that over five does not.
        then = report({0.3: [[0.1], [0.2], [0.2]]})
        now = report({0.3: [[0.1], [0.2], [0.2], [0.9], [0.9]]})
        assert (then.linearity_radius, now.linearity_radius) == (0.3, None)
        regression = compare(now, then, 0.1)
        assert (regression.linearity_radius, regression.radius_fell) == (0.3, False)
        assert regression.basis == "judged on the 3 directions that both have"
        worse = report({0.3: [[0.3], [0.4], [0.4], [0.4]]})
        assert compare(worse, then, 0.1).radius_reason == (
            "linearity radius none fell below the baseline's 0.3 "
            "(judged on the 3 directions that both have)"
        )

    def test_a_confident_verdict_is_not_held_against_one_on_means(self) -> None:
        then = report({0.3: [[0.1], [0.2]]})
        now = replace(report({0.3: [[0.1], [0.2]]}, verdict="confident"), linearity_radius=None)
        assert not compare(now, then, 0.1).radius_fell

    def test_other_limits_precision_and_places_are_none(self) -> None:
        then = report(
            ERRORS,
            relerr_threshold=0.5,
            precision="float64",
            batch_size=1,
            output_dir="elsewhere",
            max_regression=0.5,
        )
        assert compare(report(ERRORS), then, 0.1).passed

    def test_what_is_known_before_measuring(self) -> None:
        then = report(ERRORS, seed=7)
        with pytest.raises(BaselineMismatch, match=r"old.json: .* seed: 42 here, 7 in the"):
            require_same_keys(report(ERRORS).config, then, "old.json")
        require_same_keys(then.config, then, "old.json")
        now = report(ERRORS)
        with pytest.raises(BaselineMismatch, match="2 prompts here, 0 prompts in the"):
            require_same_inputs(now.probes, now.scope, replace(now, probes={}), "old.json")
        with pytest.raises(BaselineMismatch, match="shapes of the parameters"):
            require_same_inputs(now.probes, {**now.scope, "digest": "x"}, now, "old.json")
        require_same_inputs(now.probes, now.scope, now, "old.json")
