"""Second order, layer profile and refined radius: from the config to every form of the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from pytest_linearity.report.explanation import explanation
from pytest_linearity.report.html.page import html
from pytest_linearity.report.json import load_schema
from pytest_linearity.report.junit import verdict_properties
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.results import Result
from pytest_linearity.report.style import Style
from pytest_linearity.report.terminal.report import render
from pytest_linearity.verdict.document import Report
from tests.support import reports
from tests.support.configs import small_config
from tests.support.diagnoses import ALL, NAMES, RADII, report


class TestForms:
    def test_terminal(self) -> None:
        table = render(report(), "gate.yaml", Style(width=200))
        assert " • refined linearity radius 0.63 (fails at 0.65)\n • curvature ratio 0.62" in table
        narrow = render(report(), "gate.yaml", Style(width=60))
        assert "relative error 0.20\n   predicted at r = 0.645;" in narrow
        assert max(map(len, render(report(), "gate.yaml").splitlines())) <= 80
        render(report(), "gate.yaml", Style(encoding="ascii")).encode("ascii")

    def test_markdown_html_and_junit(self) -> None:
        result = Result("gate.yaml", None, None, report())
        assert "- refined linearity radius 0.63 (fails at 0.65)" in markdown([result])
        page = html([result])
        assert "<li>refined linearity radius 0.63 (fails at 0.65)</li>" in page
        assert "hidden state after every block" in page
        assert "data:image" not in page  # which the page's own policy would block
        assert dict(verdict_properties(report()))["refined_linearity_radius"] == "0.63"

    def test_names_of_blocks_are_text_and_nothing_else(self) -> None:
        measured = report()
        assert measured.layers is not None
        hostile = replace(measured.layers, names=(*NAMES[:2], reports.HOSTILE, "$x_1$"))
        result = Result("gate.yaml", None, None, replace(measured, layers=hostile))
        assert "<script" not in html([result])
        assert "<script" not in markdown([result])

    def test_heat_map(self) -> None:
        from pytest_linearity.report.plot.palette import PRINT
        from pytest_linearity.report.plot.radii import draw_report

        measured = report()
        (heat,) = [
            axes for axes in draw_report(measured, PRINT).axes if "block" in axes.get_xlabel()
        ]
        (fields,) = heat.collections
        assert fields.get_array().shape == (3, 4)
        assert float(fields.get_array()[2, 2]) == pytest.approx(0.248)
        assert "0.25" in {text.get_text() for text in heat.texts}
        assert len(draw_report(reports.report(), PRINT).axes) == 2

    @pytest.mark.parametrize("blocks", [1, 2, 80])
    @pytest.mark.parametrize("value", [None, 0.0, 1e-30])
    def test_heat_map_of_odd_profiles(self, blocks: int, value: float | None) -> None:
        from pytest_linearity.report.plot import report_drawing
        from pytest_linearity.verdict.diagnosis_figures import LayerMeans, ProfileFigures

        row = [value] * (blocks - 1) + [0.2 if value else value]
        means = {str(radius): LayerMeans(row, row) for radius in RADII}
        names = tuple(f"model.layers.{place}" for place in range(blocks))
        measured = replace(report(), layers=ProfileFigures(names, means))
        assert "<image" not in report_drawing(measured).svg("x", prefix="p")
        assert explanation(measured)


@pytest.fixture(scope="module")
def real(tiny_checkpoint: Path) -> Report:
    from pytest_linearity.run.analysis import analyze

    # Of different lengths, so that batches have another order than the prompts.
    config = small_config(
        tiny_checkpoint,
        prompts=["1+1=2, 2+2=", "3", "1+1="],
        batch_size=1,
        radii=[0.1, 1000.0],
        precision="float64",
        **ALL,
    )
    return analyze(config)


def test_a_real_run(real: Report) -> None:
    document = json.loads(json.dumps(real.to_dict(), allow_nan=False))
    assert not list(Draft202012Validator(load_schema()).iter_errors(document))
    assert Report.from_dict(document) == real
    assert document["layers"]["names"] == ["model.layers.0", "model.layers.1"]
    refined = document["refined"]
    assert 0.1 < refined["linearity_radius"] < refined["first_failing"] < 1000
    assert refined["first_failing"] <= 1.05 * refined["linearity_radius"]
    # At a small radius curvature explains the error of every pair, each in its own place.
    for row in document["second_order"]["predicted"]["0.1"]["pairs"]:
        assert row == [pytest.approx(1, abs=0.25)] * 3
    assert render(real, "gate.yaml")
