"""The checkpoints of one config as a table in the terminal."""

from __future__ import annotations

import dataclasses

from pytest_linearity.report.results import by_config, over_steps, series_of
from pytest_linearity.report.style import Style
from pytest_linearity.report.terminal.series import render_series
from tests.support.reports import measured, series

EXPECTED = """\
gate.yaml: 3 checkpoints

                  linearity               ε       ε       c       c
  checkpoint         radius  passes   r=0.3     r=1   r=0.3     r=1
 ───────────────────────────────────────────────────────────────────
  checkpoint-100        1.0  yes     0.0360  0.1200  0.9991  0.9899
  checkpoint-200        1.0  yes     0.0482  0.1608  0.9984  0.9819
  checkpoint-300        0.3  no      0.0646  0.2155  0.9971  0.9675

radii below 0.3 are in the reports
"""


def test_as_wide_as_there_is_room() -> None:
    assert render_series(series(), Style(width=80)) == EXPECTED
    wide = render_series(series(), Style(width=100))
    assert "r=0.1" in wide
    assert "are in the reports" not in wide


def test_ascii_where_the_terminal_has_nothing_else() -> None:
    assert render_series(series(), Style(encoding="ascii", width=120)).isascii()


def test_colour_of_the_verdict() -> None:
    shown = render_series(series(), Style(color=True))
    assert "\x1b[32myes" in shown
    assert "\x1b[1;31mno" in shown


def test_steps_where_names_do_not_say_them() -> None:
    assert "step" not in render_series(series())
    renamed = [dataclasses.replace(result, label=f"run {k}") for k, result in enumerate(series())]
    assert "\n   100  run 0 " in render_series(renamed)


def test_what_is_not_defined_or_not_measured() -> None:
    results = [
        *series((1,), radii=(0.1, 0.3)),
        measured(label="b", undefined=(1.0,)),
        measured(label="none", undefined=(0.1, 0.3, 1.0)),
    ]
    rows = [row.split() for row in render_series(results, Style(width=100)).splitlines()[5:8]]
    assert rows == [
        ["checkpoint-1", "0.3", "yes", "0.0120", "0.0360", "-", "0.9999", "0.9991", "-"],
        ["b", "0.3", "no", "0.0310", "0.0930", "-", "0.9993", "0.9939", "-"],
        ["none", "none", "no", "-", "-", "-", "-", "-", "-"],
    ]


def test_only_checkpoints_of_one_config_make_a_series() -> None:
    results = [measured(name="a"), *series(name="b"), measured(name="c")]
    assert [len(group) for group in by_config(results)] == [1, 3, 1]
    assert [group[0].name for group in series_of(results)] == ["b"]


def test_steps_are_an_axis_where_all_are_known_and_distinct() -> None:
    assert over_steps(series())
    assert not over_steps([*series(), *series((300,))])
    assert not over_steps([*series(), measured()])
