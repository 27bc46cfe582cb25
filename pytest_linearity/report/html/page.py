"""The report as one web page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_linearity.numerics.metrics.registry import ALWAYS
from pytest_linearity.report import text
from pytest_linearity.report.alternatives import described, described_series
from pytest_linearity.report.explanation import explanation
from pytest_linearity.report.plot import Drawing, report_drawing, scopes_drawing, series_drawing
from pytest_linearity.report.results import (
    Failure,
    Result,
    counted,
    mean_at,
    of_kinds,
    radii_of,
    scopes_of,
    series_of,
    title,
)
from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.kinds import by_kind

if TYPE_CHECKING:
    from markupsafe import Markup


def html(results: Sequence[Result], unmeasured: Sequence[Failure] = ()) -> str:
    """A page with verdict, table, plots, config, probes and environment of each checkpoint.

    Style sheet and drawings are part of the page; it has no script, loads nothing, and adapts to
    dark mode and to paper. Whatever comes from outside is escaped.

    Args:
        results: The checkpoints that were measured.
        unmeasured: Those that could not be.

    Raises:
        ConfigError: If matplotlib, which makes the drawings, is missing.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pytest_linearity", "report/html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = text.setting
    failing = sum(not result.passed for result in results) + len(unmeasured)
    return environment.get_template("page.html.jinja").render(
        results=results,
        unmeasured=unmeasured,
        series=series_of(results),
        scopes=scopes_of(results),
        several=counted(len(results) + len(unmeasured), [*results, *unmeasured]),
        title=title,
        total=len(results) + len(unmeasured),
        failing=failing,
        text=text,
        numbers=numbers,
        explanation=explanation,
        by_kind=by_kind,
        groups_of=_groups,
        places={result.title: place for place, result in enumerate(results)},
        mean_at=mean_at,
        always=list(ALWAYS),
        drawings=_drawings(results),
        series_drawings=_series_drawings(results),
        scope_drawings=_scope_drawings(results),
    )


@dataclass(frozen=True)
class _Group:
    """Results that stand side by side in one table, along one kind of directions or all."""

    kind: str
    """The kind; empty where it need not be named."""
    results: Sequence[Result]
    """The results."""
    radii: Sequence[float]
    """At which radii their means are shown; none where they are of several kinds."""


def _groups(results: Sequence[Result]) -> list[_Group]:
    """A table for each kind of directions, after one of the verdicts where there are several."""
    kinds = of_kinds(results)
    groups = [_Group("", results, [])] if len(kinds) > 1 else []
    return groups + [_Group(kind, each, radii_of(each)) for kind, each in kinds.items()]


def _drawings(results: Sequence[Result]) -> list[Markup]:
    return [
        _inline(report_drawing(result.report, title=""), described(result), f"r{number}")
        for number, result in enumerate(results)
    ]


def _series_drawings(results: Sequence[Result]) -> list[Markup]:
    return [
        _inline(series_drawing(series, title=""), described_series(series), f"s{number}")
        for number, series in enumerate(series_of(results))
    ]


def _scope_drawings(results: Sequence[Result]) -> list[Markup]:
    what = "figures of the scopes of {} over the radii"
    return [
        _inline(
            scopes_drawing(scopes, title=""),
            what.format(title(scopes[0].name, scopes[0].label)),
            f"p{number}",
        )
        for number, scopes in enumerate(scopes_of(results))
    ]


def _inline(drawing: Drawing, description: str, prefix: str) -> Markup:
    """A drawing of our own as it stands: an XML library has escaped every text in it."""
    from markupsafe import Markup

    return Markup(drawing.svg(description, prefix))
