"""Directions drawn in rounds: those of a single run, until it is enough, counted honestly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.run.analysis import Analysis, analyze
from pytest_linearity.verdict.document import Report
from tests.support.configs import small_config
from tests.support.fixtures import Write

RADII = (0.01, 3.0)
GATE = "--linearity-config=gate.yaml"


@pytest.fixture(scope="module")
def make(tiny_checkpoint: Path) -> Any:
    def make(**keys: Any) -> Config:
        return small_config(tiny_checkpoint, **{"radii": RADII, "precision": "float64", **keys})

    return make


@pytest.fixture(scope="module")
def open_limit(make: Any) -> float:
    """The mean relative error along eight directions: two or three will not tell it from others."""
    return float(analyze(make(num_directions=8)).at(3.0).mean_relative_error or 0)


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
