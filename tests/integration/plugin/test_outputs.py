"""The options for reports, in a run of pytest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"
ALL = ("--linearity-markdown=s.md", "--linearity-html=r.html", "--linearity-plot=p.svg")


def written(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.suffix in (".md", ".html", ".svg")}


def test_reports_of_a_gate_that_fails(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    result = pytester.runpytest(GATE, *ALL)
    assert result.ret == 1
    assert written(pytester.path) == {"s.md", "r.html", "p.svg"}
    result.stdout.fnmatch_lines(["also written: s.md, r.html, p.svg"])
    summary = (pytester.path / "s.md").read_text()
    assert "- r=1.0: mean relative error 0.31 &gt; 0.20" in summary
    assert "mean relative error 0.31 &gt; 0.20" in (pytester.path / "r.html").read_text()


def test_none_unless_asked_for(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    result = pytester.runpytest(GATE)
    assert not written(pytester.path)
    result.stdout.no_fnmatch_line("also written*")


def test_the_step_summary_of_github(
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: type[FixedAnalysis],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "step.md"))
    write_config(radii=[0.1])
    pytester.runpytest(GATE, "--collect-only")
    assert not (pytester.path / "step.md").exists()
    assert pytester.runpytest(GATE).ret == 0
    assert (pytester.path / "step.md").read_text().startswith("## ✅ linearity: gate.yaml passes")


def test_a_step_summary_that_cannot_be_written_fails_no_gate(
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: type[FixedAnalysis],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "missing" / "step.md"))
    write_config(radii=[0.1])
    result = pytester.runpytest(GATE)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["GITHUB_STEP_SUMMARY: the summary could not be added (No such*"])


@pytest.mark.parametrize(
    ("option", "mentioned"),
    [
        ("--linearity-plot=p.jpg", "*p.jpg: a plot's suffix is .png, .svg or .pdf, not .jpg"),
        ("--linearity-html=gate.yaml", "*--linearity-html: gate.yaml is a file of this run*"),
        ("--linearity-markdown=.", "*this is a directory; the Markdown summary needs*"),
        ("--linearity-plot=gate.yaml/p.png", "*gate.yaml/p.png: the plot cannot be written here*"),
        ("--linearity-html=linearity_report.json", "*linearity_report.json is a file of this*"),
    ],
)
def test_a_place_that_cannot_be_used_is_found_before_measuring(
    option: str,
    mentioned: str,
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: type[FixedAnalysis],
) -> None:
    write_config()
    result = pytester.runpytest(GATE, option)
    assert result.ret == 4
    result.stderr.fnmatch_lines([mentioned])
    assert fixed.measured == 0
    assert [path.name for path in pytester.path.iterdir()] == ["gate.yaml"]


@pytest.mark.parametrize("option", ["--linearity-plot=p.png", "--linearity-html=r.html"])
def test_without_matplotlib(
    option: str,
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: type[FixedAnalysis],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pytest_linearity.report.plot.files.find_spec", lambda name: None)
    write_config()
    result = pytester.runpytest(GATE, option)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*pip install 'pytest-linearity?plot?'*"])
    assert fixed.measured == 0


@pytest.mark.parametrize("option", ALL)
def test_an_option_without_a_config(option: str, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest(option)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{option.partition('=')[0]}: there is no config*"])


def test_reports_of_the_fixtures_config(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    pytester.makepyfile("def test_own(linearity_report): assert linearity_report")
    pytester.runpytest("-o", "linearity_config=gate.yaml", *ALL).assert_outcomes(passed=1)
    assert written(pytester.path) == {"s.md", "r.html", "p.svg"}
