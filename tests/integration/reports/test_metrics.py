"""How metrics are shown, and what becomes of them in a comparison with a baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from pytest_linearity.report.html.page import html
from pytest_linearity.report.junit import radius_properties
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.results import Result
from pytest_linearity.report.style import Style
from pytest_linearity.report.terminal.report import render
from pytest_linearity.verdict.document import MetricFigures, Report
from pytest_linearity.verdict.regression.compare import Regression, compare
from tests.support import paired, reports


def figures(mean: float | None, limit: float | None = None, **fields: Any) -> MetricFigures:
    good = fields.pop("good", "smaller")
    kept = limit is None or (mean is not None and (mean <= limit) is (good == "smaller"))
    complies = mean is not None and kept
    usual = {"label": "kl", "std": None if mean is None else mean / 2, "noise_floor": 1e-9}
    reason = None if complies else "mean kl is what it is"
    return MetricFigures(
        **{**usual, **fields}, good=good, mean=mean, limit=limit, complies=complies, reason=reason
    )


def with_metrics(report: Report, *metrics: dict[str, MetricFigures]) -> Report:
    """A report with further metrics at each radius."""
    radii = zip(report.radii, metrics, strict=True)
    judged = tuple(
        replace(
            entry,
            figures={**entry.figures, **metrics},
            complies=all(m.complies for m in metrics.values()),
        )
        for entry, metrics in radii
    )
    reached = max((entry.radius for entry in judged if entry.complies), default=None)
    return replace(report, radii=judged, linearity_radius=reached)


def shown(radii: tuple[float, ...] = (0.1, 1.0), count: int = 1) -> Report:
    labels = ["kl", "top-1 agreement", "symmetric relative error", "top-10 relative error", "own"]
    metrics = [
        {
            f"m{place}": figures(
                None if place == 3 else 0.03 * radius,
                [0.05, 0.9, None][place] if place < 3 else None,
                label=label,
                good="larger" if place == 1 else "smaller",
            )
            for place, label in enumerate(labels[:count])
        }
        for radius in radii
    ]
    return with_metrics(reports.report(radii, slope=0.1), *metrics)


TABLE = """
           relative error  cosine similarity
  radius           ≤ 0.20             ≥ 0.95  noise floor  complies
 ───────────────────────────────────────────────────────────────────
     0.1  0.0100 ± 0.0060    0.9999 ± 0.0001      1.0e-06  yes
     1.0  0.1000 ± 0.0600    0.9930 ± 0.0098      1.0e-06  yes

                       kl
  radius           ≤ 0.05
 ─────────────────────────
     0.1  0.0030 ± 0.0015
     1.0  0.0300 ± 0.0150

 linearity radius 1.0
