"""A plan as a table for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from pytest_linearity.report.terminal.tables import draw, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_linearity.plan.forecast import Case, Plan
    from pytest_linearity.report.style import Style

_UNITS = ("", "k", "M", "G", "T", "P", "E")


def render(plan: Plan, title: str, style: Style) -> str:
    """The plan as text for a terminal.

    Args:
        plan: What to show.
        title: The first line.
        style: How it is shown.
    """
    shown = table(style, collapse_padding=False)
    shown.add_column("")
    for name in ("",) if len(plan.cases) == 1 else ("at least", "at most"):
        shown.add_column(name, justify="right")
    for label, cell in _rows(plan):
        shown.add_row(label, *map(cell, plan.cases))
    notes = Text("\n".join(_notes(plan)), style="dim")
    return draw(Group(Text(title, style="bold"), shown, notes), style)


def _rows(plan: Plan) -> list[tuple[str, Callable[[Case], str]]]:
    rank = " of a rank" if plan.ranks > 1 else ""
    rows: list[tuple[str, Callable[[Case], str]]] = [
        ("arithmetic", lambda case: case.precision),
        ("directions", lambda case: str(case.directions)),
        ("evaluations", lambda case: str(case.evaluations)),
        ("floating-point operations", lambda case: amount(case.flops)),
        (f"bytes read{rank}", lambda case: amount(case.bytes_read, "B")),
        (f"peak memory{rank}", lambda case: amount(case.peak_memory, "B")),
    ]
    if all(case.seconds is not None for case in plan.cases):
        rows.append(("time", lambda case: duration(case.seconds or 0.0)))
    return rows


def _notes(plan: Plan) -> list[str]:
    where = "" if plan.at_hand else ", known by its config alone"
    lines = [
        f"{plan.architecture}, {amount(plan.parameters)} parameters, {plan.dtype}, "
        f"{amount(plan.stored_bytes, 'B')}{where}"
    ]
    whole = max(1, plan.parameters)
    scopes = (f"{name} ({count / whole:.0%})" for name, count in plan.scopes.items())
    lines.append(f"scope: {', '.join(scopes)}")
    kind = "assumed" if plan.assumed_prompts else "read"
    prefix = f", {plan.shared_prefix} of them shared" if plan.shared_prefix else ""
    lines.append(f"{plan.prompts} prompts, {plan.tokens} tokens ({kind}{prefix})")
    if plan.ranks > 1:
        lines.append(f"{plan.ranks} ranks, each with {plan.device} to itself as it is here")
    else:
        lines.append(f"on {plan.device}")
    if plan.more_radii:
        lines.append(f"without the up to {plan.more_radii} radii that refine adds")
    return lines


def title_of(named: Path, label: str | None) -> str:
    """What a plan is of."""
    return f"plan of {named}" + (f" {label}" if label else "")


def amount(number: float, unit: str = "") -> str:
    """A number with three digits and a decimal prefix, as `1.23 TB`."""
    place = 0
    while abs(number) >= 999.5 and place < len(_UNITS) - 1:
        number, place = number / 1000, place + 1
    digits = f"{number:.3g}" if place or number % 1 else f"{number:.0f}"
    return f"{digits} {_UNITS[place]}{unit}".strip()


def duration(seconds: float) -> str:
    """A time in its two largest units, as `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{round(hours / 24)} days"
