"""`@pytest.mark.linearity`: limits and radii of a project's own tests."""

from __future__ import annotations

import json

import pytest

from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write

INI = ("-o", "linearity_config=gate.yaml", "--strict-markers")


@pytest.fixture
def gate(write_config: Write, fixed: type[FixedAnalysis]) -> type[FixedAnalysis]:
    """A config of the radii 0.1 (complies) and 1.0 (ε = 0.31, c = 0.96: does not)."""
    fixed.figures = {0.1: (0.02, 0.999), 0.5: (0.1, 0.98), 1.0: (0.31, 0.96), 2.0: (0.6, 0.8)}
    write_config(radii=[0.1, 1.0])
    return fixed


def collected(pytester: pytest.Pytester) -> list[str]:
    result = pytester.runpytest(".", *INI, "--collect-only", "-q")
    return [line.partition("::")[2] for line in result.outlines if ".py::" in line]


@pytest.mark.usefixtures("gate")
class TestLimits:
    def test_re_judge(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.linearity(relerr_threshold=0.4)
            def test_laxer(linearity_result):
                assert linearity_result.complies

            @pytest.mark.linearity(cos_threshold=0.9999)
            def test_stricter(linearity_result):
                assert not linearity_result.complies
                assert "mean cosine similarity" in linearity_result.reason

            def test_unmarked(linearity_result, linearity_radius):
                assert linearity_result.complies == (linearity_radius == 0.1)

            @pytest.mark.linearity(relerr_threshold=0.4)
            def test_report(linearity_report, linearity_config):
                assert linearity_report.passed
                assert linearity_report.linearity_radius == 1.0
                assert linearity_config.relerr_threshold == 0.4
                assert linearity_report.config["relerr_threshold"] == 0.4

            def test_unmarked_report(linearity_report, linearity_config):
                assert not linearity_report.passed
                assert linearity_config.relerr_threshold == 0.2
            """
        )
        pytester.runpytest(*INI).assert_outcomes(passed=8)

    def test_stand_in_the_id_where_nothing_else_does(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.linearity(relerr_threshold=0.4, radii=[0.1, 2])
            def test_report(linearity_report): pass

            @pytest.mark.linearity(relerr_threshold=0.4)
            def test_result(linearity_result): pass
            """
        )
        assert collected(pytester) == [
            "test_report[relerr_threshold=0.4-radii=0.1,2.0]",
            "test_result[0.1]",
            "test_result[1.0]",
        ]

    def test_the_closest_mark_wins_by_argument(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import pytest

            pytestmark = pytest.mark.linearity(relerr_threshold=0.5, cos_threshold=0.5)

            def test_of_the_module(linearity_config):
                assert linearity_config.relerr_threshold == 0.5
                assert linearity_config.cos_threshold == 0.5

            @pytest.mark.linearity(relerr_threshold=0.6)
            class TestClass:
                def test_of_the_class(self, linearity_config):
                    assert linearity_config.relerr_threshold == 0.6
                    assert linearity_config.cos_threshold == 0.5

                @pytest.mark.linearity(cos_threshold=0.7)
                def test_its_own(self, linearity_config):
                    assert linearity_config.relerr_threshold == 0.6
                    assert linearity_config.cos_threshold == 0.7

                def test_without_fixtures(self):
                    pass
            """
        )
        result = pytester.runpytest(*INI, "-W", "error")
        result.assert_outcomes(passed=4)

    def test_the_gates_report_is_about_the_config(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.linearity(relerr_threshold=0.9, radii=[0.5])
            def test_own(linearity_report):
                assert [figures.radius for figures in linearity_report.radii] == [0.5]
            """
        )
        result = pytester.runpytest(".", "--linearity-config=gate.yaml")
        result.assert_outcomes(passed=2, failed=2)
        report = json.loads((pytester.path / "linearity_report.json").read_text())
        assert list(report["metrics"]) == list(report["pairs"]) == ["0.1", "1.0"]
        assert report["config"]["relerr_threshold"] == 0.2


