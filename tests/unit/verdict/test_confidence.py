"""Intervals of means over directions, and how often a gate that draws until it is sure is wrong.

The spread is that of the arithmetic checkpoints in `examples/`: the means over the 16 prompts of
each of 256 directions (`num_directions: 256`, `precision: float32`, seed 42) have

    checkpoint  r    mean ε   s/mean  skewness   mean 1 − c  s/mean  skewness
    healthy     3.0  0.0961   0.144   0.60       0.0050      0.41    1.99
    anomalous   1.0  0.3427   0.195   0.60       0.0578      0.46    1.02

and almost the same at the smaller radii, where only the means are smaller; the largest skewness of
ε at any radius is 0.68, of c it is 1.99, the largest relative spreads are 0.195 and 0.48.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from pytest_linearity.config.sampling import SamplingPlan
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.verdict.confidence import mean_interval
from pytest_linearity.verdict.radius import judge_radius
from pytest_linearity.verdict.standing import Certainty
from tests.support.figures import metric_values

Draws = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Draws]

LOOKS = SamplingPlan.planned(2, 64, 0.95)
LIMITS = Limits(relative_error=0.2, cosine_similarity=0.95)
ERROR_SPREAD, COSINE_SPREAD = 0.195, 0.48
GATES = 300


def _normal(random: np.random.Generator, shape: tuple[int, int]) -> Draws:
    return random.standard_normal(shape)


def _skewed(skewness: float) -> Draw:
    """Gamma draws of this skewness, as ε's are; mean 0 and standard deviation 1."""
    shape_parameter = 4 / skewness**2

    def draw(random: np.random.Generator, shape: tuple[int, int]) -> Draws:
        draws = random.gamma(shape_parameter, size=shape)
        return (draws - shape_parameter) / math.sqrt(shape_parameter)

    return draw


SHAPES: dict[str, Draw] = {
    "normal": _normal,
    "as ε": _skewed(0.68),
    "as c near its limit": _skewed(1.02),
    "as c far from its limit": _skewed(1.99),
}


class TestInterval:
    @pytest.mark.parametrize("count", [2, 3, 8, 64])
    @pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99999])
    def test_is_students(self, count: int, confidence: float) -> None:
        values = np.random.default_rng(count).normal(0.2, 0.05, count)
        oracle = stats.ttest_1samp(values, 0).confidence_interval(confidence)
        interval = mean_interval(values.tolist(), confidence)
        assert interval == pytest.approx((oracle.low, oracle.high), rel=1e-9)

    def test_digits_are_kept_where_it_is_almost_certain(self) -> None:
        low, high = mean_interval([1.0, 2.0, 3.0], 1 - 1e-12) or (0, 0)
        half = stats.t.isf(5e-13, 2) / math.sqrt(3)
        assert (high - low) / 2 == pytest.approx(half, rel=1e-3)

    @pytest.mark.parametrize("values", [[], [0.3], [0.3, math.nan], [0.3, math.inf]])
    def test_none(self, values: list[float]) -> None:
        assert mean_interval(values, 0.95) is None

    def test_figures_whose_squares_overflow(self) -> None:
        low, high = mean_interval([1e200, 3e200], 0.95) or (0, 0)
        small = stats.ttest_1samp([1.0, 3.0], 0).confidence_interval(0.95)
        assert (low / 1e200, high / 1e200) == pytest.approx((small.low, small.high), rel=1e-9)
        for none in ([1.7e308, 1.7e308], [1.7e308, -1.7e308]):
            assert mean_interval(none, 0.95) is None

    def test_a_level_that_was_rounded_to_one(self) -> None:
        """An interval without ends could not be written as JSON."""
        looks = SamplingPlan.planned(2, 64, math.nextafter(1, 0))
        assert looks.level == 1
        low, high = mean_interval([1.0, 2.0], looks.level) or (0, 0)
        assert -1e18 < low < -1e12 < 1e12 < high < 1e18
        assert mean_interval([1.0, 1.0], looks.level) == (1.0, 1.0)

    def test_directions_that_agree(self) -> None:
        assert mean_interval([0.25, 0.25], 0.95) == (0.25, 0.25)

    def test_prompts_first(self) -> None:
        # Prompts are fixed: their spread says nothing about other directions.
        errors = torch.tensor([[0.0, 0.4], [0.1, 0.3], [0.2, 0.2]], dtype=torch.float64)
        interval = Certainty(0.95, 0.95).interval(errors, (0.0, math.inf))
        assert interval == pytest.approx((0.2, 0.2))

    def test_stays_where_a_mean_can_be(self) -> None:
        values = torch.tensor([[0.9], [0.1]], dtype=torch.float64)
        assert Certainty(0.95, 0.95).interval(values, (0.0, 1.0)) == (0.0, 1.0)

    def test_all_looks_hold_the_true_mean_together(self) -> None:
        rows = np.random.default_rng(1).standard_normal((1500, LOOKS.most))
        held = []
        for row in rows:
            intervals = [mean_interval(row[:count].tolist(), LOOKS.level) for count in LOOKS.counts]
            held.append(all(ends is not None and ends[0] <= 0 <= ends[1] for ends in intervals))
        assert np.mean(held) >= 0.95


