"""Options of pytest beside the plugin, with pytest-xdist."""

from __future__ import annotations

import pytest

from tests.support.fakes import FAKE
from tests.support.fixtures import Run, Write

GATE = "--linearity-config=gate.yaml"
WITHOUT = ("-p", "no:cacheprovider")


class TestDistributed:
    @pytest.fixture(autouse=True)
    def gate(self, pytester: pytest.Pytester, write_config: Write) -> None:
        pytester.makeconftest(FAKE)
        write_config(model_name_or_path="one")

    @pytest.fixture
    def run(self, run_workers: Run) -> Run:
        return lambda *options: run_workers(GATE, "-n2", *options)

    def measured(self, pytester: pytest.Pytester) -> int:
        return len(list(pytester.path.glob("measured-*")))

    OPTIONS: tuple[tuple[tuple[str, ...], dict[str, int]], ...] = (
        (("-k", "radius[1.0]"), {"failed": 1}),
        (("-q", *WITHOUT), {"passed": 2, "failed": 2}),
    )

    @pytest.mark.parametrize(("options", "outcomes"), OPTIONS, ids=lambda value: str(value)[:40])
    def test_option(
        self,
        options: tuple[str, ...],
        outcomes: dict[str, int],
        pytester: pytest.Pytester,
        run: Run,
    ) -> None:
        self.check(run(*options), pytester, outcomes)

    def check(
        self, result: pytest.RunResult, pytester: pytest.Pytester, outcomes: dict[str, int]
    ) -> None:
        result.assert_outcomes(**outcomes)
        assert result.ret == 1
        assert self.measured(pytester) == 1
        result.stdout.fnmatch_lines([" linearity radius 0.3 *", "report: linearity_report.json"])

    def test_verbose_and_then_the_last_failed(self, pytester: pytest.Pytester, run: Run) -> None:
        self.check(run("-v"), pytester, {"passed": 2, "failed": 2})
        run("--lf").assert_outcomes(failed=2)

    def test_stopping_at_a_failure(self, pytester: pytest.Pytester, run: Run) -> None:
        result = run("--maxfail=1")  # which `-x` is short for
        assert result.ret in (1, 2)  # as pytest-xdist has it
        assert "stopping after 1 failures" in result.stdout.str()
        assert self.measured(pytester) == 1
        assert (pytester.path / "linearity_report.json").exists()

    def test_without_a_terminal_reporter(self, pytester: pytest.Pytester, run: Run) -> None:
        result = run("-p", "no:terminal")
        assert result.ret == 1
        assert not result.errlines
        assert (pytester.path / "linearity_report.json").exists()

    def test_without_autoloaded_plugins(
        self,
        pytester: pytest.Pytester,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        plugins = ("-p", "xdist", "-p", "pytest_linearity.plugin")
        result = pytester.runpytest_subprocess(GATE, "-n2", *plugins)
        result.assert_outcomes(passed=2, failed=2)
        assert self.measured(pytester) == 1
