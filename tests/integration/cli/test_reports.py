"""The commands that read reports: `show` and `compare`."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_linearity.report.json import write_json
from pytest_linearity.report.style import Style
from tests.support.fixtures import Call
from tests.support.paired import report

THEN = {0.1: [[0.02, 0.03], [0.02, 0.03]], 1.0: [[0.11, 0.12], [0.12, 0.13]]}
GROWN = {0.1: [[0.02, 0.03], [0.02, 0.03]], 1.0: [[0.15, 0.16], [0.17, 0.18]]}


@pytest.fixture
def run(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs the command beside `then.json` and `grown.json`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "90")
    write_json(report(THEN), tmp_path / "then.json")
    write_json(report(GROWN), tmp_path / "grown.json")
    return call


def test_output_that_is_kept_as_text(run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = io.StringIO()  # has no encoding
    monkeypatch.setattr("sys.stdout", kept)
    assert run("show", "then.json")[0] == 0
    assert "relative error" in kept.getvalue()


def one_line(errors: str) -> str:
    lines = [line for line in errors.splitlines() if not line.startswith(("usage:", " "))]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


class TestCompare:
    def test_shows_both_figures_of_every_radius(self, run: Call) -> None:
        code, shown, errors = run("compare", "then.json", "grown.json")
        assert (code, errors) == (0, "")
        lines = [" ".join(line.split()) for line in shown.splitlines()]
        assert lines[0] == "grown.json against then.json"
        assert lines[3:5] == ["growth difference", "radius baseline now ≤ 10% 95% interval verdict"]
        assert "0.1 0.0250 0.0250 +0% [0, 0] no worse" in lines
        assert "1.0 0.1200 0.1650 +37.5% [-0.019, 0.11] within chance" in lines
        assert "linearity radius 1.0 baseline 1.0" in lines

    def test_fails_only_when_asked_to(self, run: Call, tmp_path: Path) -> None:
        worse = {**GROWN, 1.0: [[0.15, 0.16], [0.16, 0.17]]}
        write_json(report(worse), tmp_path / "worse.json")
        code, shown, _ = run("compare", "then.json", "worse.json")
        assert code == 0
        assert (
            " mean relative error 0.16 grew 33.3% over the baseline's 0.12 at r=1.0 (limit 10%; "
            "difference 0.04, 95% interval [0.04, 0.04])\n" in shown
        )
        assert run("compare", "then.json", "worse.json", "--fail-on-regression")[0] == 1
        assert run("compare", "then.json", "grown.json", "--fail-on-regression")[0] == 0
        assert run("compare", "worse.json", "then.json", "--fail-on-regression")[0] == 0

    def test_fails_when_the_linearity_radius_fell(self, run: Call, tmp_path: Path) -> None:
        write_json(replace(report(THEN), linearity_radius=0.1), tmp_path / "fell.json")
        code, shown, _ = run("compare", "then.json", "fell.json", "--fail-on-regression")
        assert code == 1
        assert " linearity radius 0.1 fell below the baseline's 1.0\n" in shown

    def test_the_limit_is_the_options_then_the_reports(self, run: Call, tmp_path: Path) -> None:
        worse = {**THEN, 1.0: [[0.15, 0.16], [0.16, 0.17]]}
        write_json(report(worse, max_regression=0.5), tmp_path / "worse.json")
        asked = ("compare", "then.json", "worse.json", "--fail-on-regression")
        code, shown, _ = run(*asked)
        assert code == 0
        assert "≤ 50%" in shown
        code, shown, _ = run(*asked, "--max-regression", "0.3")
        assert code == 1
        assert "≤ 30%" in shown

    def test_a_report_from_before_there_was_a_limit(self, run: Call, tmp_path: Path) -> None:
        old = report(THEN)
        keys = {key: value for key, value in old.config.items() if key != "max_regression"}
        write_json(replace(old, config=keys), tmp_path / "old.json")
        assert "≤ 10%" in run("compare", "then.json", "old.json")[1]

    def test_without_unicode(self, run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pytest_linearity.cli.output.style", lambda: Style(encoding="ascii"))
        shown = run("compare", "then.json", "grown.json")[1]
        assert shown.isascii()
        assert "<= 10%" in shown

    @pytest.mark.parametrize(
        ("arguments", "mentioned"),
        [
            (["then.json", "none.json"], "none.json: there is no such report"),
            (["none.json", "then.json"], "none.json: there is no such report"),
            (["then.json"], "REPORT"),
            (["then.json", "text.json"], "text.json: this is not JSON"),
            (["seed.json", "then.json"], "seed.json: this baseline is not comparable: seed: 42"),
            (["then.json", "then.json", "--max-regression", "-1"], "'-1' is not a number of at"),
            (["then.json", "then.json", "--max-regression", "10%"], "'10%' is not a number of"),
        ],
    )
    def test_input_that_cannot_be_used(
        self, run: Call, arguments: list[str], mentioned: str, tmp_path: Path
    ) -> None:
        (tmp_path / "text.json").write_text("text")
        write_json(report(THEN, seed=7), tmp_path / "seed.json")
        code, shown, errors = run("compare", *arguments)
        assert (code, shown) == (4, "")
        assert mentioned in one_line(errors)

    def test_help_says_the_exit_codes(self, run: Call) -> None:
        shown = " ".join(run("compare", "--help")[1].split())
        assert "The exit code is 0, or with --fail-on-regression 1 where" in shown
        assert "and 4 where a report cannot be read" in shown


class TestShow:
    def test_every_report_as_a_table(self, run: Call) -> None:
        code, shown, errors = run("show", "then.json", "grown.json")
        assert (code, errors) == (0, "")
        lines = shown.splitlines()
        assert lines[0] == "then.json"
        assert "" in lines[: lines.index("grown.json")]
        assert "0.0250 ± 0.0100" in shown
        assert shown.count("linearity radius 1.0") == 2

    def test_whatever_the_verdict(self, run: Call, tmp_path: Path) -> None:
        failed = report({0.1: [[0.5]], 1.0: [[None]]})
        write_json(failed, tmp_path / "failed.json")
        code, shown, _ = run("show", "failed.json")
        assert code == 0
        assert "linearity radius none" in shown
        assert "undefined" in shown

    def test_one_that_cannot_be_read(self, run: Call) -> None:
        code, shown, errors = run("show", "then.json", "none.json")
        assert (code, shown) == (4, "")
        assert "none.json: there is no such report" in one_line(errors)

    def test_help_says_the_exit_codes(self, run: Call) -> None:
        shown = " ".join(run("show", "--help")[1].split())
        assert "The exit code is 0 whatever the figures are, and 4 where" in shown


def test_the_commands_are_listed(run: Call) -> None:
    shown = run("--help")[1]
    for command in ("analyze-logits", "compare", "show"):
        assert f"\n    {command}" in shown
