"""Relative radii: the steps that they are, and what shows them."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Write
from jsonschema import Draft202012Validator
from safetensors.torch import load_file
from torch import nn

from pytest_linearity import Directions, measure
from pytest_linearity.analysis import analyze
from pytest_linearity.config import Config
from pytest_linearity.errors import ConfigError
from pytest_linearity.radius_unit import absolute_radii, in_unit
from pytest_linearity.refinement import Refinement
from pytest_linearity.report.document import Report
from pytest_linearity.report.html import html
from pytest_linearity.report.junit import radius_properties
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.results import Measured
from pytest_linearity.report.schema import load_schema
from pytest_linearity.report.terminal import render

GATE = "--linearity-config=gate.yaml"


@pytest.fixture(scope="module")
def both(tiny_checkpoint: Path) -> tuple[Report, Report, float]:
    """The same steps in either unit, and the norm by hand."""
    state = load_file(tiny_checkpoint / "model.safetensors")
    chosen = {n: t.double() for n, t in state.items() if "mlp" in n}
    norm = math.sqrt(sum(float((t * t).sum()) for t in chosen.values()))
    keys: dict[str, Any] = {
        "model_name_or_path": str(tiny_checkpoint),
        "prompts": ["1+1=", "The sky is"],
        "num_directions": 2,
        "param_scope": "mlp",
        "precision": "float64",
    }
    relative = analyze(Config(**keys, radius_unit="relative", radii=[0.01, 0.1]))
    absolute = analyze(Config(**keys, radii=[0.01 * norm, 0.1 * norm]))
    return relative, absolute, norm


class TestRelativeRadii:
    def test_are_parts_of_the_norm_of_the_scope(self, both: tuple[Report, Report, float]) -> None:
        relative, absolute, norm = both
        assert relative.scope["norm"] == pytest.approx(norm, rel=1e-12)
        for mine, theirs in zip(relative.radii, absolute.radii, strict=True):
            for name in ("mean_relative_error", "mean_cosine_similarity"):
                assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-6)

    def test_report_gives_both(self, both: tuple[Report, Report, float]) -> None:
        relative, absolute, norm = both
        assert list(relative.to_dict()["metrics"]) == ["0.01", "0.1"]
        for report in (relative, absolute):
            for figures, part in zip(report.radii, (0.01, 0.1), strict=True):
                assert figures.radius_relative == pytest.approx(part)
                assert figures.radius_absolute == pytest.approx(part * norm)
            document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
            assert Report.from_dict(document) == report
            assert not list(Draft202012Validator(load_schema()).iter_errors(document))

    def test_linearity_radius_is_in_the_unit(self, both: tuple[Report, Report, float]) -> None:
        relative, absolute, norm = both
        assert relative.linearity_radius == 0.1
        assert absolute.linearity_radius == pytest.approx(0.1 * norm)

    def test_tables_say_so(self, both: tuple[Report, Report, float]) -> None:
        relative, absolute, norm = both
        unit = f"of norm {norm:.4g}"
        for show in (
            lambda report: render(report, "t"),
            lambda report: markdown([Measured("t", None, None, report)]),
            lambda report: html([Measured("t", None, None, report)]),
        ):
            assert unit in show(relative)
            assert "of norm" not in show(absolute)

    def test_junit_gives_the_step_only_where_it_is_another(
        self, both: tuple[Report, Report, float]
    ) -> None:
        relative, absolute, norm = both
        step = dict(radius_properties(relative.radii[1]))["radius_absolute"]
        assert float(str(step)) == pytest.approx(0.1 * norm)
        assert "radius_absolute" not in dict(radius_properties(absolute.radii[1]))

    def test_names_of_tests_are_the_configured_numbers(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        real_config(radius_unit="relative", radii=[0.001], relerr_threshold=0.001)
        result = pytester.runpytest(GATE, "--junitxml=j.xml", "-v")
        result.assert_outcomes(failed=2)
        result.stdout.fnmatch_lines(
            ["*gate.yaml::radius?0.001? FAILED*", "*radius*relative error*"]
        )
        result.stdout.fnmatch_lines(["*mean relative error * at r=0.001 (linearity radius none)"])
        names = {
            str(entry.get("name")) for entry in ElementTree.parse(pytester.path / "j.xml").iter()
        }
        assert {"radius[0.001]", "radius_absolute"} <= names

    @pytest.mark.parametrize("norm", [0.0, 1e300, math.inf, 1e-320])
    def test_a_norm_that_gives_no_step_is_refused(self, norm: float) -> None:
        with pytest.raises(
            ConfigError, match=r"^radius_unit: relative: 1.* of the norm .* no step"
        ):
            absolute_radii([1e-10, 1e10], "relative", norm)

    def test_what_is_measured_in_radii_is_converted(self) -> None:
        torch.manual_seed(0)
        x = torch.ones(1, 3, dtype=torch.float64)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        measured = measure(
            model,
            lambda: model(x),
            Directions(model, 1),
            [0.5, 2.0],
            "float64",
            second_order=True,
        )
        bracket = Refinement(0.5, 0.75, (1.0, 0.75))
        found = in_unit(replace(measured, refinement=bracket), [0.1, 0.4])
        assert found.radii == (0.1, 0.4)
        assert measured.curvature_ratio is not None
        assert found.curvature_ratio is not None
        # κr is a number without unit.
        torch.testing.assert_close(found.curvature_ratio * 0.4, measured.curvature_ratio * 2.0)
        assert found.refinement is not None
        assert found.refinement.low == 0.1  # exactly the tested radius
        assert found.refinement.high == pytest.approx(0.15)
        assert found.refinement.evaluated == pytest.approx((0.2, 0.15))
