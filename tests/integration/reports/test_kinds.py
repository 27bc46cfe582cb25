"""Kinds of directions in every form of the report: nothing is pooled, and each is named."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_linearity.report.html.page import html
from pytest_linearity.report.junit import radius_properties, verdict_properties
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.plot import (
    beside_drawing,
    report_drawing,
    scopes_drawing,
    series_drawing,
)
from pytest_linearity.report.results import Result
from pytest_linearity.report.style import Style
from pytest_linearity.report.terminal.regression import render_comparison
from pytest_linearity.report.terminal.report import render
from pytest_linearity.report.terminal.scopes import render_scopes
from pytest_linearity.report.terminal.series import render_series
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.regression.compare import compare
from tests.support import reports
from tests.support.kinds import report

# Over all nine: ε 0.0889, c 0.9911; κ 1.0222. Along each: 0.0500 and 0.4000; 0.1500 and 8.0000.
ERRORS = {
    "gaussian": {0.1: [[0.05, 0.05]] * 8, 1.0: [[0.05, 0.05]] * 8},
    "update": {0.1: [[0.4, 0.4]], 1.0: [[0.4, 0.4]]},
}
POOLED = re.compile(r"0\.0889|0\.089\b|1\.0222|1\.02\b|0\.99111")
WHOLE: dict[str, Any] = {
    "keys": {"second_order": True, "layer_profile": True, "refine": True},
    "vectors": {"update": {"norm": 3.25, "vector": "a" * 64}},
    "kappa": {"gaussian": 0.15, "update": 8.0},
    "blocks": 2,
    "refined": {"update": (0.025, 0.026)},
}


@pytest.fixture(scope="module")
def several() -> Report:
    return report(ERRORS, **WHOLE)


@pytest.fixture(scope="module")
def forms(several: Report) -> dict[str, str]:
    """Everything that is made of two checkpoints and of two scopes."""
    worse = report({**ERRORS, "update": {0.1: [[0.5, 0.5]], 1.0: [[0.5, 0.5]]}}, **WHOLE)
    regression = compare(worse, several, 0.1)
    steps = [
        Result("gate.yaml", "checkpoint-1", 1, several),
        Result("gate.yaml", "checkpoint-2", 2, worse, regression),
    ]
    scopes = [
        Result("gate.yaml", None, None, several, scope="full"),
        Result("gate.yaml", None, None, several, scope="norms"),
    ]
    drawings = {
        "plot": report_drawing(several),
        "series plot": series_drawing(steps),
        "scopes plot": scopes_drawing(scopes),
        "beside": beside_drawing(steps),
    }
    return {
        "terminal": render(several, "t"),
        "comparison": render_comparison(regression, "t"),
        "series": render_series(steps),
        "scopes": render_scopes(scopes),
        "markdown": markdown(steps).replace("\\", "").split("<summary>config")[0],
        "markdown of scopes": markdown(scopes).replace("\\", ""),
        "html": html(steps),
        "html of scopes": html(scopes),
        **{name: drawing.svg("d", name[0]) for name, drawing in drawings.items()},
        "junit": json.dumps([radius_properties(f) for f in several.radii]),
        "junit of the verdict": json.dumps(verdict_properties(several)),
    }


def test_nothing_is_pooled(several: Report, forms: Mapping[str, str]) -> None:
    assert several.at(0.1).mean_relative_error == pytest.approx(0.8 / 9)  # it would be 0.0889
    for name, shown in forms.items():
        assert not POOLED.search(re.sub(r'd="[^"]*"|[xy]="[^"]*"', "", shown)), name
        assert "gaussian" in shown, name
        assert "update" in shown, name


def test_the_worst_is_named(several: Report, forms: Mapping[str, str]) -> None:
    assert several.linearity_radius is None
    for name in ("terminal", "series", "scopes", "markdown", "html", "plot"):
        assert "none along update" in forms[name], name
    assert " linearity radius none along update  fails" in forms["terminal"].splitlines()
    properties = dict(verdict_properties(several))
    assert properties["linearity_radius"] == "null"
    assert properties["linearity_radius[gaussian]"] == "1.0"
    assert properties["mean_curvature_ratio[update]"] == "8.0"
    assert "mean_curvature_ratio" not in properties
    assert "refined_linearity_radius" not in properties
    assert properties["refined_linearity_radius[update]"] == "0.025"


def test_the_terminal_shows_each_with_what_it_says(several: Report) -> None:
    shown = render(several, "t")
    gaussian, update = shown.split("\nalong ")[1:]
    assert gaussian.startswith("gaussian, 8 directions\n")
    assert update.startswith("update, norm 3.25\n")
    assert "0.0500 ± 0.0000" in gaussian
    assert "0.4000 ± 0.0000" in update
    assert "curvature ratio 0.1500" in gaussian
    assert "curvature ratio 8.0000" in update
    assert "no refined linearity radius: the largest radius complies" in gaussian
    assert "refined linearity radius 0.025 (fails at 0.026)" in update
    assert "relative error 0.05 after the last block" in gaussian
    assert "relative error 0.4 after the last block" in update
    assert "interval of the mean over all directions" not in update
    for width in (80, 120):
        assert all(len(line) <= width for line in render(several, "t", Style(width)).splitlines())


def test_all_kinds_may_reach_equally_far() -> None:
    same = report({"gaussian": {0.1: [[0.1]]}, "update": {0.1: [[0.1]]}})
    assert " linearity radius 0.1 along all 2 kinds  passes" in render(same, "t")
    assert "**linearity radius 0.1**" in markdown([Result("t", None, None, same)])


def test_own_limits_head_their_tables() -> None:
    keys = {"relerr_threshold": {"gaussian": 0.3, "update": 0.5}, "cos_threshold": 0.5}
    own = report(ERRORS, keys=keys)
    gaussian, update = render(own, "t").split("\nalong ")[1:]
    assert "≤ 0.30" in gaussian
    assert "≤ 0.50" in update
    for form in (html, markdown):
        page = form([Result("t", None, None, own)])
        assert "≤ 0.30" in page
        assert "≤ 0.50" in page


def test_own_least_radii_are_told() -> None:
    least = {"gaussian": 1.0, "update": None}
    own = report(ERRORS, keys={"min_linearity_radius": least})
    said = "required: 1.0 along gaussian, every radius along update"
    assert said in markdown([Result("t", None, None, own)])
    assert said in html([Result("t", None, None, own)])
    assert said in report_drawing(own).svg("d", "p")


class TestOneKind:
    """Nothing is pooled, but a reader must know what it is of."""

    @pytest.fixture
    def update(self) -> Report:
        return report({"update": ERRORS["update"]}, vectors=WHOLE["vectors"])

    def forms(self, one: Report) -> list[str]:
        result = Result("gate.yaml", None, None, one)
        texts = [render(one, "t"), markdown([result]), html([result])]
        drawings = [report_drawing(one), beside_drawing([result])]
        return [*texts, *(drawing.svg("d", "p") for drawing in drawings)]

    def test_that_is_not_gaussian_is_named_with_its_norm(self, update: Report) -> None:
        for shown in self.forms(update):
            assert "along update, norm 3.25" in shown

    def test_scope_and_template_are_told_always(self, update: Report) -> None:
        for shown in self.forms(update):
            assert "scope full" in shown
            assert "chat template qwen" in shown
        attention = replace(
            update,
            scope={**update.scope, "param_scope": "attention", "parameters": 74380},
            probes={**update.probes, "template": None},
        )
        for shown in self.forms(attention):
            assert "scope attention (10.0% of all parameters)" in shown
            assert "no chat template" in shown

    def test_random_ones_have_no_norm(self) -> None:
        one = report({"rademacher": ERRORS["gaussian"]})
        for shown in self.forms(one):
            assert "along rademacher, 8 directions" in shown
        for shown in self.forms(report({"gaussian": ERRORS["gaussian"]})):
            assert "along" not in shown

    def test_a_series_names_it(self, update: Report) -> None:
        steps = [Result("gate.yaml", f"c-{step}", step, update) for step in (1, 2)]
        assert render_series(steps).startswith("gate.yaml: 2 checkpoints, along update\n")
        assert "### gate.yaml, along update" in markdown(steps)
        gaussian = [replace(step, report=reports.report()) for step in steps]
        assert render_series(gaussian).startswith("gate.yaml: 2 checkpoints\n")
