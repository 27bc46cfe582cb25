"""Directions of several kinds, each judged by itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.verdict.document import RadiusFigures
from pytest_linearity.verdict.radius import judge_radius
from tests.support.figures import metric_values

LIMITS = Limits(0.2, 0.95)


def pairs(*rows: float) -> Tensor:
    return torch.tensor([[value, value] for value in rows], dtype=torch.float64)


class TestVerdict:
    KINDS = ("gaussian", "gaussian", "gaussian", "update")

    def judged(self, *errors: float, kinds: tuple[str, ...] = KINDS) -> RadiusFigures:
        error = pairs(*errors)
        return judge_radius(0.3, metric_values(error, 1 - error / 100), LIMITS, kinds=kinds)

    def test_a_kind_does_not_hide_behind_the_others(self) -> None:
        figures = self.judged(0.01, 0.01, 0.01, 0.5)
        assert figures.mean_relative_error == pytest.approx(0.1325)
        assert not figures.complies
        assert figures.reason == "update: mean relative error 0.50 > 0.20"
        assert [kind.complies for kind in figures.by_kind.values()] == [True, False]
        assert self.judged(0.01, 0.01, 0.01, 0.5, kinds=()).complies

    def test_all_that_break_a_limit_are_named(self) -> None:
        assert self.judged(0.3, 0.3, 0.3, 0.5).reason == (
            "gaussian: mean relative error 0.30 > 0.20; update: mean relative error 0.50 > 0.20"
        )

    def test_within_a_kind_it_is_the_mean_that_counts(self) -> None:
        figures = self.judged(0.01, 0.01, 0.5, 0.1)
        assert figures.complies
        assert figures.reason is None

    def test_an_undefined_kind_is_named(self) -> None:
        figures = self.judged(0.01, 0.01, 0.01, math.nan)
        assert figures.reason == (
            "update: logits are not finite in 2 of 2 (direction, prompt) pairs"
        )

    def test_one_kind_alone_gets_no_figures_of_its_own(self) -> None:
        figures = self.judged(0.01, 0.3, kinds=("gaussian", "gaussian"))
        assert not figures.by_kind
        assert "by_kind" not in figures.to_dict()
