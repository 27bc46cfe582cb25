"""The report as one web page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pytest_linearity.report import text
from pytest_linearity.report.explanation import explanation
from pytest_linearity.report.results import (
    Failure,
    Result,
    counted,
    figure_at,
    mean_cosine,
    mean_error,
    radii_of,
    scopes_of,
    series_of,
    title,
)
from pytest_linearity.verdict import numbers


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
    environment.filters["shown"] = _shown
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
        radii_of=radii_of,
        figure_at=figure_at,
        mean_error=mean_error,
        mean_cosine=mean_cosine,
        drawings=_drawings(results),
        series_drawings=_series_drawings(results),
        scope_drawings=_scope_drawings(results),
    )


def _drawings(results: Sequence[Result]) -> list[Any]:
    from pytest_linearity.report.plot import drawn_report

    return [
        _safe(
            drawn_report(
                result.report,
                f"relative error and cosine similarity of {result.title} over the radii",
                prefix=f"r{number}",
            )
        )
        for number, result in enumerate(results)
    ]


def _series_drawings(results: Sequence[Result]) -> list[Any]:
    from pytest_linearity.report.plot import drawn_series

    return [
        _safe(
            drawn_series(
                series,
                f"linearity radius and figures of the checkpoints of {series[0].name}",
                prefix=f"s{number}",
            )
        )
        for number, series in enumerate(series_of(results))
    ]


def _scope_drawings(results: Sequence[Result]) -> list[Any]:
    from pytest_linearity.report.plot import drawn_scopes

    return [
        _safe(
            drawn_scopes(
                scopes,
                f"figures of the scopes of {title(scopes[0].name, scopes[0].label)} over the radii",
                prefix=f"p{number}",
            )
        )
        for number, scopes in enumerate(scopes_of(results))
    ]


def _safe(svg: str) -> Any:
    """A drawing of our own, in which an XML library has escaped every text."""
    from markupsafe import Markup

    return Markup(svg)


def _shown(value: Any) -> str:
    """A value of config or environment as a person would write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
