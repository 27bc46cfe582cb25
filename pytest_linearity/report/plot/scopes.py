"""Several scopes of one checkpoint over the radii, a line for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from pytest_linearity.numerics.metrics.registry import COSINE_SIMILARITY, RELATIVE_ERROR
from pytest_linearity.report import text
from pytest_linearity.report.plot.axes import (
    cosine_axis,
    error_axis,
    radius_axis,
    radius_name,
    shorten,
    spaced,
)
from pytest_linearity.report.plot.palette import BAD, Palette
from pytest_linearity.report.plot.strokes import stroke
from pytest_linearity.report.results import along, mean_at, of_kinds, radii_of, scopes_heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytest_linearity.report.results import Result


def draw_scopes(scopes: Sequence[Result], palette: Palette, *, title: str | None = None) -> Figure:
    """The relative error (logarithmic) and the cosine similarity, with a line for each scope.

    Args:
        scopes: The scopes of one checkpoint.
        palette: The neutral colours.
        title: The heading; config and checkpoint when not given, none when empty.
    """
    kinds = of_kinds(scopes)
    figure = Figure(figsize=(9.6, 0.8 + 3.8 * len(kinds)), layout=spaced())
    panels = figure.subplots(len(kinds), 2, squeeze=False)
    for row, (kind, of_kind) in zip(panels.tolist(), kinds.items(), strict=True):
        _draw_kind(row, of_kind, kind, palette)
    if title != "":
        name = shorten(title or scopes_heading(scopes), 90)
        about = text.scope_and_template(scopes[0].report)[1:]  # without the scope
        said = "\n".join([name, *([", ".join(about)] if about else [])])
        figure.suptitle(said, x=0.012, ha="left", fontsize=11).set_parse_math(False)
    _legend(figure, panels.flat)
    return figure


def _draw_kind(
    panels: Sequence[Axes], scopes: Sequence[Result], kind: str, palette: Palette
) -> None:
    """Both panels, along one kind of directions."""
    errors, cosines = panels
    first = scopes[0].report
    for axes, name, set_axis in (
        (errors, RELATIVE_ERROR.name, error_axis),
        (cosines, COSINE_SIMILARITY.name, cosine_axis),
    ):
        set_axis(axes, _draw(axes, scopes, name, palette), first.limits[name])
        axes.set_title(
            along(f"mean {text.always_heading(first, name)}", shorten(kind, 24)), parse_math=False
        )
        radius_axis(axes, radii_of(scopes))
        axes.set_xlabel(radius_name(first, of_each_scope=True))


def _draw(axes: Axes, scopes: Sequence[Result], metric: str, palette: Palette) -> list[float]:
    """A line for each scope, and a cross where a radius does not comply; all values."""
    values: list[float] = []
    broken: list[tuple[float, float]] = []
    for number, result in enumerate(scopes):
        points = [
            (figures.radius, value)
            for figures in result.report.radii
            for value in [mean_at(result, figures.radius, metric)]
            if value is not None and (metric != RELATIVE_ERROR.name or value > 0)
        ]
        values += [value for _, value in points]
        failing = {figures.radius for figures in result.report.radii if not figures.complies}
        broken += [point for point in points if point[0] in failing]
        axes.plot(
            [radius for radius, _ in points],
            [value for _, value in points],
            **stroke(number),
            markeredgecolor=palette.paper,
            label=_name(result),
            zorder=3,
            clip_on=False,
        )
    if broken:
        drawn: dict[str, Any] = {
            "color": BAD,
            "markersize": 9.0,
            "markeredgecolor": palette.paper,
        }
        label = "does not comply"
        axes.plot(*zip(*broken, strict=True), "X", label=label, zorder=4, clip_on=False, **drawn)
    return values


def _name(result: Result) -> str:
    share = text.scope_size(result.report)[1]
    name = shorten(result.scope_name, 40)
    return f"{name} ({share} of all parameters)" if share else name


def _legend(figure: Figure, panels: Iterable[Axes]) -> None:
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    labels = list(entries)
    legend = figure.legend(
        list(entries.values()),
        labels,
        loc="outside lower center",
        ncols=min(3, len(labels)),
        fontsize=8.5,
    )
    for entry in legend.get_texts():
        entry.set_parse_math(False)
