"""Under pytest-xdist: cache, baselines, metrics of a project, scopes, reports and JUnit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import FAKE, HOOK
from tests.support.fixtures import Run, Write
from tests.support.jenkins import faults
from tests.support.junit import FIGURES, of_cases, of_suite, suite_of

GATE = "--linearity-config=gate.yaml"
CACHED = (GATE, "--linearity-cache")


def report(pytester: pytest.Pytester, name: str = "linearity_report.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((pytester.path / name).read_text())
    return found


def test_workers_of_xdist_reuse_it_too(
    pytester: pytest.Pytester, real_config: Write, run_workers: Run
) -> None:
    real_config(num_directions=1, prompts=["1+1="])
    pytester.runpytest(*CACHED)
    before = report(pytester)
    result = run_workers(*CACHED, "-n2")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f"measured {before['environment']['measured']}, reused from *"])
    assert report(pytester)["metrics"] == before["metrics"]


SCOPES = ("full", "attention", "last_blocks:1")


def test_workers_measure_scopes_once(pytester: pytest.Pytester, real_config: Write) -> None:
    """Each report says what was measured at once, and when: all three in one go."""
    real_config(param_scopes=list(SCOPES), relerr_threshold=10, cos_threshold=-1)
    result = pytester.runpytest_subprocess(GATE, "-n2", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=9)
    labels = ("full", "attention", "last_blocks-1")
    found = [report(pytester, f"linearity_report-{label}.json") for label in labels]
    assert {tuple(each["environment"]["scopes_at_once"]) for each in found} == {SCOPES}
    assert result.outlines.count("gate.yaml: 3 scopes") == 1


def test_under_xdist(pytester: pytest.Pytester, write_config: Write, run_workers: Run) -> None:
    slow = "self.progress(1, 2)"
    pytester.makeconftest(FAKE.replace(slow, f"time.sleep(2); {slow}"))
    write_config()
    result = run_workers(
        GATE,
        "--junitxml=junit.xml",
        "-n2",
        "--linearity-junit-properties=suite",
        "-p",
        "no:cacheprovider",
    )
    result.assert_outcomes(passed=2, failed=2)
    assert FIGURES.items() <= of_suite(pytester.path).items()
    assert not any(of_cases(pytester.path).values())
    assert not faults(pytester.path / "junit.xml")
    # Both workers have needed the measurement, and only one of them has made it.
    assert sum(case.time >= 2 for case in suite_of(pytester.path)) == 1


ALL = ("--linearity-markdown=s.md", "--linearity-html=r.html", "--linearity-plot=p.svg")


def written(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.suffix in (".md", ".html", ".svg")}


def test_several_checkpoints_in_worker_processes(
    pytester: pytest.Pytester, write_config: Write, run_workers: Run
) -> None:
    pytester.makeconftest(FAKE)
    write_config(model_name_or_path=["one", "two", "broken"], radii=[0.1])
    result = run_workers(GATE, *ALL, "-n2", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=4, failed=2)
    assert written(pytester.path) == {"s.md", "r.html", "p.svg", "p-one.svg", "p-two.svg"}
    summary = (pytester.path / "s.md").read_text()
    assert summary.startswith("## ❌ linearity: 1 of 3 checkpoints fail")
    assert "### ❌ gate.yaml: broken could not be measured\n\nReason: broken: it is" in summary
    assert result.outlines.count("also written: s.md, r.html, p.svg, p-one.svg, p-two.svg") == 1


CREATE = "--linearity-baseline-missing=create"


class TestXdist:
    @pytest.fixture
    def run(self, pytester: pytest.Pytester, write_config: Write, run_workers: Run) -> Run:
        pytest.importorskip("xdist")
        pytester.makeconftest(FAKE)
        for name in ("checkpoint-1", "checkpoint-2"):
            pytester.mkdir(name)
        write_config(radii=[0.1], model_name_or_path="checkpoint-*", baseline="kept/")
        return lambda *arguments: run_workers(GATE, "-n2", *arguments)

    def test_one_baseline_for_all_processes(self, run: Run, pytester: pytest.Pytester) -> None:
        run(CREATE).assert_outcomes(passed=4, skipped=4)
        for path in pytester.path.glob("measured-*"):
            path.unlink()
        path = pytester.path / "kept" / "linearity_report-checkpoint-2.json"
        path.write_text(path.read_text().replace("0.02", "0.01"))
        result = run()
        result.assert_outcomes(passed=7, failed=1)
        result.stdout.fnmatch_lines(["*mean relative error 0.02 grew 100% over the baseline's*"])


def test_workers_of_xdist_hear_it_too(
    pytester: pytest.Pytester, write_config: Write, run_workers: Run
) -> None:
    pytester.makeconftest(FAKE + HOOK)
    write_config(metrics=["largest_error"], radii=[0.1])
    result = run_workers(GATE, "-n2", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
