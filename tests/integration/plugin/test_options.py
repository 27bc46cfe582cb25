"""Options of pytest and neighbours of the plugin, in one process."""

from __future__ import annotations

import json

import pytest

from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"
WITHOUT = ("-p", "no:cacheprovider")


class TestAlone:
    @pytest.fixture(autouse=True)
    def gate(self, write_config: Write, fixed: type[FixedAnalysis]) -> None:
        fixed.figures = {0.1: (0.02, 0.99), 0.3: (0.3, 0.99), 1.0: (0.5, 0.99)}
        write_config()

    OPTIONS: tuple[tuple[tuple[str, ...], dict[str, int]], ...] = (
        (("-p", "no:xdist"), {"passed": 1, "failed": 3}),
        (("-n0",), {"passed": 1, "failed": 3}),
        (("--dist=no",), {"passed": 1, "failed": 3}),
        (("-k", "radius and not 1.0"), {"passed": 1, "failed": 2}),
        (("--maxfail=2",), {"passed": 1, "failed": 2}),
        (("-x",), {"passed": 1, "failed": 1}),
        (("-q",), {"passed": 1, "failed": 3}),
        (("-v",), {"passed": 1, "failed": 3}),
        (("-vv", "--tb=short"), {"passed": 1, "failed": 3}),
        (("-s", "--tb=line"), {"passed": 1, "failed": 3}),
        (("--tb=no", "-rA"), {"passed": 1, "failed": 3}),
        (WITHOUT, {"passed": 1, "failed": 3}),
        (("--strict-markers", "--strict-config", "-W", "error"), {"passed": 1, "failed": 3}),
    )

    @pytest.mark.parametrize(("options", "outcomes"), OPTIONS, ids=lambda value: str(value)[:40])
    def test_option(
        self,
        options: tuple[str, ...],
        outcomes: dict[str, int],
        pytester: pytest.Pytester,
        fixed: type[FixedAnalysis],
    ) -> None:
        result = pytester.runpytest(GATE, *options)
        result.assert_outcomes(**outcomes, deselected=1 if "-k" in options else None)
        assert result.ret == 1
        assert fixed.measured == 1
        assert json.loads((pytester.path / "linearity_report.json").read_text())["passed"] is False
        result.stdout.fnmatch_lines([" linearity radius 0.1 *", "report: linearity_report.json"])

    def test_last_failed(self, pytester: pytest.Pytester) -> None:
        pytester.runpytest(GATE).assert_outcomes(passed=1, failed=3)
        pytester.runpytest(GATE, "--lf").assert_outcomes(failed=3)

    @pytest.mark.parametrize(
        "options", [("--collect-only",), ("--co", "-q"), ("--co", "-q", "-n2")]
    )
    def test_only_collecting(
        self, options: tuple[str, ...], pytester: pytest.Pytester, fixed: type[FixedAnalysis]
    ) -> None:
        result = pytester.runpytest(GATE, *options)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["*linearity_radius*", "*4 tests collected*"])
        assert fixed.measured == 0
        assert not list(pytester.path.glob("*.json"))

    def test_without_a_terminal_reporter(
        self, pytester: pytest.Pytester, fixed: type[FixedAnalysis]
    ) -> None:
        result = pytester.runpytest(GATE, "-p", "no:terminal")
        assert result.ret == 1
        assert not result.outlines
        assert not result.errlines
        assert fixed.measured == 1
        assert (pytester.path / "linearity_report.json").exists()

    def test_in_another_order(self, pytester: pytest.Pytester, fixed: type[FixedAnalysis]) -> None:
        pytester.makeconftest("def pytest_collection_modifyitems(items): items.reverse()")
        pytester.makepyfile("def test_own(linearity_result): assert linearity_result.complies")
        result = pytester.runpytest(".", GATE, "-v")
        result.assert_outcomes(passed=2, failed=5)
        result.stdout.fnmatch_lines(["gate.yaml::linearity_radius FAILED*", "*test_own?0.1?*"])
        assert fixed.measured == 1

    def test_a_timeout_while_measuring_is_not_waited_for_again(
        self, pytester: pytest.Pytester, fixed: type[FixedAnalysis]
    ) -> None:
        # What plugins for timeouts raise in the middle of a test is no Exception.
        fixed.error = pytest.fail.Exception("Timeout >1.0s")
        result = pytester.runpytest(GATE)
        result.assert_outcomes(failed=4)
        assert fixed.measured == 1
        result.stdout.fnmatch_lines(["*Timeout >1.0s", "*measuring failed before: *Timeout >1.0s*"])
