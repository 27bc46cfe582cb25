"""Several scopes side by side: terminal table, Markdown, page and plot."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pytest_linearity.report.html.page import html
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.outputs import Outputs
from pytest_linearity.report.plot import Drawing, scopes_drawing
from pytest_linearity.report.plot.palette import PRINT
from pytest_linearity.report.plot.scopes import draw_scopes
from pytest_linearity.report.results import Failure, Result, counted, scopes_of, series_of
from pytest_linearity.report.style import Style
from pytest_linearity.report.terminal.scopes import render_scopes
from pytest_linearity.report.terminal.series import render_series
from tests.support.reports import HOSTILE, measured, report, series

SIZES = {"full": 743808, "attention": 200000, "mlp": 500000}


def scope(name: str, slope: float, label: str | None = None, size: int | None = None) -> Result:
    sizes = {"parameters": size or SIZES.get(name, 1000)}
    judged = dataclasses.replace(report(slope=slope, param_scope=name), scope=sizes)
    return Result("gate.yaml", label, None, judged, scope=name)


@pytest.fixture
def scopes() -> list[Result]:
    """Of the third neither the radius 0.3 nor 1.0 complies."""
    return [scope("full", 0.1), scope("attention", 0.2), scope("mlp", 0.9)]


def test_the_table(scopes: list[Result]) -> None:
    lines = render_scopes(scopes, Style(width=120)).splitlines()
    assert lines[0] == "gate.yaml: 3 scopes"
    assert lines[2].split() == ["linearity", *["ε"] * 3, *["c"] * 3]
    rows = [line.split() for line in lines if line.strip().startswith(tuple(SIZES))]
    assert rows[0][:8] == ["full", "743,808", "100.0%", "1.0", "yes", "0.0100", "0.0300", "0.1000"]
    assert rows[1][:5] == ["attention", "200,000", "26.9%", "1.0", "yes"]
    assert rows[2][:8] == ["mlp", "500,000", "67.2%", "0.1", "no", "0.0900", "0.2700", "0.9000"]
    assert rows[2][8:] == ["0.9943", "0.9490", "0.4330"]


def test_a_narrow_terminal_shows_the_largest_radii(scopes: list[Result]) -> None:
    text = render_scopes(scopes, Style(width=80))
    assert "radii below" in text
    assert "r=1" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_ascii(scopes: list[Result]) -> None:
    text = render_scopes(scopes, Style(width=120, encoding="ascii"))
    assert text.isascii()
    assert "error" in text


def test_without_sizes_the_columns_are_empty(scopes: list[Result]) -> None:
    bare = [dataclasses.replace(s, report=dataclasses.replace(s.report, scope={})) for s in scopes]
    rows = render_scopes(bare, Style(width=120)).splitlines()
    assert any(row.split()[:3] == ["full", "1.0", "yes"] for row in rows if row)


def test_groups() -> None:
    many = [scope(s, 0.1, label) for label in ("a", "b") for s in ("full", "mlp")]
    assert [[r.short for r in group] for group in scopes_of(many)] == [
        ["a, full", "a, mlp"],
        ["b, full", "b, mlp"],
    ]
    assert [[r.title for r in group] for group in series_of(many)] == [
        ["gate.yaml: a, full", "gate.yaml: b, full"],
        ["gate.yaml: a, mlp", "gate.yaml: b, mlp"],
    ]
    assert scopes_of(series()) == []
    assert scopes_of([measured()]) == series_of([measured()]) == []
    assert series_of(many[:2]) == []


def test_what_is_counted(scopes: list[Result]) -> None:
    assert counted(3, scopes) == "3 scopes"
    assert counted(3, series()) == "3 checkpoints"
    assert counted(1, [measured()]) == "1 checkpoint"
    many = [scope(s, 0.1, label) for label in ("a", "b") for s in ("full", "mlp")]
    assert counted(4, many) == "4 measurements"
    lost = Failure("gate.yaml", None, "it has none", "biases")
    assert counted(2, [scopes[0], lost]) == "2 scopes"
    assert lost.title == "gate.yaml: biases"


def test_a_series_of_one_scope_says_which() -> None:
    many = [scope("mlp", 0.1, label) for label in ("checkpoint-1", "checkpoint-2")]
    lines = render_series(many, Style(width=120)).splitlines()
    assert lines[0] == "gate.yaml: mlp: 2 checkpoints"
    assert any(line.split()[:1] == ["checkpoint-2"] for line in lines)


def test_markdown(scopes: list[Result]) -> None:
    text = markdown(scopes, [Failure("gate.yaml", None, "there are none", "biases")])
    assert text.startswith("## ❌ linearity: 2 of 4 scopes fail")
    assert "### ❌ gate.yaml: biases could not be measured" in text
    assert "### gate.yaml: scopes" in text
    rows = [line for line in text.splitlines() if line.startswith("| mlp |")]
    assert rows == [
        "| mlp | 500,000 | 67.2% | 0.1 | 0.0900 | 0.2700 | 0.9000 "
        "| 0.9943 | 0.9490 | 0.4330 | ❌ no |"
    ]
    assert "<summary>✅ attention</summary>" in text
    assert "could not" not in markdown(scopes)


def test_markdown_of_checkpoints_and_scopes() -> None:
    many = [scope(s, 0.1, label) for label in ("a", "b") for s in ("full", "mlp")]
    text = markdown(many)
    assert text.startswith("## ✅ linearity: all 4 measurements pass")
    for heading in ("gate.yaml: full", "gate.yaml: mlp", "gate.yaml: a: scopes"):
        assert f"### {heading}\n" in text


def test_the_page(scopes: list[Result]) -> None:
    page = html(scopes)
    assert "logits: 3 scopes</h1>" in page
    assert "<h2>gate.yaml: scopes</h2>" in page
    assert '<a href="#checkpoint-2">mlp</a>' in page
    assert page.count("<svg") == 4
    ids = [part.split('"')[0] for part in page.split(' id="')[1:]]
    assert len(ids) == len(set(ids))


def test_hostile_names_are_escaped() -> None:
    regex = f"regex:{HOSTILE}"
    pair = [scope("full", 0.1), dataclasses.replace(scope("mlp", 0.1), scope=HOSTILE)]
    config = {**pair[1].report.config, "param_scope": regex}
    pair[1] = dataclasses.replace(
        pair[1], report=dataclasses.replace(pair[1].report, config=config)
    )
    assert "<script>" not in html(pair)
    assert "<script>" not in markdown(pair)
    draw_scopes(pair, PRINT)


def test_the_plot_has_a_line_for_each_scope(scopes: list[Result]) -> None:
    errors, cosines = draw_scopes(scopes, PRINT).axes
    lines = {line.get_label(): line for line in errors.get_lines()}
    assert list(lines["mlp (67.2% of all parameters)"].get_ydata()) == pytest.approx(
        [0.09, 0.27, 0.9]
    )
    assert list(lines["full (100.0% of all parameters)"].get_ydata()) == pytest.approx(
        [0.01, 0.03, 0.1]
    )
    assert list(lines["does not comply"].get_xdata()) == [0.3, 1.0]
    styles = {(line.get_color(), line.get_marker()) for line in cosines.get_lines()}
    assert len(styles) >= 4
    assert "limit" in lines


def test_relative_radii_are_those_of_each_scopes_own_norm(scopes: list[Result]) -> None:
    config = {**scopes[0].report.config, "radius_unit": "relative"}
    first = dataclasses.replace(
        scopes[0], report=dataclasses.replace(scopes[0].report, config=config)
    )
    errors, _ = draw_scopes([first, *scopes[1:]], PRINT).axes
    assert errors.get_xlabel() == "radius r of the scope's norm"


def test_figures_that_are_not_defined_leave_no_point() -> None:
    gap = dataclasses.replace(scope("mlp", 0.1), report=report(undefined=[0.3]))
    errors, _ = draw_scopes([scope("full", 0.1), gap], PRINT).axes
    assert [len(line.get_xdata()) for line in errors.get_lines()][:2] == [3, 2]


def test_files(scopes: list[Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Outputs(plot=tmp_path / "p.svg").write(scopes).places
    assert [p.name for p in places] == ["p.svg", "p-full.svg", "p-attention.svg", "p-mlp.svg"]
    scopes_drawing(scopes, title="mine").save(tmp_path / "own.png")
    assert (tmp_path / "own.png").stat().st_size > 5000

    # Only names matter from here on.
    monkeypatch.setattr(Drawing, "save", lambda _, path: path.touch(exist_ok=False))
    many = [scope(s, 0.1, label) for label in ("a", "b") for s in ("full", "mlp")]
    places = Outputs(plot=tmp_path / "m.svg").write(many).places
    assert [place.name for place in places] == [
        "m-full.svg",
        "m-mlp.svg",
        "m-a.svg",
        "m-b.svg",
        "m-a-full.svg",
        "m-a-mlp.svg",
        "m-b-full.svg",
        "m-b-mlp.svg",
    ]
