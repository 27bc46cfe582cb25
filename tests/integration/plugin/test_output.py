"""What a run shows: header, table, quiet and verbose."""

from __future__ import annotations

import warnings

import pytest

from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write

pytestmark = pytest.mark.usefixtures("fixed")

TABLE = """\
gate.yaml
checkpoint: LlamaForCausalLM, 743,808 parameters, bfloat16
scope full

           relative error  cosine similarity
  radius           ≤ 0.20             ≥ 0.95  noise floor  complies
 ───────────────────────────────────────────────────────────────────
     0.1  0.0200 ± 0.0000    0.9990 ± 0.0000      1.0e-06  yes
     0.3  0.0600 ± 0.0000    0.9900 ± 0.0000      1.0e-06  yes
     1.0  0.3100 ± 0.0000    0.9600 ± 0.0000      1.0e-06  no

 linearity radius 0.3  tested up to 1.0
report: linearity_report.json
"""


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table(
    columns: int,
    pytester: pytest.Pytester,
    write_config: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    write_config()
    shown = pytester.runpytest("--linearity-config", "gate.yaml").stdout.str()
    assert TABLE in shown


def test_colour_when_asked_for(pytester: pytest.Pytester, write_config: Write) -> None:
    write_config()
    shown = pytester.runpytest("--linearity-config", "gate.yaml", "--color=yes").stdout.str()
    assert "\x1b[32myes" in shown
    assert "\x1b[1;31mno" in shown


def test_the_header_names_config_and_radii(pytester: pytest.Pytester, write_config: Write) -> None:
    write_config(radii=[0.3, 0.1])
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    result.stdout.fnmatch_lines(["linearity: gate.yaml, r = 0.1, 0.3"])


def test_quiet_keeps_the_table_and_very_quiet_drops_it(
    pytester: pytest.Pytester, write_config: Write
) -> None:
    write_config()
    quiet = pytester.runpytest("--linearity-config", "gate.yaml", "-q")
    quiet.stdout.no_fnmatch_line("linearity: *")
    quiet.stdout.fnmatch_lines([" linearity radius 0.3  tested up to 1.0"])
    very = pytester.runpytest("--linearity-config", "gate.yaml", "-qq")
    very.stdout.no_fnmatch_line("*tested up to*")


def test_verbose_shows_one_line_per_radius(pytester: pytest.Pytester, write_config: Write) -> None:
    write_config()
    result = pytester.runpytest("--linearity-config", "gate.yaml", "-v")
    result.stdout.fnmatch_lines(
        [
            "gate.yaml::radius?0.1? PASSED*",
            "gate.yaml::radius?0.3? PASSED*",
            "gate.yaml::radius?1.0? FAILED*",
            "gate.yaml::linearity_radius FAILED*",
        ]
    )


def test_several_configs_have_a_table_each(pytester: pytest.Pytester, write_config: Write) -> None:
    write_config("a.yaml", radii=[0.1])
    write_config("b.yaml", radii=[0.3])
    result = pytester.runpytest("--linearity-config", "a.yaml", "--linearity-config", "b.yaml")
    result.stdout.fnmatch_lines(
        [
            "linearity: a.yaml, *",
            "linearity: b.yaml, *",
            "a.yaml",
            "report: linearity_report-a.json",
            "b.yaml",
            "report: linearity_report-b.json",
        ]
    )


@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning])
def test_what_libraries_have_deprecated_is_not_shown(
    category: type[Warning],
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: type[FixedAnalysis],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = fixed.found

    def warn(self: FixedAnalysis) -> object:
        warnings.warn("some kernel is deprecated", category, stacklevel=1)
        return found(self)

    monkeypatch.setattr(fixed, "found", warn)
    write_config(radii=[0.1])
    result = pytester.runpytest("--linearity-config", "gate.yaml", "-W", "error")
    result.assert_outcomes(passed=2, warnings=0)
