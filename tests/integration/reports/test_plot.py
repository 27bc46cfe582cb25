"""Pictures: what is in them, and that none is drawn in vain."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from pytest_linearity.errors import ConfigError, LinearityError
from pytest_linearity.report.plot import plot_report, report_drawing, series_drawing
from pytest_linearity.verdict.document import Report
from tests.support.reports import HOSTILE, measured, report, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAGIC = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".PNG": b"\x89PNG"}

EDGE_CASES = {
    "two radii": report((0.1, 1.0)),
    "one radius": report((0.3,)),
    "six decades": report([10.0**k for k in range(-4, 3)], 0.02),
    "ten radii close together": report([k / 10 for k in range(1, 11)]),
    "one undefined": report((0.1, 0.3), undefined=(0.3,)),
    "all undefined": report((0.1, 0.3), undefined=(0.1, 0.3)),
    "no error at all": report(slope=0.0, noise=0.0),
    "no noise floor": report(noise=None),
    "no error allowed": report(relerr_threshold=0),
    "the loosest limits": report(cos_threshold=-1, relerr_threshold=1000),
    "a spread that reaches zero": report(slope=0.4),
    "letters of another script": report(path="模型/checkpoint-1"),
}


def drawn(measured: Report, **keys: Any) -> Figure:
    from pytest_linearity.report.plot.palette import PRINT
    from pytest_linearity.report.plot.radii import draw_report

    return draw_report(measured, PRINT, **keys)


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """The points of every line that the legend names."""
    return {
        str(line.get_label()): [(float(x), float(y)) for x, y in line.get_xydata()]
        for line in axes.get_lines()
    }


class TestOneReport:
    def test_shows_every_figure(self) -> None:
        errors, cosines = drawn(report()).axes
        points = lines(errors)
        assert points["complies"] == [(0.1, pytest.approx(0.031)), (0.3, pytest.approx(0.093))]
        assert points["does not comply"] == [(1.0, pytest.approx(0.31))]
        assert points["noise floor (below the axis)"] == [(r, 1e-6) for r in (0.1, 0.3, 1.0)]
        assert {y for _, y in points["limit"]} == {0.2}
        assert {y for _, y in lines(cosines)["limit"]} == {0.95}
        assert lines(cosines)["does not comply"] == [(1.0, pytest.approx(1 - 0.7 * 0.31**2))]

    def test_the_noise_floor_is_on_the_axis_where_it_is_near(self) -> None:
        errors = drawn(report(noise=0.02)).axes[0]
        assert "noise floor" in lines(errors)
        assert errors.get_ylim()[0] < 0.02

    def test_the_spread_is_cut_where_the_scale_ends(self) -> None:
        cosines = drawn(report()).axes[1]
        [band] = [c for c in cosines.collections if str(c.get_label()).startswith("±")]
        [path] = band.get_paths()
        assert path.get_extents().y1 == 1.0

    def test_marks_the_linearity_radius(self) -> None:
        for axes in drawn(report()).axes:
            assert "linearity radius" in {text.get_text() for text in axes.texts}
        for axes in drawn(report(undefined=(0.1, 0.3, 1.0))).axes:
            assert not axes.texts

    def test_the_heading_gives_the_verdict(self) -> None:
        def heading(measured: Report, **keys: Any) -> str:
            return drawn(measured, **keys).get_suptitle()

        assert heading(report()) == (
            "saves/run/checkpoint-500\nscope full\nfails: linearity radius 0.3"
        )
        assert heading(report(slope=0.01)).endswith("\npasses: linearity radius 1.0")
        assert heading(report(slope=9)).endswith("\nfails: none of the tested radii complies")
        assert heading(report(min_linearity_radius=0.3)).endswith("0.3, 0.3 is required")
        assert heading(report(), title="mine").startswith("mine\n")
        assert heading(report(), title="") == ""
        assert heading(report(path="x" * 500)).startswith("…xxx")

    def test_markers_differ_in_shape_as_well_as_in_colour(self) -> None:
        errors = drawn(report((0.1, 0.3, 1.0, 3.0), undefined=(3.0,))).axes[0]
        markers = {str(line.get_label()): line.get_marker() for line in errors.get_lines()}
        assert len({markers[m] for m in ("complies", "does not comply", "undefined")}) == 3

    def test_the_forbidden_side_is_hatched(self) -> None:
        errors, cosines = drawn(report()).axes
        for axes, side in ((errors, (0.2, errors.get_ylim()[1])), (cosines, (None, 0.95))):
            [hatched] = [patch for patch in axes.patches if patch.get_hatch()]
            box = hatched.get_extents().transformed(axes.transData.inverted())
            assert side[0] is None or box.y0 == pytest.approx(side[0])
            assert box.y1 == pytest.approx(side[1])

    def test_names_of_radii_leave_room(self) -> None:
        axes = drawn(EDGE_CASES["ten radii close together"]).axes[0]
        names = [label.get_text() for label in axes.get_xticklabels()]
        assert names[0] == "1"
        assert len(names) < 9
        assert len(axes.get_xticks()) + len(axes.get_xticks(minor=True)) == 10

    @pytest.mark.parametrize("name", EDGE_CASES)
    def test_edge_cases_are_drawn_within_finite_axes(self, name: str, tmp_path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plot_report(EDGE_CASES[name], tmp_path / "plot.svg")
        for axes in drawn(EDGE_CASES[name]).axes:
            assert all(math.isfinite(end) for end in (*axes.get_xlim(), *axes.get_ylim()))

    def test_text_from_outside_is_neither_markup_nor_mathematics(self, tmp_path: Path) -> None:
        plot_report(report(path=HOSTILE), tmp_path / "plot.svg")
        plot_report(report(path="$\\frac{$"), tmp_path / "broken.svg")
        assert "<script" not in (tmp_path / "plot.svg").read_text()
        svg = report_drawing(report()).svg("a", prefix="x")
        assert ElementTree.fromstring(svg).get("aria-label") == "a"
        assert "<script" not in report_drawing(report()).svg("<script>", prefix="x")


class TestSeries:
    def figure(self, results: list[Any], **keys: Any) -> Figure:
        from pytest_linearity.report.plot.palette import PRINT
        from pytest_linearity.report.plot.series import draw_series

        return draw_series(results, PRINT, **keys)

    def test_shows_linearity_radius_and_a_line_per_radius(self) -> None:
        radii, errors, cosines = self.figure(series()).axes
        points = lines(radii)
        assert points["passes"] == [(100.0, 1.0), (200.0, 1.0)]
        assert points["fails"] == [(300.0, 0.3)]
        assert lines(errors)["r = 1"] == [
            (step, pytest.approx(0.12 * 1.34**k)) for k, step in enumerate((100, 200, 300))
        ]
        assert {"r = 0.1", "r = 0.3", "r = 1", "limit"} <= set(lines(errors))
        assert len(lines(cosines)["r = 0.3"]) == 3

    def test_a_checkpoint_of_which_no_radius_complies(self) -> None:
        results = [*series(), measured(label="broken", undefined=(0.1, 0.3, 1.0))]
        radii, errors, _ = self.figure(results).axes
        assert [x for x, _ in lines(radii)["none complies"]] == [3.0]
        assert math.isnan(lines(errors)["r = 1"][3][1])

    def test_without_steps_checkpoints_stand_side_by_side(self) -> None:
        results = [measured(label=name) for name in ("base", "$\\frac{$", "dpo")]
        axes = self.figure(results).axes[2]
        assert [t.get_text() for t in axes.get_xticklabels()] == ["base", "$\\frac{$", "dpo"]
        assert axes.get_xlabel() == ""

    def test_with_steps_they_are_the_axis(self) -> None:
        assert self.figure(series()).axes[2].get_xlabel() == "training step"
        assert self.figure([*series(), *series((300,))]).axes[2].get_xlabel() == ""

    def test_many_checkpoints_and_radii(self, tmp_path: Path) -> None:
        radii = [10 ** (k / 3) for k in range(-6, 4)]
        results = [measured(label=f"run/number-{k}", radii=radii) for k in range(40)]
        series_drawing(results).save(tmp_path / "plot.png")
        assert len(self.figure(results).axes[2].get_xticks()) <= 14


class TestFiles:
    @pytest.mark.parametrize("suffix", MAGIC)
    def test_the_suffix_says_what_is_written(self, suffix: str, tmp_path: Path) -> None:
        one, series_of_three = tmp_path / f"one{suffix}", tmp_path / "new" / f"series{suffix}"
        plot_report(report(), one)
        series_drawing(series()).save(series_of_three)
        for path in (one, series_of_three):
            assert path.read_bytes().startswith(MAGIC[suffix])
        if suffix.islower():  # the same figures give the same file
            plot_report(report(), tmp_path / f"again{suffix}")
            assert (tmp_path / f"again{suffix}").read_bytes() == one.read_bytes()

    @pytest.mark.parametrize("name", ["plot.jpg", "plot", "plot.png.txt"])
    def test_another_suffix_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"\.png, \.svg or \.pdf"):
            plot_report(report(), tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(LinearityError, match="could not be written"):
            plot_report(report(), tmp_path / "file" / "plot.png")

    def test_the_style_of_the_user_is_left_alone(self, tmp_path: Path) -> None:
        import matplotlib

        with matplotlib.rc_context({"font.size": 33, "axes.facecolor": "red"}):
            before = dict(matplotlib.rcParams)
            plot_report(report(), tmp_path / "plot.png")
            assert dict(matplotlib.rcParams) == before
        plot_report(report(), tmp_path / "usual.png")
        assert (tmp_path / "plot.png").read_bytes() == (tmp_path / "usual.png").read_bytes()

    def test_without_matplotlib(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pytest_linearity.report.plot.files.find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"pip install 'pytest-linearity\[plot\]'"):
            plot_report(report(), tmp_path / "plot.png")
        with pytest.raises(ConfigError, match=r"pytest-linearity\[plot\]"):
            report_drawing(report()).svg("", prefix="x")


class TestInline:
    def test_neutral_colours_are_left_to_the_page(self) -> None:
        svg = report_drawing(report()).svg("what it shows", prefix="x")
        for variable in ("--ink", "--muted", "--line", "--paper", "--font"):
            assert f"var({variable})" in svg
        for stand_in in ("#010101", "#020202", "#030303", "#040404", "DejaVu"):
            assert stand_in not in svg

    def test_ids_differ_from_those_of_other_drawings(self) -> None:
        root = ElementTree.fromstring(report_drawing(report()).svg("", prefix="x"))
        ids = {element.get("id") for element in root.iter()} - {None}
        assert ids
        assert all(str(name).startswith("x-") for name in ids)
        for element in root.iter():
            for name, value in element.items():
                if name == "href":
                    assert value.removeprefix("#") in ids
                if "url(#" in value:
                    assert value.partition("url(#")[2].partition(")")[0] in ids

    def test_is_html(self) -> None:
        svg = report_drawing(report()).svg("", prefix="x")
        assert svg.startswith("<svg")
        assert "ns0:" not in svg
        assert "metadata" not in svg
