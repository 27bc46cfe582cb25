"""Reports of relative radii."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from safetensors.torch import load_file

from pytest_linearity.config.config import Config
from pytest_linearity.report.html.page import html
from pytest_linearity.report.json import load_schema
from pytest_linearity.report.junit import radius_properties
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.results import Result
from pytest_linearity.report.terminal.report import render
from pytest_linearity.run.analysis import analyze
from pytest_linearity.verdict.document import Report


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
            lambda report: markdown([Result("t", None, None, report)]),
            lambda report: html([Result("t", None, None, report)]),
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
