"""The fixtures in a project's own tests."""

from __future__ import annotations

import pytest

from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write
from tests.support.paths import ROOT


def test_every_fixture_of_a_real_checkpoint(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(radii=[0.01, 0.1])
    pytester.makepyfile(
        """
        import pytest
        import torch

        def test_config(linearity_config):
            assert linearity_config.radii == (0.01, 0.1)

        def test_model(linearity_model, linearity_tokenizer):
            encoded = linearity_tokenizer("1+1=", return_tensors="pt")
            assert linearity_model(input_ids=encoded["input_ids"]).logits.shape[0] == 1

        def test_probes(linearity_probes):
            assert sorted(probe.text for probe in linearity_probes.probes) == ["1+1=", "The sky is"]

        def test_directions(linearity_directions, linearity_model):
            names = linearity_directions.names
            assert set(names) <= {name for name, _ in linearity_model.named_parameters()}
            parts = [linearity_directions.tensor(0, name).double() for name in names]
            assert float(sum(part.square().sum() for part in parts)) == pytest.approx(1, rel=1e-5)

        def test_measurement(linearity_measurement):
            assert linearity_measurement.relative_error.shape == (2, 2, 2)
            assert linearity_measurement.relative_error.dtype == torch.float64

        def test_report(linearity_report, linearity_measurement):
            mean = linearity_measurement.relative_error[1].mean()
            assert linearity_report.at(0.1).mean_relative_error == pytest.approx(float(mean))

        def test_result(linearity_result, linearity_radius, linearity_report):
            assert linearity_result is linearity_report.at(linearity_radius)
            assert linearity_result.complies
        """
    )
    result = pytester.runpytest("-o", "linearity_config=gate.yaml", "-v")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["*::test_result?0.01? PASSED*", "*::test_result?0.1? PASSED*"])


@pytest.mark.usefixtures("fixed")
class TestParametrisation:
    def names(self, pytester: pytest.Pytester, *arguments: str) -> list[str]:
        result = pytester.runpytest(".", *arguments, "--collect-only", "-q")
        return [line.partition("::")[2] for line in result.outlines if ".py::" in line]

    def test_one_case_per_radius(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config(radii=[0.1, 1.0])
        pytester.makepyfile(
            """
            def test_radius(linearity_radius): pass
            def test_result(linearity_result): pass
            def test_report(linearity_report): pass
            """
        )
        assert sorted(self.names(pytester, "--linearity-config=gate.yaml")) == [
            "test_radius[0.1]",
            "test_radius[1.0]",
            "test_report",
            "test_result[0.1]",
            "test_result[1.0]",
        ]

    def test_with_parameters_of_its_own(
        self, pytester: pytest.Pytester, write_config: Write
    ) -> None:
        write_config(radii=[0.1, 1.0])
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.parametrize("x", "ab")
            def test_both(linearity_result, x): pass
            """
        )
        names = self.names(pytester, "--linearity-config=gate.yaml")
        assert len(names) == 4
        pytester.runpytest(".", "--linearity-config=gate.yaml", "-k", "both").assert_outcomes(
            passed=4
        )

    def test_one_case_per_config(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config("a.yaml", radii=[0.1])
        write_config("b.yaml", radii=[0.3, 1.0], seed=7)
        pytester.makepyfile(
            """
            def test_result(linearity_result, linearity_config, linearity_radius):
                assert linearity_radius in linearity_config.radii
                assert linearity_result.radius == linearity_radius

            def test_report(linearity_report, linearity_config):
                assert linearity_report.config["seed"] == linearity_config.seed
            """
        )
        options = ("--linearity-config=a.yaml", "--linearity-config=b.yaml")
        assert sorted(self.names(pytester, *options)) == [
            "test_report[a.yaml]",
            "test_report[b.yaml]",
            "test_result[a.yaml-0.1]",
            "test_result[b.yaml-0.3]",
            "test_result[b.yaml-1.0]",
        ]
        pytester.runpytest(".", *options, "-k", "test_re").assert_outcomes(passed=5)
        assert fixed.measured == 2

    def test_the_command_line_wins_over_the_ini_file(
        self, pytester: pytest.Pytester, write_config: Write
    ) -> None:
        write_config("ini.yaml", radii=[0.1])
        write_config("option.yaml", radii=[0.3])
        pytester.makeini("[pytest]\nlinearity_config = ini.yaml\n")
        pytester.makepyfile("def test_radius(linearity_radius): pass")
        assert self.names(pytester) == ["test_radius[0.1]"]
        assert self.names(pytester, "--linearity-config=option.yaml") == ["test_radius[0.3]"]

    def test_the_ini_key_is_relative_to_its_file(
        self, pytester: pytest.Pytester, write_config: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_config("configs/gate.yaml", radii=[0.1])
        pytester.makeini("[pytest]\nlinearity_config = configs/gate.yaml\n")
        pytester.makepyfile(**{"tests/test_own": "def test_radius(linearity_radius): pass"})
        monkeypatch.chdir(pytester.path / "tests")
        assert self.names(pytester) == ["test_radius[0.1]"]


class TestReports:
    def test_the_ini_key_leaves_no_report(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config()
        pytester.makepyfile("def test_own(linearity_report): pass")
        result = pytester.runpytest("-o", "linearity_config=gate.yaml")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*linearity radius 0.3*"])
        assert fixed.measured == 1
        assert not list(pytester.path.glob("*.json"))

    def test_unless_it_is_asked_for(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config()
        pytester.makepyfile("def test_own(linearity_report): pass")
        pytester.runpytest("-o", "linearity_config=gate.yaml", "--linearity-report=out.json")
        assert (pytester.path / "out.json").exists()

    def test_a_fixture_that_needs_no_figures_measures_nothing(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config()
        pytester.makepyfile("def test_own(linearity_config): pass")
        pytester.runpytest("-o", "linearity_config=gate.yaml").assert_outcomes(passed=1)
        assert fixed.measured == 0


def test_without_a_config_the_test_says_what_it_needs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_own(linearity_result): pass\ndef test_other(): pass")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "the linearity fixtures need a config: give --linearity-config or the ini key "
            "linearity_config"
        ]
    )
    result.stdout.no_fnmatch_line("*fixtures.py*")


def test_a_radius_asked_for_too_late_says_so(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    pytester.makepyfile("def test_own(request): request.getfixturevalue('linearity_radius')")
    result = pytester.runpytest("-o", "linearity_config=gate.yaml")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*must be arguments of the test itself*"])


def test_the_fixtures_are_listed_with_what_they_give(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--fixtures")
    for name in ("config", "model", "tokenizer", "probes", "directions", "measurement"):
        result.stdout.fnmatch_lines([f"linearity_{name} ?session scope?*"])
    for name in ("report", "radius", "result"):
        result.stdout.fnmatch_lines([f"linearity_{name} ?session scope?*"])


@pytest.mark.usefixtures("imported")
def test_the_example_of_a_custom_gate(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    smaller = ["--linearity-set=num_directions=4", "--linearity-set=max_samples=4"]
    result = pytester.runpytest("examples/custom_gate", "-p", "no:cacheprovider", *smaller)
    result.assert_outcomes(passed=7)
