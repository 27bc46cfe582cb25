"""Several checkpoints of one config as a table: linearity radius and figures over the steps."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_linearity.report.results import Result, title
from pytest_linearity.report.style import PLAIN, Style
from pytest_linearity.report.terminal.results import COLUMN, render_results
from pytest_linearity.report.terminal.tables import table


def render_series(series: Sequence[Result], style: Style = PLAIN) -> str:
    """The series as text for a terminal: one row per checkpoint.

    Args:
        series: The checkpoints of one config, in the order of their training steps.
        style: How it is shown.
    """
    heading = f"{title(series[0].name, None, series[0].scope)}: {len(series)} checkpoints"
    names = [[result.label or result.short] for result in series]
    longest = max(len(name) for [name] in names)
    shown = table(style)
    stepped = _steps_say_more(series)
    if stepped:
        shown.add_column("step", justify="right")
        steps = ["" if result.step is None else str(result.step) for result in series]
        names = [[step, *name] for step, name in zip(steps, names, strict=True)]
    shown.add_column("checkpoint", overflow="fold")
    taken = COLUMN * stepped + max(longest, 10)
    return render_results(heading, series, shown, names, taken, style)


def _steps_say_more(series: Sequence[Result]) -> bool:
    """Whether steps are known that the names of the checkpoints do not end with."""
    return any(
        result.step is not None and not (result.label or result.short).endswith(str(result.step))
        for result in series
    )
