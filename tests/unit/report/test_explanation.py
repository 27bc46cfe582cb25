"""What the figures of a diagnosis say, a sentence each."""

from __future__ import annotations

from dataclasses import replace

from pytest_linearity.report.explanation import explanation
from pytest_linearity.verdict.document import Report
from tests.support import reports
from tests.support.diagnoses import report


def last(measured: Report) -> str:
    return next(line for line in explanation(measured) if line.startswith("curvature"))


class TestSentences:
    def test_plain_curvature(self) -> None:
        assert last(report()) == (
            "curvature ratio 0.6200 ± 0.0200: relative error 0.20 predicted at r = 0.645; "
            "at r = 1 measured 0.31, predicted 0.31: plain curvature"
        )

    def test_something_sharper(self) -> None:
        assert last(report(kappa=0.4)).endswith(
            "measured 0.31, predicted 0.2: more than curvature explains; "
            "look at routing flips, noise floor, layer profile"
        )
        assert last(report(kappa=0.42)).endswith("plain curvature")  # 1.48 times as large

    def test_less_than_predicted(self) -> None:
        assert last(report(kappa=1.2)).endswith("beyond second order, the prediction is too large")

    def test_block_that_bends(self) -> None:
        assert explanation(report())[-1] == (
            "layer profile at r = 1: relative error 0.31 after the last block, "
            "more than half of it (0.248) after block 3 of 4, a.2"
        )

    def test_the_last_block_alone_bends(self) -> None:
        measured = report()
        assert measured.layers is not None
        means = replace(measured.layers.radii["1.0"], relative_error=[0.0, 0.05, 0.12, 0.31])
        last_block = replace(measured.layers, radii={**measured.layers.radii, "1.0": means})
        assert explanation(replace(measured, layers=last_block))[-1] == (
            "layer profile at r = 1: relative error 0.31 after the last block, a.3, "
            "and less than half of it before"
        )

    def test_crossing(self) -> None:
        assert explanation(report())[0] == "refined linearity radius 0.63 (fails at 0.65)"
        none = replace(report(), refined=None)
        assert explanation(none)[0] == "no refined linearity radius: no radius complies"
        complying = replace(reports.report(slope=0.01, refine=True))
        assert explanation(complying)[-1] == (
            "no refined linearity radius: the largest radius complies"
        )

    def test_nothing_without_being_asked_for(self) -> None:
        assert explanation(reports.report()) == []