"""


class TestTerminal:
    def test_has_a_table_of_their_own(self) -> None:
        assert TABLE.rstrip() in render(shown(), "gate.yaml")

    @pytest.mark.parametrize(("width", "tables"), [(40, 5), (80, 2), (120, 1)])
    def test_as_many_side_by_side_as_there_is_room_for(self, width: int, tables: int) -> None:
        text = render(shown(count=5), "gate.yaml", Style(width=width))
        assert max(map(len, text.splitlines())) <= max(width, 72)
        heads = [line for line in text.splitlines() if line.lstrip().startswith("radiu")]
        assert len(heads) == 1 + tables
        for word in ("undefined", "own", "agreement", "≥ 0.90"):
            assert word in text

    def test_in_ascii(self) -> None:
        text = render(shown(count=5), "gate.yaml", Style(encoding="ascii"))
        assert ">= 0.90" in text
        text.encode("ascii")

    def test_a_broken_limit_stands_out(self) -> None:
        report = with_metrics(reports.report((0.1,)), {"kl": figures(0.3, 0.05)})
        assert "\x1b[1;31m0.3000 ± 0.1500" in render(report, "gate.yaml", Style(color=True))

    def test_nothing_changes_without_any(self) -> None:
        plain = render(reports.report(), "gate.yaml")
        assert plain.count("radius   ") == 1
        assert "kl" not in plain


class TestOtherForms:
    def test_labels_are_text_and_nothing_else(self) -> None:
        metric = {"own": figures(0.1, label=reports.HOSTILE)}
        report = with_metrics(reports.report((0.1,)), metric)
        result = Result("gate.yaml", None, None, report)
        page = html([result])
        assert "<script" not in page
        summary = MarkdownIt("commonmark").enable("table").render(markdown([result]))
        assert "<script" not in summary
        assert summary.count("</th>") == 6 + 2  # the figures with one more column, and the config

    def test_properties_of_junit(self) -> None:
        properties = dict(radius_properties(shown(count=4).at(0.1)))
        assert properties["mean_m0"] == "0.003"
        assert properties["std_m0"] == "0.0015"
        assert "mean_m3" not in properties  # which is not defined
        assert "metrics" not in properties


class TestPlot:
    def drawn(self, *metrics: dict[str, MetricFigures]) -> list[Any]:
        from pytest_linearity.report.plot.palette import PRINT
        from pytest_linearity.report.plot.radii import draw_report

        radii = (0.1, 0.3, 1.0)[: len(metrics)]
        return draw_report(with_metrics(reports.report(radii), *metrics), PRINT).axes

    def test_has_a_panel_for_each(self) -> None:
        metrics = [{"kl": figures(0.1 * r, 0.2), "own": figures(r, label="$x$")} for r in (1, 2, 3)]
        titles = [axes.get_title() or axes.get_title("left") for axes in self.drawn(*metrics)]
        assert titles[2:] == ["kl ≤ 0.20", "$x$"]
        assert len(self.drawn({}, {}, {})) == 2

    def test_an_error_is_logarithmic_unless_it_is_somewhere_zero(self) -> None:
        def scale(*means: float | None, **fields: Any) -> str:
            *_, axes = self.drawn(*({"m": figures(mean, **fields)} for mean in means))
            low, high = axes.get_ylim()
            for mean in means:
                assert mean is None or low < mean < high
            assert fields.get("limit") is None or low < fields["limit"] < high
            return str(axes.get_yscale())

        assert scale(1e-6, 1e-2, 1.0, limit=0.05) == "log"
        assert scale(None, 1e-2, 1.0) == "log"
        assert scale(0.0, 1e-2, 1.0, limit=2.0) == "linear"
        assert scale(-1.0, 1e-2, 1.0) == "linear"
        assert scale(1.0, 0.9, 0.8, good="larger", limit=0.95) == "linear"
        assert scale(None, None) == "linear"
        assert scale(1.0, 1.0) == "log"
        assert scale(0.5, 0.5, good="larger") == "linear"

    @pytest.mark.parametrize("good", ["smaller", "larger"])
    def test_the_wrong_side_is_hatched(self, good: str) -> None:
        *_, axes = self.drawn(*({"m": figures(m, 0.5, good=good)} for m in (0.0, 1.0)))
        middles = [patch.get_y() + patch.get_height() / 2 for patch in axes.patches]
        assert middles
        assert all((middle > 0.5) is (good == "smaller") for middle in middles)


class TestBaseline:
    def compared(self, now: Report, then: Report) -> Regression:
        return compare(now, then, 0.1)

    def report(self, *means: float, limit: float | None) -> Report:
        errors = dict.fromkeys((0.1, 1.0), [[0.1, 0.1]] * 2)
        return with_metrics(paired.report(errors), *({"kl": figures(m, limit)} for m in means))

    def test_is_judged_by_the_limits_of_now(self) -> None:
        regression = self.compared(
            self.report(0.01, 0.04, limit=0.03), self.report(0.01, 0.02, limit=None)
        )
        assert (regression.baseline_radius, regression.linearity_radius) == (1.0, 0.1)
        assert regression.rejudged
        assert not regression.passed

    def test_a_stricter_limit_is_no_regression(self) -> None:
        regression = self.compared(
            self.report(0.01, 0.04, limit=0.03), self.report(0.01, 0.04, limit=0.05)
        )
        assert (regression.baseline_radius, regression.linearity_radius) == (0.1, 0.1)
        assert regression.passed

    def test_a_metric_that_the_baseline_lacks_is_held_against_neither(self) -> None:
        errors = dict.fromkeys((0.1, 1.0), [[0.1, 0.1]] * 2)
        now = self.report(0.01, 0.04, limit=0.03)
        assert now.linearity_radius == 0.1
        regression = self.compared(now, paired.report(errors))
        assert (regression.baseline_radius, regression.linearity_radius) == (1.0, 1.0)
        assert regression.passed

    def test_a_metric_that_is_not_defined_does_not_comply(self) -> None:
        then = self.report(0.01, 0.04, limit=0.05)
        first, second = then.radii
        undefined = {**second.figures, "kl": figures(None, 0.05)}
        then = replace(then, radii=(first, replace(second, figures=undefined)))
        regression = self.compared(self.report(0.01, 0.02, limit=0.03), then)
        assert regression.baseline_radius == 0.1
