"""Directions drawn in rounds: those of a single run, until it is enough, counted honestly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Write

from pytest_linearity.analysis import Analysis, analyze
from pytest_linearity.config import Config
from pytest_linearity.directions import Directions
from pytest_linearity.measurement import Measurement, measure
from pytest_linearity.report.document import Report

RADII = (0.01, 3.0)
GATE = "--linearity-config=gate.yaml"


@pytest.fixture(scope="module")
def make(tiny_checkpoint: Path) -> Any:
    def make(**keys: Any) -> Config:
        small = {"prompts": ("1+1=", "The sky is"), "radii": RADII, "precision": "float64"}
        return Config(model_name_or_path=str(tiny_checkpoint), **{**small, **keys})

    return make


@pytest.fixture(scope="module")
def open_limit(make: Any) -> float:
    """The mean relative error along eight directions: two or three will not tell it from others."""
    return float(analyze(make(num_directions=8)).at(3.0).mean_relative_error or 0)


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

    def test_it_ends_when_it_is_enough(self) -> None:
        seen: list[tuple[int, ...]] = []

        def enough(so_far: Measurement) -> bool:
            seen.append(so_far.directions)
            return len(so_far.directions) >= 6

        found = self.found(rounds=[[0, 1, 6, 7], [2, 8], [3, 9], [4, 10]], enough=enough)
        assert seen == [(0, 1, 6, 7), (0, 1, 2, 6, 7, 8)]
        assert found.directions == seen[-1]
        assert found.kinds == ("gaussian",) * 3 + ("rademacher",) * 3
        whole = self.found()
        rows = list(found.directions)
        torch.testing.assert_close(
            found.relative_error, whole.relative_error[:, rows], rtol=1e-4, atol=0
        )

    def test_nobody_is_asked_after_the_last_round(self) -> None:
        def enough(so_far: Measurement) -> bool:
            raise AssertionError(so_far.directions)

        assert self.found(rounds=[list(range(12))], enough=enough).directions == tuple(range(12))

    def test_progress_grows_over_the_rounds(self) -> None:
        told: list[float] = []
        self.found(rounds=[[0, 1], [2]], progress=lambda done, all_: told.append(done / all_))
        assert told == sorted(told)
        assert told[-1] == 1


class TestRun:
    def test_easy_limits_need_few(self, make: Any) -> None:
        report = analyze(
            make(num_directions={"min": 4, "max": 12}, relerr_threshold=100, cos_threshold=-0.9999)
        )
        assert report.sampling is not None
        assert (report.sampling.directions, report.sampling.rounds) == (4, (4,))
        assert report.sampling.planned == (4, 7, 12)
        assert report.sampling.settled == RADII
        assert report.scope["directions"]["count"] == 4
        assert len(report.pairs["3.0"]["relative_error"]) == 4

    def test_a_limit_at_the_mean_needs_all(self, make: Any, open_limit: float) -> None:
        keys = {"relerr_threshold": open_limit, "cos_threshold": -1}
        report = analyze(make(num_directions={"min": 2, "max": 8}, **keys))
        assert report.sampling is not None
        assert report.sampling.rounds == report.sampling.planned == (2, 4, 7, 8)
        assert report.at(3.0).inconclusive
        assert report.sampling.settled == (0.01,)
        fixed = analyze(make(num_directions=8, **keys))
        assert [f.complies for f in report.radii] == [f.complies for f in fixed.radii]
        wide, narrow = (r.at(3.0).interval_relative_error or (0, 0) for r in (report, fixed))
        assert wide[0] < narrow[0] < narrow[1] < wide[1]
        again = Report.from_dict(json.loads(json.dumps(report.to_dict())))
        assert again == report

    def test_with_everything_else(self, make: Any) -> None:
        config = make(
            num_directions={"min": 2, "max": 3},
            directions=("gaussian", "gradient"),
            second_order=True,
            refine=True,
            layer_profile=True,
            metrics=("kl",),
            radii=(0.01, 30.0),
            confidence=0.999,
        )
        analysis = Analysis(config)
        report = analysis.report
        assert report.sampling is not None
        assert analysis.measurement.kinds == ("gaussian",) * report.sampling.directions + (
            "gradient",
        )
        counts = [kind["count"] for kind in report.scope["directions"]["kinds"]]
        assert counts == [report.sampling.directions, 1]
        assert len(report.second_order.curvature_ratio) == sum(counts)  # type: ignore[union-attr]
        assert report.layers is not None


def test_the_gate_and_every_report(
    pytester: pytest.Pytester, real_config: Write, open_limit: float
) -> None:
    """An inconclusive radius: passed or failed by the mean, failed by a confident verdict."""
    real_config(
        radii=[0.01, 3.0],
        num_directions={"min": 2, "max": 4},
        relerr_threshold=open_limit,
        cos_threshold=-1,
        precision="float64",
        verdict="confident",
    )
    more = ("--junitxml=j.xml", "--linearity-markdown=s.md", "--linearity-html=r.html")
    result = pytester.runpytest(GATE, *more)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "more directions are needed to tell mean relative error * from * (95% interval *) at*",
            "*no, inconclusive*",
            "*95% interval of the mean over all directions, from 4 of them in 2 rounds,",
        ]
    )
    assert "❌ no, inconclusive |" in (pytester.path / "s.md").read_text()
    assert "✗ no, inconclusive</td>" in (pytester.path / "r.html").read_text()
    case = (pytester.path / "j.xml").read_text()
    assert 'name="inconclusive" value="true"' in case
    assert 'name="interval_relative_error" value="[' in case