@dataclass(frozen=True)
class Outcome:
    """What became of a gate."""

    directions: int
    settled: bool
    complies: bool


def drawn_until_settled(errors: Draws, cosines: Draws, level: float = LOOKS.level) -> Outcome:
    """A gate of one prompt, given its figures along all directions: the rounds of a real one."""
    certainty = Certainty(LOOKS.confidence, level)
    error, cosine = (torch.from_numpy(values)[:, None] for values in (errors, cosines))
    for count in LOOKS.counts:
        figures = judge_radius(
            1.0, metric_values(error[:count], cosine[:count]), LIMITS, certainty=certainty
        )
        if not figures.inconclusive:
            return Outcome(count, True, figures.complies)
    return Outcome(count, False, figures.complies)


def far_from(limit: float, distance: float, spread: float) -> float:
    """The mean that lies so many of its own standard deviations above a limit."""
    return limit / (1 - distance * spread)


def gates(metric: str, distance: float, shape: str, seed: int) -> list[tuple[Draws, Draws]]:
    """Figures of gates with a known mean, in standard deviations beyond the limit."""
    draws = SHAPES[shape](np.random.default_rng(seed), (GATES, LOOKS.most))
    if metric == "ε":
        mean = far_from(LIMITS.relative_error, distance, ERROR_SPREAD)
        errors = mean * (1 + ERROR_SPREAD * draws)
        return [(row, np.ones_like(row)) for row in errors]
    mean = far_from(1 - LIMITS.cosine_similarity, distance, COSINE_SPREAD)
    cosines = 1 - mean * (1 + COSINE_SPREAD * draws)
    return [(np.zeros_like(row), row) for row in cosines]


DISTANCES = (-8.0, -2.0, -0.5, -0.1, 0.1, 0.5, 2.0)
"""In standard deviations of one direction: the healthy checkpoint lies 7.5 below the limit at its
largest radius, the anomalous one 2.1 above it at its radius of 1; others are harder."""


class TestSimulation:
    """7500 gates, each with the true verdict known.

    t takes means over directions for normal. Those of ε are near enough. Those of c lean the more
    to one side the smaller 1 − c is; near a limit at 0.95 they do as on the anomalous checkpoint.
    """

    @pytest.mark.parametrize(
        ("metric", "shape", "distances"),
        [
            ("ε", "normal", DISTANCES),
            ("ε", "as ε", DISTANCES),
            ("c", "as c near its limit", DISTANCES),
            ("c", "as c far from its limit", (-8.0, -2.0, -1.0, 2.0)),
        ],
    )
    def test_wrong_verdicts_are_as_rare_as_stated(
        self, metric: str, shape: str, distances: tuple[float, ...]
    ) -> None:
        for seed, distance in enumerate(distances):
            outcomes = [drawn_until_settled(*g) for g in gates(metric, distance, shape, seed)]
            wrong = np.mean([o.settled and o.complies is (distance > 0) for o in outcomes])
            used = np.mean([o.directions for o in outcomes])
            settled = np.mean([o.settled for o in outcomes])
            assert wrong <= 1 - LOOKS.confidence, distance
            if abs(distance) >= 0.5:
                assert settled > 0.85, distance
            assert used < {8.0: 5, 2.0: 9, 1.0: 18, 0.5: 48, 0.1: 64}[abs(distance)], distance

    def test_without_a_correction_they_are_not(self) -> None:
        outcomes = [
            drawn_until_settled(*gate, level=LOOKS.confidence)
            for gate in gates("ε", 0.1, "as ε", seed=4)
        ]
        assert np.mean([o.settled and o.complies for o in outcomes]) > 1 - LOOKS.confidence

    def test_two_limits_and_several_looks(self) -> None:
        """Both metrics just within their limits, moved by the same chance."""
        draws = SHAPES["as ε"](np.random.default_rng(9), (GATES, LOOKS.most))
        mean = far_from(LIMITS.relative_error, -0.1, ERROR_SPREAD)
        angle = far_from(1 - LIMITS.cosine_similarity, -0.1, COSINE_SPREAD)
        errors = mean * (1 + ERROR_SPREAD * draws)
        cosines = 1 - angle * (1 + COSINE_SPREAD * draws)
        outcomes = [drawn_until_settled(*gate) for gate in zip(errors, cosines, strict=True)]
        assert np.mean([o.settled and not o.complies for o in outcomes]) <= 1 - LOOKS.confidence
