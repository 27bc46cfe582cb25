"""What the plugin adds to pytest's terminal summary: the figures of every checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_linearity.plugin.session import LinearitySession
from pytest_linearity.report.results import scopes_of, series_of
from pytest_linearity.report.style import Style

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_linearity.run.run import Run


def write_summary(session: LinearitySession, reporter: pytest.TerminalReporter) -> None:
    """The figures of every checkpoint that was measured, then what was written."""
    reported = [run for run in session.runs if run.reported]
    if not reported or reporter.verbosity < -1:
        return
    reporter.write_sep("=", "linearity")
    for number, shown in enumerate(_tables(session, reported, _style(reporter))):
        reporter.write("\n" * (number > 0) + shown)
    for line in session.written.lines:
        reporter.write_line(line)


def _tables(session: LinearitySession, reported: Sequence[Run], style: Style) -> Iterator[str]:
    """Each checkpoint and how it compares with its baseline, then those of a config together."""
    from pytest_linearity.report.terminal.regression import render_comparison
    from pytest_linearity.report.terminal.report import render
    from pytest_linearity.report.terminal.scopes import render_scopes
    from pytest_linearity.report.terminal.series import render_series

    for run in reported:
        yield render(run.report, run.name, style, footer="\n".join(run.provenance()))
        if run.compared and run.regression and run.baseline:
            title = f"{run.name} against {run.baseline.name}"
            yield render_comparison(run.regression, title, style)
    for series in series_of(session.results):
        yield render_series(series, style)
    for scopes in scopes_of(session.results):
        yield render_scopes(scopes, style)


def _style(reporter: pytest.TerminalReporter) -> Style:
    writer = reporter.config.get_terminal_writer()
    return Style(writer.fullwidth, writer.hasmarkup, sys.stdout.encoding or "utf-8")
