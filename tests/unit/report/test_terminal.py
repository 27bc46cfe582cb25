"""The table for people, wherever it is shown."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from pytest_linearity.report.style import Style
from pytest_linearity.report.terminal.report import render
from pytest_linearity.verdict.document import RadiusFigures, Report
from tests.support.figures import radius_figures


def figures(radius: float, error: float | None, cosine: float | None, ok: bool) -> RadiusFigures:
    return radius_figures(radius, (error, 0.0005), (cosine, 0.00001), 2.1e-6, complies=ok)


def report(**config: Any) -> Report:
    return Report(
        config={"relerr_threshold": 0.2, "cos_threshold": 0.95, **config},
        checkpoint={
            "path": "saves/run/checkpoint-500",
            "architecture": "LlamaForCausalLM",
            "parameters": 1_100_048_384,
            "dtype": "bfloat16",
        },
        radii=(
            figures(1e-4, 3.6e-5, 1.0, True),
            figures(0.1, 0.004, 0.99999, True),
            figures(1.0, None, None, False),
        ),
        linearity_radius=0.1,
        passed=False,
    )


EXPECTED = """\
gate.yaml
saves/run/checkpoint-500: LlamaForCausalLM, 1,100,048,384 parameters, bfloat16
scope full

             relative error  cosine similarity
  radius             ≤ 0.20             ≥ 0.95  noise floor  complies
 ─────────────────────────────────────────────────────────────────────
  0.0001  3.6e-05 ± 5.0e-04    1.0000 ± 0.0000      2.1e-06  yes
     0.1    0.0040 ± 0.0005    1.0000 ± 0.0000      2.1e-06  yes
     1.0          undefined          undefined      2.1e-06  no

 linearity radius 0.1  tested up to 1.0
report: out.json
"""


def test_weights_of_several_dtypes() -> None:
    whole = report()
    dtypes = {"bfloat16": 1_100_000_000, "float32": 48_384}
    several = dataclasses.replace(whole, checkpoint={**whole.checkpoint, "dtypes": dtypes})
    lines = render(several, "gate.yaml", Style(width=120)).splitlines()
    assert lines[1].endswith("1,100,048,384 parameters, bfloat16, 48,384 of them float32")


@pytest.mark.parametrize("width", [80, 120])
def test_plain(width: int) -> None:
    assert render(report(), "gate.yaml", Style(width=width), footer="report: out.json") == EXPECTED


@pytest.mark.parametrize("width", [80, 120])
def test_colour_changes_nothing_but_colour(width: int) -> None:
    shown = render(report(), "gate.yaml", Style(width=width, color=True), footer="report: out.json")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert shown != plain
    lines = [line.rstrip() for line in plain.splitlines()]
    assert lines == EXPECTED.splitlines()


def test_colour_of_the_verdict() -> None:
    passed = dataclasses.replace(report(), passed=True)
    assert "\x1b[1;31m0.1" in render(report(), "x", Style(color=True))
    assert "\x1b[1;32m0.1" in render(passed, "x", Style(color=True))


def test_a_stream_without_unicode() -> None:
    shown = render(report(), "gate.yaml", Style(encoding="ascii"))
    assert shown.isascii()
    assert "0.0040 +/- 0.0005" in shown
    assert "<= 0.20" in shown
    rows = [line for line in shown.splitlines() if line.endswith(("yes", "no"))]
    assert len({line.rindex("2.1e-06") for line in rows}) == 1  # still aligned


def test_a_narrow_terminal_loses_nothing() -> None:
    shown = render(report(), "gate.yaml", Style(width=40))
    assert all(len(line) <= 40 for line in shown.splitlines())
    for text in ("0.0040", "undef", "2.1e", "no"):
        assert text in shown


def test_a_radius_that_need_not_comply() -> None:
    shown = render(report(min_linearity_radius=0.1), "gate.yaml")
    assert "no (allowed)" in shown
    assert "no (allowed)" not in render(report(min_linearity_radius=1.0), "gate.yaml")


def test_no_linearity_radius() -> None:
    none = dataclasses.replace(report(), linearity_radius=None)
    assert " linearity radius none  tested up to 1.0\n" in render(none, "gate.yaml")


def test_what_was_measured_is_said_below_the_checkpoint() -> None:
    shown = dataclasses.replace(report(), probes={"summary": "3 prompts, 1 row dropped"})
    lines = render(shown, "gate.yaml").splitlines()
    assert lines[2] == "3 prompts, 1 row dropped"


def test_routing_flips_have_a_column_where_there_are_routers() -> None:
    assert "routing flips" not in render(report(), "x")
    radii = tuple(dataclasses.replace(f, routing_flips=1234) for f in report().radii)
    shown = render(dataclasses.replace(report(), radii=radii), "x", Style(width=100))
    assert "routing flips" in shown
    assert shown.count("1,234") == 3
