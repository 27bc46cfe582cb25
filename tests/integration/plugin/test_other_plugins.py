"""The gate under plugins that run tests again, in another order, or report them elsewhere.

What such a plugin does to a test is imitated, as the plugins themselves are seldom installed;
where one is, a whole gate runs under it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write
from tests.support.junit import of_cases, properties, suite_of

GATE = "--linearity-config=gate.yaml"
TESTS = ("radius[0.1]", "radius[0.3]", "radius[1.0]", "linearity_radius")
FAILED = ("radius[1.0]", "linearity_radius")


@pytest.fixture(autouse=True)
def gate(write_config: Write, fixed: type[FixedAnalysis]) -> None:
    """A gate of four tests, of which two fail."""
    write_config()


class TestRunAgain:
    """Imitated: a test that failed is run again within its own protocol, and reported once."""

    RETRY = """
        import pytest

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            if call.when != "call" or not report.failed:
                return report
            stranger = pytest.Class.from_parent(item.session, name="Stranger")
            item.ihook.pytest_runtest_teardown(item=item, nextitem=stranger)
            item._initrequest()
            item.ihook.pytest_runtest_setup(item=item)
            again = pytest.CallInfo.from_call(
                lambda: item.ihook.pytest_runtest_call(item=item), when="call"
            )
            return pytest.TestReport.from_item_and_call(item, again)
        """
    """As pytest-retry does."""

    RERUN = """
        import pytest
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            if any(report.failed for report in reports):
                item._initrequest()
                reports = runtestprotocol(item, nextitem=nextitem, log=False)
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            return True
        """
    """As pytest-rerunfailures and flaky do."""

    @pytest.mark.parametrize("plugin", [RETRY, RERUN])
    def test_says_the_same(
        self, plugin: str, pytester: pytest.Pytester, fixed: type[FixedAnalysis]
    ) -> None:
        pytester.makeconftest(plugin)
        result = pytester.runpytest(GATE, "--junitxml=junit.xml")
        result.assert_outcomes(passed=2, failed=2)
        assert result.ret == 1
        assert fixed.measured == 1
        result.stdout.fnmatch_lines(["FAILED gate.yaml::radius?1.0? - mean relative error *"])

    @pytest.mark.parametrize("plugin", [RETRY, RERUN])
    def test_reports_its_figures_once(self, plugin: str, pytester: pytest.Pytester) -> None:
        pytester.makeconftest(plugin)
        pytester.runpytest(GATE, "--junitxml=junit.xml")
        for name in TESTS:
            reported_once(pytester.path, name)
        assert of_cases(pytester.path)["radius[0.3]"]["mean_relative_error"] == "0.06"

    def test_keeps_what_others_have_recorded(self, pytester: pytest.Pytester) -> None:
        pytester.makeconftest(
            "def pytest_runtest_setup(item): item.user_properties.append(('a', 1))"
        )
        pytester.runpytest(GATE, "--junitxml=junit.xml")
        assert of_cases(pytester.path)["radius[1.0]"]["a"] == "1"

    def test_a_timeout_is_not_waited_for_again(
        self, pytester: pytest.Pytester, fixed: type[FixedAnalysis]
    ) -> None:
        fixed.error = pytest.fail.Exception("Timeout >1.0s")
        pytester.makeconftest(self.RERUN)
        result = pytester.runpytest(GATE, "-v")
        result.assert_outcomes(failed=4)
        assert fixed.measured == 1
        shown = result.stdout.str()
        assert "measuring failed before: Timeout >1.0s" in shown
        assert "Error" not in shown  # a line, and no traceback of what has been said


def test_a_limit_that_does_not_hold_is_an_assertion(pytester: pytest.Pytester) -> None:
    """Reporters tell by that what failed from what is broken."""
    pytester.makeconftest(
        """
        def pytest_runtest_makereport(item, call):
            if call.excinfo is not None:
                print("ASSERTION", call.excinfo.errisinstance(AssertionError))
        """
    )
    result = pytester.runpytest(GATE, "-s")
    shown = result.stdout.str()
    assert shown.count("ASSERTION True") == shown.count("ASSERTION") == 2


def test_allure_is_told_what_tells_tests_apart(pytester: pytest.Pytester) -> None:
    """It knows tests by the part of their names before the bracket, and by parameters."""
    pytester.mkpydir("allure_pytest")
    pytester.makepyfile(
        allure="""
        class dynamic:
            parameter = lambda name, value: print("PARAMETER", name, value)
        """
    )
    pytester.makeconftest("import allure_pytest")
    pytester.syspathinsert()
    pytester.makepyfile("def test_own(): pass")
    result = pytester.runpytest(".", GATE, "-s")
    said = [line.partition("PARAMETER ")[2] for line in result.outlines if "PARAMETER" in line]
    assert said == ["radius 0.1", "radius 0.3", "radius 1.0"]


def reported_once(path: Path, test: str) -> None:
    """No figure of a test is twice in the JUnit file."""
    cases = [case for case in suite_of(path) if case.name == test]
    assert cases
    for case in cases:
        names = [entry.name for entry in properties(case)]
        assert len(set(names)) == len(names) > 0


def outcomes_of(path: Path) -> dict[str, str]:
    """By test, as pytest-json-report has them."""
    document = json.loads((path / "report.json").read_text())
    return {test["nodeid"].partition("::")[2]: test["outcome"] for test in document["tests"]}


def allure_results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in (path / "allure").glob("*-result.json")]


def retried(pytester: pytest.Pytester, result: pytest.RunResult) -> None:
    assert result.stdout.str().count("failed after 3 attempts!") == 2


def rerun(pytester: pytest.Pytester, result: pytest.RunResult) -> None:
    result.stdout.fnmatch_lines(["*2 failed, 2 passed, 4 rerun in*"])
    for name in FAILED:
        reported_once(pytester.path, name)


def flaky(pytester: pytest.Pytester, result: pytest.RunResult) -> None:
    result.stdout.fnmatch_lines(["radius?1.0? failed; it passed 0 out of the required 1 times."])


def paged(pytester: pytest.Pytester, result: pytest.RunResult) -> None:
    page = (pytester.path / "report.html").read_text()
    assert page.count("mean relative error 0.31") == 1


def in_json(pytester: pytest.Pytester, result: pytest.RunResult) -> None:
    assert outcomes_of(pytester.path) == {
        name: "failed" if name in FAILED else "passed" for name in TESTS
    }


def in_allure(pytester: pytest.Pytester, result: pytest.RunResult) -> None:
    results = allure_results(pytester.path)
    assert {found["name"]: found["status"] for found in results} == {
        name: "failed" if name in FAILED else "passed" for name in TESTS
    }
    assert len({found["historyId"] for found in results}) == len(TESTS)


def nothing_else(pytester: pytest.Pytester, result: pytest.RunResult) -> None:
    assert "INTERNALERROR" not in result.stdout.str()


Check = Callable[[pytest.Pytester, pytest.RunResult], None]

PLUGINS: MappingProxyType[str, tuple[tuple[str, ...], tuple[str, ...], Check]] = MappingProxyType(
    {
        "pytest-retry": (("pytest_retry.retry_plugin",), ("--retries=2",), retried),
        "pytest-rerunfailures": (("pytest_rerunfailures",), ("--reruns=2",), rerun),
        "flaky": (("flaky.flaky_pytest_plugin",), ("--force-flaky",), flaky),
        "pytest-timeout": (("pytest_timeout",), ("--timeout=600",), nothing_else),
        "pytest-randomly": (("pytest_randomly",), (), nothing_else),
        "pytest-html": (
            ("pytest_html.plugin", "pytest_html.fixtures", "pytest_metadata.plugin"),
            ("--html=report.html",),
            paged,
        ),
        "pytest-json-report": (
            ("pytest_jsonreport.plugin", "pytest_metadata.plugin"),
            ("--json-report", "--json-report-file=report.json"),
            in_json,
        ),
        "allure-pytest": (("allure_pytest.plugin",), ("--alluredir=allure",), in_allure),
        "pytest-sugar": (("pytest_sugar",), ("--force-sugar",), nothing_else),
        "pytest-cov": (("pytest_cov.plugin",), (), nothing_else),
        "pytest-asyncio": (("pytest_asyncio.plugin",), (), nothing_else),
        "pytest-order": (("pytest_order.plugin",), (), nothing_else),
        "pytest-repeat": (("pytest_repeat",), ("--count=2",), nothing_else),
        "pytest-random-order": (("random_order.plugin",), ("--random-order",), nothing_else),
        "anyio": (("anyio.pytest_plugin",), (), nothing_else),
    }
)
"""The modules of each plugin, the options that make it work, and what is to be seen of it."""


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_plugin_itself(
    plugin: str,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    fixed: type[FixedAnalysis],
) -> None:
    modules, options, check = PLUGINS[plugin]
    if any(find_spec(module.partition(".")[0]) is None for module in modules):
        pytest.skip(f"{plugin} is not installed")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    named = [part for module in ("pytest_linearity.plugin", *modules) for part in ("-p", module)]
    result = pytester.runpytest(*named, GATE, "--junitxml=junit.xml", *options)
    assert result.ret == 1
    failed = {case.name for case in suite_of(pytester.path) if not case.is_passed}
    assert failed == set(FAILED)
    assert fixed.measured == 1
    check(pytester, result)
