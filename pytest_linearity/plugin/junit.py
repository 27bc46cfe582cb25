"""What the JUnit XML that pytest writes says of the figures, and of the time they took."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_linearity.plugin.items import GateTest
from pytest_linearity.plugin.session import SESSION

_MARK = "linearity_gate"
"""Attribute of the reports of the gate's tests; it travels with them."""


class JUnitProperties:
    """Moves the figures of the gate's tests from the test cases, where pytest puts them.

    Properties of a test case are an extension that some readers refuse, as Jenkins' schema does.
    Durations add up to the time that measuring took: the first test of a checkpoint measures for
    all, and those that wait for it in other workers of pytest-xdist count their own time only.
    """

    def __init__(self, config: pytest.Config) -> None:
        """Do what `--linearity-junit-properties` says."""
        self._config = config
        self._place: str = config.getoption("--linearity-junit-properties")
        self._moved: dict[str, object] = {}
        self._waited = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Mark the gate's reports: they may come back from a worker of pytest-xdist."""
        report = yield
        waited = self._config.stash[SESSION].waited
        report.duration = max(0.0, report.duration - (waited - self._waited))
        self._waited = waited
        if isinstance(item, GateTest):
            setattr(report, _MARK, True)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the figures away before pytest writes them."""
        if self._place == "testcase" or hasattr(self._config, "workerinput"):
            return
        if not getattr(report, _MARK, False):
            return
        for name, value in report.user_properties:
            self._moved[f"{report.nodeid}::{name}"] = value
        report.user_properties = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Hand them to the suite before pytest writes its file."""
        # The key that pytest's own `record_testsuite_property` uses: no public name leads there.
        from _pytest.junitxml import xml_key

        xml = self._config.stash.get(xml_key, None)
        if self._place == "suite" and xml is not None:
            for name, value in self._moved.items():
                xml.add_global_property(name, value)