class TestRadii:
    def test_those_of_the_config_and_others(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.linearity(radii=[2.0, 0.1])
            def test_result(linearity_result, linearity_radius, linearity_config):
                assert linearity_result.radius == linearity_radius
                assert linearity_config.radii == (0.1, 2.0)

            @pytest.mark.linearity(radii=[0.5])
            def test_radius(linearity_radius):
                assert linearity_radius == 0.5

            @pytest.mark.linearity(radii=[0.5, 2.0])
            def test_measurement(linearity_measurement):
                assert linearity_measurement.radii == (0.5, 2.0)
                assert linearity_measurement.relative_error.flatten().tolist() == [0.1, 0.6]
                assert linearity_measurement.cosine_similarity.flatten().tolist() == [0.98, 0.8]
                assert len(linearity_measurement.precision) == 2
                assert len(linearity_measurement.noise_floor) == 2

            def test_unmarked(linearity_measurement, linearity_report, linearity_config):
                assert linearity_measurement.radii == (0.1, 1.0) == linearity_config.radii
                assert [figures.radius for figures in linearity_report.radii] == [0.1, 1.0]
            """
        )
        # pytest 8.0 puts parameters of the session in another order.
        assert {*collected(pytester)} == {
            "test_result[0.1]",
            "test_result[2.0]",
            "test_radius[0.5]",
            "test_measurement[radii=0.5,2.0]",
            "test_unmarked",
        }
        pytester.runpytest(*INI).assert_outcomes(passed=5)
        assert gate.measured == 1

    def test_of_tests_that_are_not_run_are_not_measured(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        del gate.figures[2.0]  # type: ignore[attr-defined]
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.linearity(radii=[2.0])
            def test_far(linearity_result): pass

            def test_close(linearity_result): pass
            """
        )
        pytester.runpytest(*INI, "-k", "close").assert_outcomes(passed=2)
        assert "KeyError" in pytester.runpytest(*INI).stdout.str()

    def test_are_all_to_comply(
        self, pytester: pytest.Pytester, write_config: Write, gate: type[FixedAnalysis]
    ) -> None:
        write_config(radii=[0.1, 1.0], min_linearity_radius=1.0)
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.linearity(radii=[0.1, 0.5])
            def test_both(linearity_report):
                assert linearity_report.passed

            @pytest.mark.linearity(radii=[0.1, 2.0])
            def test_one_of_them(linearity_report):
                assert not linearity_report.passed
            """
        )
        pytester.runpytest(*INI).assert_outcomes(passed=2)

    def test_of_several_configs(
        self, pytester: pytest.Pytester, write_config: Write, gate: type[FixedAnalysis]
    ) -> None:
        write_config("b.yaml", radii=[0.1], seed=7)
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.linearity(radii=[2.0])
            def test_result(linearity_result, linearity_config): pass

            @pytest.mark.linearity(cos_threshold=0.5)
            def test_report(linearity_report): pass
            """
        )
        result = pytester.runpytest("-v", "-o", "linearity_config=gate.yaml b.yaml")
        result.assert_outcomes(passed=4)
        result.stdout.fnmatch_lines(
            ["*::test_result?gate.yaml-2.0? *", "*::test_result?b.yaml-2.0? *"], consecutive=False
        )
        assert gate.measured == 2

    def test_of_a_real_checkpoint(self, pytester: pytest.Pytester, real_config: Write) -> None:
        real_config(radii=[0.01])
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.linearity(radii=[0.1], relerr_threshold=0)
            def test_far(linearity_result, linearity_measurement):
                assert not linearity_result.complies
                mean = float(linearity_measurement.relative_error.mean())
                assert linearity_result.mean_relative_error == mean

            def test_near(linearity_result):
                assert linearity_result.complies
            """
        )
        pytester.runpytest(*INI).assert_outcomes(passed=2)


@pytest.mark.usefixtures("gate")
class TestRefusal:
    @pytest.mark.parametrize(
        ("arguments", "mentioned"),
        [
            ("relerr=0.1", "relerr is unknown: its arguments are relerr_threshold, cos_threshold,"),
            ("0.1", "0.1 has no name: its arguments are relerr_threshold, cos_threshold, radii"),
            ("cos_threshold=2", "cos_threshold: 2 is out of range: from -1 to 1"),
            ("relerr_threshold='x'", "relerr_threshold: 'x' is not a finite number"),
            ("relerr_threshold=None", "relerr_threshold: None is not a finite number"),
            ("radii=[]", "radii: holds no radius"),
            ("radii=[0.1, -1]", "radii: -1 is not above zero"),
            ("radii=[0.1, 0.1]", "radii: 0.1 is repeated"),
        ],
    )
    def test_at_collection_by_test_and_argument(
        self, arguments: str, mentioned: str, pytester: pytest.Pytester
    ) -> None:
        pytester.makepyfile(
            f"""
            import pytest

            @pytest.mark.linearity({arguments})
            def test_own(linearity_result): pass
            """
        )
        result = pytester.runpytest(*INI)
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(
            [f"*.py::test_own: mark linearity: {mentioned}*".replace("[", "?")]
        )
        assert "Traceback" not in result.stdout.str()

    def test_that_of_a_class_too(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.linearity(radius=1)
            class TestClass:
                @pytest.mark.linearity(radii=[1])
                def test_own(self, linearity_result): pass
            """
        )
        pytester.runpytest(*INI).stdout.fnmatch_lines(["*test_own: mark linearity: radius is*"])

    def test_a_mark_without_effect_is_warned_about(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.linearity(radii=[1.0])
            def test_own(linearity_tokenizer): pass

            @pytest.mark.linearity
            def test_to_select_by(): pass
            """
        )
        result = pytester.runpytest(*INI, "--collect-only")
        result.stdout.fnmatch_lines(["*MarkWarning: test_own: the mark linearity has no effect*"])
        assert result.stdout.str().count("MarkWarning: ") == 1


def test_the_mark_is_registered_without_a_config(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.linearity(relerr_threshold=..., cos_threshold*"])
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.linearity(radii=[1.0])
        def test_own(): pass
        """
    )
    pytester.runpytest("--strict-markers", "-W", "error").assert_outcomes(passed=1)
