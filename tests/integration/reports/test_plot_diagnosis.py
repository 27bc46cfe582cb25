"""What second order, refinement and layer profile add to pictures; checkpoints side by side."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_linearity.report.plot import plot_beside
from pytest_linearity.report.results import Result
from pytest_linearity.verdict.diagnosis_figures import (
    CurvatureFigures,
    LayerMeans,
    Prediction,
    ProfileFigures,
    RefinedFigures,
)
from pytest_linearity.verdict.document import Report
from tests.support import reports

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RADII = (0.1, 0.3, 1.0)


def report(kappa: float | None = 0.62, refined: float = 0.64, **keys: Any) -> Report:
    """Two blocks, of which the second bends; κ and the crossing as given."""
    measured = reports.report(RADII, **keys)
    predicted = {
        str(r): Prediction(None if kappa is None else r * kappa / 2, None, []) for r in RADII
    }
    crossing = 0.4 / kappa if kappa else None
    profile = {str(r): LayerMeans([r / 100, 2 * r], [1.0, 0.9]) for r in RADII}
    return replace(
        measured,
        second_order=CurvatureFigures(kappa, 0.1, crossing, [], [], predicted),
        layers=ProfileFigures(("a.0", "a.1"), profile),
        refined=RefinedFigures(refined / 1.02, refined * 1.02, ()),
    )


def drawn(measured: Report) -> Figure:
    from pytest_linearity.report.plot.palette import PRINT
    from pytest_linearity.report.plot.radii import draw_report

    return draw_report(measured, PRINT)


def beside(results: list[Result], **keys: Any) -> Figure:
    from pytest_linearity.report.plot.beside import draw_beside
    from pytest_linearity.report.plot.palette import PRINT

    return draw_beside(results, PRINT, **keys)


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    return {
        str(line.get_label()): [(float(x), float(y)) for x, y in line.get_xydata()]
        for line in axes.get_lines()
    }


def pair() -> list[Result]:
    mild = Result("x", "mild", None, report(0.062, slope=0.031))
    return [mild, Result("x", "strong", None, report(0.62, slope=0.31))]


class TestCrossing:
    def test_prediction_is_a_line_and_both_crossings_stand_on_the_limit(self) -> None:
        errors = drawn(report()).axes[0]
        points = lines(errors)
        assert points["rκ/2, predicted by curvature"] == [
            (r, pytest.approx(0.31 * r)) for r in RADII
        ]
        [predicted] = points["crossing predicted by curvature"]
        assert predicted == (pytest.approx(0.4 / 0.62), 0.2)
        assert points["crossing measured (refined)"] == [(pytest.approx(0.64), 0.2)]

    def test_the_tips_of_both_marks_touch_the_limit(self) -> None:
        figure = drawn(report())
        errors = figure.axes[0]
        tips = {}
        for line in errors.get_lines():
            if str(line.get_label()).startswith("crossing"):
                [(_, middle)] = line.get_transform().transform(line.get_xydata())
                tips[str(line.get_marker())] = middle
        [(_, limit)] = errors.transData.transform([(0.3, 0.2)])
        half = 4.2 / 72 * figure.dpi
        assert tips["v"] - half == pytest.approx(limit)
        assert tips["^"] + half == pytest.approx(limit)

    def test_a_crossing_beyond_the_tested_radii_is_not_marked(self) -> None:
        points = lines(drawn(report(0.01, refined=7.0)).axes[0])
        assert not any(label.startswith("crossing") for label in points)
        assert "rκ/2, predicted by curvature" in points

    def test_nothing_is_predicted_where_the_curvature_is_not_known(self) -> None:
        for kappa in (None, 0.0):
            points = lines(drawn(report(kappa)).axes[0])
            assert not any("curvature" in label for label in points)

    def test_without_a_limit_there_is_no_crossing(self) -> None:
        points = lines(drawn(report(relerr_threshold=0)).axes[0])
        assert not any(label.startswith("crossing") for label in points)

    def test_other_reports_look_as_before(self) -> None:
        assert set(lines(drawn(reports.report()).axes[0])) == {
            *("limit", "noise floor (below the axis)", "complies", "does not comply"),
            *(name for name in lines(drawn(reports.report()).axes[0]) if name.startswith("_")),
        }

    def test_a_legend_too_long_for_the_picture_has_more_rows(self) -> None:
        for figure in (drawn(report()), drawn(reports.report()), beside(pair())):
            [legend] = figure.legends
            figure.draw_without_rendering()
            box = legend.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.width
        assert drawn(reports.report()).legends[0]._ncols > 3  # type: ignore[attr-defined]


class TestProfile:
    def test_the_limit_is_a_line_in_the_scale(self) -> None:
        scale = drawn(report()).axes[-1]
        assert [y for _, y in lines(scale)["limit"]] == [0.2, 0.2]
        assert "limit" not in lines(drawn(report(relerr_threshold=50)).axes[-1])

    def test_numbers_keep_their_last_digit(self) -> None:
        [heat] = [axes for axes in drawn(report()).axes if "block" in axes.get_xlabel()]
        assert {text.get_text() for text in heat.texts} >= {"2.0", "0.60", "0.20", "0.010"}


class TestBeside:
    def test_a_column_for_each_on_the_same_scales(self) -> None:
        panels = beside(pair()).axes
        mild, strong, mild_cosine, strong_cosine = panels[:4]
        assert mild.get_ylim() == strong.get_ylim()
        assert mild_cosine.get_ylim() == strong_cosine.get_ylim()
        assert lines(mild)["complies"][0] == (0.1, pytest.approx(0.0031))
        assert lines(strong)["complies"][0] == (0.1, pytest.approx(0.031))

    def test_profiles_share_one_scale_of_colours(self) -> None:
        faint = report()
        assert faint.layers is not None
        rows = {r: LayerMeans([1e-4, 1e-4], [1.0, 1.0]) for r in faint.layers.radii}
        results = [
            Result("x", "faint", None, replace(faint, layers=ProfileFigures(("a", "b"), rows))),
            pair()[1],
        ]
        figure = beside(results, rows=("layers",))
        left, right, scale = figure.axes
        norms = [axes.collections[0].norm for axes in (left, right)]
        ends = [(norm.vmin, norm.vmax) for norm in norms]
        assert ends[0] == ends[1] == (pytest.approx(1e-4), pytest.approx(2.0))
        assert scale.get_ylabel() == "relative error ε"

    def test_each_column_has_its_name_and_verdict(self) -> None:
        from pytest_linearity.report.plot.palette import BAD, GOOD

        figure = beside(pair(), title="both")
        heads = [axes.texts[-1] for axes in figure.axes[:2]]
        assert [head.get_text() for head in heads] == [
            "mild: passes, linearity radius 1.0",
            "strong: fails, linearity radius 0.3",
        ]
        assert [head.get_color() for head in heads] == [GOOD, BAD]
        assert figure.get_suptitle() == "both"

    def test_rows_that_are_asked_for(self) -> None:
        assert len(beside(pair(), rows=("relative_error",)).axes) == 2
        assert len(beside(pair()).axes) == 7
        plain = [Result("x", name, None, reports.report()) for name in "abc"]
        assert len(beside(plain).axes) == 6

    def test_one_without_a_profile_says_so(self, tmp_path: Path) -> None:
        results = [pair()[0], Result("x", "plain", None, reports.report((0.1, 2.0)))]
        texts = {text.get_text() for axes in beside(results).axes for text in axes.texts}
        assert "no layer profile" in texts
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plot_beside(results, tmp_path / "plot.svg")

    def test_names_are_neither_markup_nor_mathematics(self, tmp_path: Path) -> None:
        hostile = [Result("x", name, None, report()) for name in ("$\\frac{$", reports.HOSTILE)]
        plot_beside(hostile, tmp_path / "plot.svg", title="$x_1$")
        assert "<script" not in (tmp_path / "plot.svg").read_text()
