"""What commands that measure have in common: runs, their tables, what could not be measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_linearity.errors import FINE, UNUSABLE
from pytest_linearity.numerics.ranks import current

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.report.results import Result
    from pytest_linearity.run.run import Run


@dataclass(frozen=True)
class Shown:
    """What was measured and shown."""

    results: tuple[Result, ...]
    """The reports, in the order of the runs."""
    code: int
    """0, or 4 where one of several checkpoints or scopes could not be measured."""


def runs_for(
    path: Path,
    configs: Sequence[Config],
    report: Path | None,
    journals: Path | None,
    *,
    writes: bool = True,
) -> tuple[Run, ...]:
    """A run for each config of a file; rank 0 alone writes reports.

    Args:
        path: The file, or the model.
        configs: Of one checkpoint and scope each.
        report: Where the report goes, instead of where the config says.
        journals: Where results are kept as they come; None for nowhere.
        writes: Whether there are to be reports at all.

    Raises:
        ConfigError: If a report cannot be written.
    """
    from pytest_linearity.report.places import report_places
    from pytest_linearity.run.progress import ProgressBar
    from pytest_linearity.run.run import make_runs

    places = report_places(configs, report) if writes else [None] * len(configs)
    return make_runs(
        [(path, config) for config in configs],
        [None] * len(places) if current().rank else places,
        bar=lambda label: ProgressBar(sys.stderr, label),
        journals=journals,
    )


def show(runs: Sequence[Run]) -> Shown:
    """Measure, write the reports, and show the figures.

    Raises:
        LinearityError: If the input cannot be used; of several checkpoints or scopes one that
            cannot be measured is named and left out.
    """
    from pytest_linearity.cli.output import style
    from pytest_linearity.errors import CheckpointError, MeasurementError, ScopeError
    from pytest_linearity.report.results import scopes_of, series_of
    from pytest_linearity.report.terminal.report import render
    from pytest_linearity.report.terminal.scopes import render_scopes
    from pytest_linearity.report.terminal.series import render_series

    code = FINE
    measured = []
    for run in runs:
        try:
            shown = render(run.report, run.name, style(), footer="\n".join(run.provenance()))
        except (CheckpointError, MeasurementError, ScopeError) as error:
            if run.label is None and not isinstance(error, ScopeError):
                raise
            print(f"error: {error}", file=sys.stderr)
            code = UNUSABLE
            continue
        sys.stdout.write(shown)
        for failure in run.unwritten:
            print(f"error: {failure}", file=sys.stderr)
            code = UNUSABLE
        measured.append(run.result())
        run.release()
    for series in series_of(measured):
        sys.stdout.write(render_series(series, style()))
    for scopes in scopes_of(measured):
        sys.stdout.write("\n" + render_scopes(scopes, style()))
    return Shown(tuple(measured), code)
