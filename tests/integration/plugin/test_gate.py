"""From figures to pass, fail and skip, with the lines that people read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import pytest

from pytest_linearity.verdict.passing import passes
from tests.support.figures import radius_figures
from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write


def test_one_test_per_radius_then_the_linearity_radius(
    pytester: pytest.Pytester, write_config: Write
) -> None:
    write_config(radii=[1.0, 0.1, 3e-5])
    result = pytester.runpytest("--linearity-config", "gate.yaml", "--collect-only", "-q")
    assert result.outlines[:4] == [
        "gate.yaml::radius[3e-05]",
        "gate.yaml::radius[0.1]",
        "gate.yaml::radius[1.0]",
        "gate.yaml::linearity_radius",
    ]


def test_complying_radii_pass(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config(radii=[0.1, 0.3])
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    result.assert_outcomes(passed=3)
    assert result.ret == 0


def test_a_failure_is_one_line_that_names_figure_limit_and_radius(
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: type[FixedAnalysis],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    write_config()
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    line = "mean relative error 0.31 > 0.20 at r=1.0 (linearity radius 0.3)"
    missed = "linearity radius 0.3 < 1.0 (the largest tested radius)"
    assert result.ret == 1
    result.assert_outcomes(passed=2, failed=2)
    assert result.outlines.count(line) == 1
    assert result.outlines.count(missed) == 1
    result.stdout.fnmatch_lines(
        [
            "_* gate.yaml radius?1.0? _*",
            f"FAILED gate.yaml::radius?1.0? - {line}",
            f"FAILED gate.yaml::linearity_radius - {missed}",
        ]
    )
    result.stdout.no_fnmatch_line("*gate.py*")
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_failure_names_both_limits_when_both_are_broken(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    fixed.figures = {0.1: (0.5, 0.9)}
    write_config(radii=[0.1])
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    result.stdout.fnmatch_lines(
        [
            "mean relative error 0.50 > 0.20, mean cosine similarity 0.90 < 0.95 at r=0.1 "
            "(linearity radius none)",
            "linearity radius none: no tested radius complies, 0.1 must (the largest tested "
            "radius)",
        ]
    )


def test_a_figure_that_is_not_finite_fails_and_says_so(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    fixed.figures = {0.1: (None, None)}
    write_config(radii=[0.1])
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "logits are not finite in 1 of 1 (direction, prompt) pairs at r=0.1 "
            "(linearity radius none)",
            "*0.1*undefined*undefined*no",
        ]
    )


def test_above_min_linearity_radius_a_failure_is_a_skip_that_says_why(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config(min_linearity_radius=0.3)
    result = pytester.runpytest("--linearity-config", "gate.yaml", "-rs")
    assert result.ret == 0
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*1.0*0.3100*no (allowed)",
            "SKIPPED [[]1[]] gate.yaml:1: mean relative error 0.31 > 0.20 at r=1.0 (linearity "
            "radius 0.3); only radii up to min_linearity_radius 0.3 must comply",
        ]
    )


def test_at_min_linearity_radius_a_failure_is_a_failure(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config(min_linearity_radius=1.0)
    result = pytester.runpytest("--linearity-config", "gate.yaml", "-k", "radius[1.0]")
    result.assert_outcomes(failed=1)


def test_above_min_linearity_radius_a_complying_radius_passes(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config(min_linearity_radius=0.1, radii=[0.1, 0.3])
    pytester.runpytest("--linearity-config", "gate.yaml").assert_outcomes(passed=3)


def test_a_linearity_radius_below_the_minimum_fails(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config(min_linearity_radius=0.5)
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    assert result.ret == 1
    result.assert_outcomes(passed=2, skipped=1, failed=1)
    result.stdout.fnmatch_lines(["linearity radius 0.3 < 0.5 (min_linearity_radius)"])


def test_a_gap_below_the_linearity_radius_fails(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    fixed.figures = {0.1: (0.3, 0.99), 0.3: (0.1, 0.99), 1.0: (0.1, 0.99)}
    write_config()
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["linearity radius 1.0, but 0.1 does not comply"])


RADII = (0.1, 0.3, 1.0)


def test_a_run_passes_exactly_when_its_report_says_so(
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: type[FixedAnalysis],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever radii comply and whichever is required, each in a gate of its own."""
    complying = {str(number): c for number, c in enumerate(product([True, False], repeat=3))}

    def figures(analysis: FixedAnalysis) -> dict[float, tuple[float, float]]:
        complies = complying[analysis.config.model_name_or_path]
        return {r: (0.1 if ok else 0.5, 0.99) for r, ok in zip(RADII, complies, strict=True)}

    monkeypatch.setattr(fixed, "figures", property(figures))
    passed = {}
    for least, (checkpoint, complies) in product([None, *RADII], complying.items()):
        name = f"at-least-{least}-{checkpoint}.yaml"
        write_config(
            name, model_name_or_path=checkpoint, radii=list(RADII), min_linearity_radius=least
        )
        found = [radius_figures(r, complies=ok) for r, ok in zip(RADII, complies, strict=True)]
        passed[name] = passes(found, least)

    def gates(names: Iterable[str]) -> list[str]:
        return [f"--linearity-config={name}" for name in names]

    good = [name for name, well in passed.items() if well]
    assert 0 < len(good) < len(passed) == 32
    for selection in ((), ("-k", "linearity_radius")):
        result = pytester.runpytest(*gates(passed), "-v", *selection)
        rows = [line.split() for line in result.outlines if ".yaml::" in line]
        failed = {row[0].partition("::")[0] for row in rows if row[1] == "FAILED"}
        assert failed == passed.keys() - set(good)
        assert result.ret == 1
        assert pytester.runpytest(*gates(good), *selection).ret == 0


def test_a_bug_shows_one_traceback_and_is_not_tried_again(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    fixed.error = RuntimeError("shapes do not match")
    write_config(radii=[0.1, 0.3])
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    assert result.ret == 1
    assert fixed.measured == 1
    assert result.outlines.count("E           RuntimeError: shapes do not match") == 1
    result.stdout.fnmatch_lines(
        ["FAILED gate.yaml::radius?0.3? - measuring failed before: RuntimeError(*"]
    )
    assert "_multicall" not in result.stdout.str()  # no frames of pytest's own
