"""The hooks of a pytest session that has a linearity config."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.errors import LinearityError
from pytest_linearity.fixtures import parametrize
from pytest_linearity.gate import GateFile, GateTest
from pytest_linearity.run import Run
from pytest_linearity.session import SESSION, LinearitySession


class LinearityHooks:
    """Collects the gates, serves the fixtures, shows the figures."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the configs of the gate: a mistake there ends the session before it starts.

        Raises:
            pytest.UsageError: If a config cannot be used, or a report not be written.
        """
        self._session = config.stash[SESSION] = LinearitySession(config)
        try:
            self._gates = {run.source: run for run in self._session.gates}
        except LinearityError as error:
            self._session.close()
            raise pytest.UsageError(str(error)) from None
        if self._gates and config.args_source is not config.ArgsSource.ARGS:
            # Without a path of the user's own the gate runs alone, whatever `testpaths` says.
            config.args = []
            config.args_source = config.ArgsSource.ARGS

    def pytest_unconfigure(self) -> None:
        """Let go of the terminal."""
        self._session.close()

    def pytest_report_header(self) -> list[str]:
        """One line per gate."""
        return [
            f"linearity: {run.name}, r = {', '.join(map(str, run.config.radii))}"
            for run in self._gates.values()
        ]

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Collect the gates besides what the paths of the command line hold.

        Not by way of those paths: a config in a directory that pytest ignores, or in one that is
        named as well, would not be collected, and a gate must never be lost without a word.
        """
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            report.result += [
                GateFile.of(run, collector)
                for path, run in self._gates.items()
                if not collector.isinitpath(path)
            ]
        return report

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> GateFile | None:
        """Collect a gate that is named on the command line, maybe one of its tests alone."""
        if parent.session.isinitpath(file_path) and file_path in self._gates:
            return GateFile.of(self._gates[file_path], parent)
        return None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrise the tests that use the fixtures."""
        if "_linearity_run" not in metafunc.fixturenames or self._session.unusable:
            return
        try:
            parametrize(metafunc, self._session.for_fixtures)
        except LinearityError as error:
            self._session.unusable = error

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """End the session where the config of the fixtures cannot be used."""
        with self._session.ending_as_usage_error():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """End the session where a checkpoint or its probes cannot be used."""
        with self._session.ending_as_usage_error():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Stop all tests where one of our fixtures finds such a mistake."""
        if not fixturedef.argname.startswith(("linearity_", "_linearity_")):
            return (yield)
        with self._session.stopping_at_unusable_input():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say that a skipped radius was skipped by its config, not by a line of this package."""
        report = yield
        if isinstance(item, GateTest) and report.skipped and isinstance(report.longrepr, tuple):
            report.longrepr = (str(item.path), 1, report.longrepr[2])
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The figures of every checkpoint that was measured."""
        measured = [run for run in self._session.runs if run.measured]
        if not measured or terminalreporter.verbosity < -1:
            return
        terminalreporter.section("linearity")
        for run in measured:
            terminalreporter.write(_figures(run, terminalreporter))


def _figures(run: Run, reporter: pytest.TerminalReporter) -> str:
    from pytest_linearity.report.files import brief
    from pytest_linearity.report.terminal import render

    writer = reporter.config.get_terminal_writer()
    return render(
        run.report,
        run.name,
        width=writer.fullwidth,
        color=writer.hasmarkup,
        encoding=sys.stdout.encoding or "utf-8",
        footer=f"report: {brief(run.report_path)}" if run.report_path else "",
    )
