"""Several checkpoints of one config as a table: linearity radius and figures over the steps."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pytest_linearity.report.results import Result, title
from pytest_linearity.report.style import PLAIN, Style
from pytest_linearity.report.terminal.results import COLUMN, FirstColumns, render_results


def render_series(series: Sequence[Result], style: Style = PLAIN) -> str:
    """The series as text for a terminal: one row per checkpoint.

    Args:
        series: The checkpoints of one config, in the order of their training steps.
        style: How it is shown.
    """
    heading = f"{title(series[0].name, None, series[0].scope)}: {len(series)} checkpoints"
    stepped = _steps_say_more(series)

    def columns(shown: Table) -> None:
        if stepped:
            shown.add_column("step", justify="right")
        shown.add_column("checkpoint", overflow="fold")

    def cells(result: Result) -> list[str]:
        step = "" if result.step is None else str(result.step)
        return [*[step] * stepped, result.label or result.short]

    longest = max(len(cells(result)[-1]) for result in series)
    rows = FirstColumns(columns, cells, COLUMN * stepped + max(longest, 10))
    return render_results(heading, series, rows, style)


def _steps_say_more(series: Sequence[Result]) -> bool:
    """Whether steps are known that the names of the checkpoints do not end with."""
    return any(
        result.step is not None and not (result.label or result.short).endswith(str(result.step))
        for result in series
    )
