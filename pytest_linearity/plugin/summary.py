"""What the plugin adds to pytest's terminal summary: the figures of every checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_linearity.plugin.session import LinearitySession
from pytest_linearity.report.results import Result, scopes_of, series_of
from pytest_linearity.run.run import Run

if TYPE_CHECKING:
    from pytest_linearity.report.style import Style


def write_summary(session: LinearitySession, reporter: pytest.TerminalReporter) -> None:
    """The figures of every checkpoint that was measured, then what was written."""
    reported = [run for run in session.runs if run.reported]
    if not reported or reporter.verbosity < -1:
        return
    reporter.write_sep("=", "linearity")
    for number, run in enumerate(reported):
        reporter.write("\n" * (number > 0) + _figures(run, reporter))
        if run.compared:
            reporter.write(_comparison(run, reporter))
    for series in series_of(session.results):
        reporter.write("\n" + _series(series, reporter))
    for scopes in scopes_of(session.results):
        reporter.write("\n" + _scopes(scopes, reporter))
    for line in session.written.lines:
        reporter.write_line(line)


def _figures(run: Run, reporter: pytest.TerminalReporter) -> str:
    from pytest_linearity.report.terminal.report import render

    return render(run.report, run.name, footer="\n".join(run.provenance()), **_style(reporter))


def _comparison(run: Run, reporter: pytest.TerminalReporter) -> str:
    from pytest_linearity.report.terminal.regression import render_comparison

    if run.regression is None or run.baseline is None:
        return ""
    title = f"{run.name} against {run.baseline.name}"
    return "\n" + render_comparison(run.regression, title, **_style(reporter))


def _series(series: Sequence[Result], reporter: pytest.TerminalReporter) -> str:
    from pytest_linearity.report.terminal.series import render_series

    return render_series(series, **_style(reporter))


def _scopes(scopes: Sequence[Result], reporter: pytest.TerminalReporter) -> str:
    from pytest_linearity.report.terminal.scopes import render_scopes

    return render_scopes(scopes, **_style(reporter))


def _style(reporter: pytest.TerminalReporter) -> Style:
    writer = reporter.config.get_terminal_writer()
    encoding = sys.stdout.encoding or "utf-8"
    return {"width": writer.fullwidth, "color": writer.hasmarkup, "encoding": encoding}
