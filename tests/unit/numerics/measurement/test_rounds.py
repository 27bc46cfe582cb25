"""Directions drawn in rounds: those of a single run, until it is enough."""

from __future__ import annotations

from typing import Any

import torch

from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.measurement.measure import measure
from pytest_linearity.numerics.measurement.measurement import Measurement


class TestMeasure:
    def found(self, **keys: Any) -> Measurement:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
        prompts = torch.randn(4, 3)
        directions = Directions(model, count=6, kinds=("gaussian", "rademacher"))
        return measure(
            model, lambda: model(prompts.to(model[0].weight.dtype)), directions, [0.1], **keys
        )

    def test_rounds_find_what_a_single_one_does(self) -> None:
        whole = self.found()
        rounds = self.found(rounds=[[0, 1, 6, 7], [2, 8], [3, 4, 5, 9, 10, 11]])
        torch.testing.assert_close(rounds.relative_error, whole.relative_error, rtol=1e-4, atol=0)
        assert rounds.directions == whole.directions == tuple(range(12))
        assert rounds.kinds == whole.kinds
        # A round costs a baseline of its own, and nothing else.
        assert (whole.evaluations, rounds.evaluations) == (1 + 12 * 2, 3 + 12 * 2)
        assert (whole.evaluations_run, rounds.evaluations_run) == (1 + 12 * 2, 3 + 12 * 2)

    def test_it_ends_when_it_is_enough(self) -> None:
        seen: list[tuple[int, ...]] = []

        def enough(so_far: Measurement) -> bool:
            seen.append(so_far.directions)
            return len(so_far.directions) >= 6

        measured = self.found(rounds=[[0, 1, 6, 7], [2, 8], [3, 9], [4, 10]], enough=enough)
        assert seen == [(0, 1, 6, 7), (0, 1, 2, 6, 7, 8)]
        assert measured.directions == seen[-1]
        assert measured.kinds == ("gaussian",) * 3 + ("rademacher",) * 3
        whole = self.found()
        rows = list(measured.directions)
        torch.testing.assert_close(
            measured.relative_error, whole.relative_error[:, rows], rtol=1e-4, atol=0
        )

    def test_nobody_is_asked_after_the_last_round(self) -> None:
        def enough(so_far: Measurement) -> bool:
            raise AssertionError(so_far.directions)

        assert self.found(rounds=[list(range(12))], enough=enough).directions == tuple(range(12))

    def test_progress_grows_over_the_rounds(self) -> None:
        shares: list[float] = []
        self.found(rounds=[[0, 1], [2]], progress=lambda done, all_: shares.append(done / all_))
        assert shares == sorted(shares)
        assert shares[-1] == 1
