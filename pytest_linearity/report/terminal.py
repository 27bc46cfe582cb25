"""The report as a table for people."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD, Box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_linearity.report.document import RadiusFigures, Report

_ASCII = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
_SPELLED = str.maketrans({"±": "+/-", "≤": "<=", "≥": ">="})


def render(
    report: Report,
    title: str,
    *,
    width: int = 80,
    color: bool = False,
    encoding: str = "utf-8",
    footer: str = "",
) -> str:
    """The report as text for a terminal.

    Args:
        report: What to show.
        title: What the report is of; the first line.
        width: Columns of the terminal.
        color: Whether it shows colours.
        encoding: What its stream is encoded in; one that has no `±` gets `+/-`.
        footer: The last line, if any.
    """
    ascii_only = not encoding.lower().startswith("utf")
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        Text(_subject(report), style="dim"),
        figures_table(report, ascii_only=ascii_only),
        _verdict(report),
    ]
    if footer:
        parts.append(Text(footer, style="dim"))
    return _draw(Group(*parts), width, color)


def figures_table(report: Report, *, ascii_only: bool = False) -> Table:
    """One row per radius: both metrics against their limits, noise floor, compliance."""
    config = report.config
    spell = _SPELLED if ascii_only else {}
    errors = _header("relative error", f"≤ {config['relerr_threshold']:.2f}".translate(spell))
    cosines = _header("cosine similarity", f"≥ {config['cos_threshold']:.2f}".translate(spell))
    table = Table(
        box=_ASCII if ascii_only else SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        collapse_padding=True,
    )
    for header in ("radius", errors, cosines, "noise floor"):
        table.add_column(header, justify="right", overflow="fold")
    routed = any(figures.routing_flips is not None for figures in report.radii)
    if routed:
        table.add_column("routing flips", justify="right", overflow="fold")
    table.add_column("complies", overflow="fold")
    for figures in report.radii:
        flips = [_number(figures.routing_flips, ",d")] if routed else []
        table.add_row(
            str(figures.radius),
            _spread(figures.mean_relative_error, figures.std_relative_error).translate(spell),
            _spread(figures.mean_cosine_similarity, figures.std_cosine_similarity).translate(spell),
            _number(figures.noise_floor, ".1e"),
            *flips,
            _compliance(figures, config),
        )
    return table


def _subject(report: Report) -> str:
    checkpoint = report.checkpoint
    subject = (
        f"{checkpoint['path']}: {checkpoint['architecture']}, "
        f"{checkpoint['parameters']:,} parameters, {checkpoint['dtype']}"
    )
    probes = report.probes.get("summary")
    return f"{subject}\n{probes}" if probes else subject


def _verdict(report: Report) -> Text:
    radius = "none" if report.linearity_radius is None else str(report.linearity_radius)
    return Text.assemble(
        " ",
        ("linearity radius ", "bold"),
        (radius, "bold green" if report.passed else "bold red"),
        (f"  tested up to {report.radii[-1].radius}", "dim"),
    )


def _header(name: str, limit: str) -> Text:
    return Text.assemble(name, "\n", (limit, "not bold dim"))


def _compliance(figures: RadiusFigures, config: Mapping[str, Any]) -> Text:
    if figures.complies:
        return Text("yes", style="green")
    least = config.get("min_linearity_radius")
    if least is not None and figures.radius > least:
        return Text("no (allowed)", style="yellow")
    return Text("no", style="bold red")


def _spread(mean: float | None, deviation: float | None) -> str:
    if mean is None or deviation is None:
        return "undefined"
    spec = ".4f" if mean >= 0.001 or mean <= 0 else ".1e"
    return f"{mean:{spec}} ± {deviation:{spec}}"


def _number(value: float | None, spec: str) -> str:
    return "" if value is None else f"{value:{spec}}"


def _draw(content: RenderableType, width: int, color: bool) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    console.print(content)
    # Padding at the end of a line is of no use, and a nuisance in logs and documents.
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())
