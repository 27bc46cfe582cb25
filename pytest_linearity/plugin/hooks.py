"""The hooks of a pytest session that has a linearity config."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.errors import LinearityError
from pytest_linearity.files import brief
from pytest_linearity.numerics.ranks import current, on_all_ranks
from pytest_linearity.plugin.collection import GateFile
from pytest_linearity.plugin.items import GateTest, radii_of
from pytest_linearity.plugin.marks import warn_of_no_effect
from pytest_linearity.plugin.model_release import ModelRelease
from pytest_linearity.plugin.parametrize import parametrize, require_radii
from pytest_linearity.plugin.session import SESSION, LinearitySession
from pytest_linearity.plugin.summary import write_summary
from pytest_linearity.run.run import Run


class LinearityHooks:
    """Collects the gates, serves the fixtures, shows the figures."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the configs of the gate: a mistake there ends the session before it starts.

        Raises:
            pytest.UsageError: If a config cannot be used, or a report not be written.
        """
        try:
            self._session = config.stash[SESSION] = LinearitySession(config)
        except LinearityError as error:
            raise pytest.UsageError(str(error)) from None
        self._ending = self._session.ending
        try:
            with self._ending.before_it_starts():
                on_all_ranks(current(), "reading the config", lambda: len(self._session.gates))
        except pytest.UsageError:
            self._session.close()
            raise
        gates = self._session.gates
        self._gates = {path: list(runs) for path, runs in groupby(gates, lambda run: run.source)}
        self._release = ModelRelease(self._session)
        if self._gates and config.args_source is not config.ArgsSource.ARGS:
            # Without a path of the user's own the gate runs alone, whatever `testpaths` says.
            config.args = []
            config.args_source = config.ArgsSource.ARGS

    def pytest_unconfigure(self) -> None:
        """Let go of the terminal and of what is shared."""
        self._session.close()

    def pytest_report_header(self) -> list[str]:
        """One line per gate."""
        lines = [f"linearity: {_gate_line(runs)}" for runs in self._gates.values()]
        if self._session.cache_directory is not None:
            lines.append(f"linearity cache: {brief(self._session.cache_directory)}")
        return lines

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
                GateFile.of(runs, collector)
                for path, runs in self._gates.items()
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
        if not {"linearity_config", "linearity_radius"}.intersection(metafunc.fixturenames):
            warn_of_no_effect(metafunc.definition)
        if "_linearity_run" not in metafunc.fixturenames or self._ending.unusable:
            return
        try:
            parametrize(metafunc, self._session.for_fixtures)
        except LinearityError as error:
            self._ending.refuse(error)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        """End the session where the config of the fixtures cannot be used."""
        with self._ending.as_usage_error(session):
            return (yield)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep in mind which models and radii are going to be needed."""
        if not self._ending.unusable:
            self._release.expect(session.items)
            require_radii(session.items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """End the session where a checkpoint or its probes cannot be used."""
        with self._ending.as_usage_error(session):
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Tell Allure the parameters of our tests, which it reads off functions alone.

        It takes tests that differ in nothing else for one test that was run again.
        """
        if isinstance(item, GateTest) and "allure_pytest" in sys.modules:
            import allure

            for name, value in item.parameters.items():
                allure.dynamic.parameter(name, value)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let go of models that are needed no longer."""
        result = yield
        self._release.done(item)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Stop all tests where one of our fixtures finds such a mistake."""
        name = fixturedef.argname
        if not name.startswith(("linearity_", "_linearity_")):
            return (yield)
        run = None if name == "_linearity_run" else request.getfixturevalue("_linearity_run")
        with self._ending.stopping_at_unusable_input(run):
            return (yield)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist where to share what it measures."""
        self._session.role.admit(node)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Hear why a worker has ended."""
        message = self._session.role.told(node)
        if message is not None:
            self._ending.refuse(LinearityError(message))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write all files before anything is said of them."""
        with self._ending.writing():
            self._session.finish()
        result = yield
        self._ending.tell()
        return result

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
        write_summary(self._session, terminalreporter)


def _gate_line(runs: Sequence[Run]) -> str:
    first = runs[0]
    checkpoints = {run.label for run in runs} - {None}
    scopes = {run.scope for run in runs} - {None}
    several = f", {len(checkpoints)} checkpoints" if checkpoints else ""
    several += f", {len(scopes)} scopes" if scopes else ""
    return f"{first.config_name}{several}, r = {', '.join(map(str, radii_of(first.config)))}"
