"""Names that no file system takes: found before anything is measured, and told in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.cli import main
from tests.support.checkpoints import tiny_llama
from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"
LONG = "x" * 300
ALMOST = "x" * 246
"""A name of a length that leaves no room for more."""


def assert_refused(result: pytest.RunResult, *mentioned: str) -> None:
    """The run ended with one line that mentions these."""
    assert result.ret == 4
    [line] = [line for line in result.errlines if line.strip()]
    assert line.startswith("ERROR: ")
    for text in mentioned:
        assert text in line
    assert "Traceback" not in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()


@pytest.mark.parametrize(
    ("keys", "options", "mentioned"),
    [
        ({"report_filename": LONG}, (), "report_filename"),
        ({"output_dir": LONG}, (), "output_dir"),
        ({"output_dir": f"new/{LONG}/more"}, (), "output_dir"),
        ({"baseline": f"{LONG}/"}, ("--linearity-baseline-missing=create",), "baseline"),
        ({"baseline": LONG}, (), "there is no such baseline"),
        ({}, (f"--linearity-baseline={LONG}",), "there is no such baseline"),
        ({}, (f"--linearity-report={LONG}",), "--linearity-report"),
        ({}, (f"--linearity-report=new/{LONG}/x.json",), "--linearity-report"),
        ({}, (f"--linearity-resume={LONG}",), "--linearity-resume"),
        ({}, (f"--linearity-resume=new/{LONG}",), "--linearity-resume"),
        ({}, (f"--linearity-markdown={LONG}",), "--linearity-markdown"),
        ({}, (f"--linearity-html={LONG}.html",), "--linearity-html"),
        ({}, (f"--linearity-plot={LONG}.png",), "--linearity-plot"),
        ({}, (f"--linearity-config={LONG}",), "File name too long"),
        ({}, ("--linearity-cache", "-o", f"cache_dir={LONG}"), "--linearity-cache"),
    ],
)
def test_what_would_be_written(
    keys: Mapping[str, Any],
    options: tuple[str, ...],
    mentioned: str,
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: type[FixedAnalysis],
) -> None:
    write_config(**keys)
    before = sorted(pytester.path.iterdir())
    assert_refused(pytester.runpytest(GATE, "-p", "no:stepwise", *options), mentioned)
    assert fixed.measured == 0
    assert sorted(pytester.path.iterdir()) == before


@pytest.mark.parametrize(
    ("keys", "mentioned"),
    [
        ({"model_name_or_path": LONG}, "model_name_or_path"),
        ({"model_name_or_path": f"{LONG}*"}, "model_name_or_path"),
        ({"tokenizer_name_or_path": LONG}, "tokenizer_name_or_path"),
        ({"base_model_name_or_path": LONG, "directions": "update"}, "base_model_name_or_path"),
        ({"directions": f"file:{LONG}.safetensors"}, "directions"),
        ({"prompts": None, "dataset": LONG}, "dataset"),
        ({"prompts": None, "dataset": "rows", "dataset_dir": LONG}, "rows"),
    ],
)
def test_what_would_be_read(
    keys: Mapping[str, Any], mentioned: str, pytester: pytest.Pytester, real_config: Write
) -> None:
    real_config(**keys)
    assert_refused(pytester.runpytest(GATE), mentioned)


@pytest.mark.parametrize(
    "arguments",
    [
        ("analyze-logits", LONG),
        ("analyze-logits", "gate.yaml", "--report", LONG),
        ("analyze-logits", "gate.yaml", "--resume", LONG),
        ("plan", LONG),
        ("plan", f"{LONG}.json"),
        ("show", LONG),
        ("compare", LONG, LONG),
        ("plot", LONG, "-o", "x.png"),
        ("plot", "gate.yaml", "-o", f"{LONG}.png"),
    ],
)
def test_the_commands(
    arguments: tuple[str, ...],
    write_config: Write,
    fixed: type[FixedAnalysis],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_config()
    assert main(arguments) == 4
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert fixed.measured == 0


def test_names_that_just_fit_are_written(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    summary = f"{'y' * 252}.md"
    write_config(report_filename=f"{ALMOST}.json", output_dir="z" * 255, radii=[0.1])
    assert pytester.runpytest(GATE, f"--linearity-markdown={summary}").ret == 0
    assert (pytester.path / ("z" * 255) / f"{ALMOST}.json").is_file()
    assert (pytester.path / summary).is_file()


def test_a_name_of_ours_is_cut(pytester: pytest.Pytester, real_config: Write) -> None:
    """Config, checkpoint, scope and limits become names of reports, journals and cached entries."""
    regex = "|".join(f"model\\.layers\\.{number}\\.self_attn\\.q_proj" for number in range(12))
    checkpoint = tiny_llama(pytester.path / ("c" * 240))
    config = real_config(
        f"{'g' * 200}.yaml",
        model_name_or_path=[checkpoint.name],
        param_scopes=[f"regex:{regex}", f"regex:{regex}|lm_head"],
        relerr_threshold=5,
        cos_threshold=-1,
        limits={f"top_{k}_relative_error": 10**6 + k / 7 for k in range(1, 12)},
    )
    options = [
        f"--linearity-config={config.name}",
        "--linearity-resume=journal",
        "--linearity-cache",
        "--linearity-baseline=baselines/",
        "--linearity-baseline-missing=create",
        "--junitxml=junit.xml",
    ]
    result = pytester.runpytest(*options)
    assert result.ret == 0, result.outlines + result.errlines
    assert "not kept for later" not in result.stdout.str()
    reports = sorted(pytester.path.glob("linearity_report-*.json"))
    assert len(reports) == 2
    assert {json.loads(path.read_text())["config"]["param_scope"] for path in reports} == {
        f"regex:{regex}",
        f"regex:{regex}|lm_head",
    }
    assert len(list((pytester.path / "journal").iterdir())) == 2
    assert len(list((pytester.path / "baselines").iterdir())) == 2
    again = pytester.runpytest(*options)
    assert again.ret == 0
    assert sum("reused from the cache" in line for line in again.outlines) == 2


class TestFullDisk:
    """A disk that has filled up while it was measured: what was found is shown."""

    @pytest.fixture(autouse=True)
    def full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(os, "replace", refuse)

    def left(self, path: Path) -> set[str]:
        return {child.name for child in path.iterdir()} - {"gate.yaml", ".pytest_cache"}

    def test_the_table_is_shown_and_the_exit_code_says_it(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config()
        result = pytester.runpytest(GATE, "-p", "no:cacheprovider")
        assert result.ret == 4
        result.assert_outcomes(passed=2, failed=2)
        result.stdout.fnmatch_lines(["* 0.3 * 0.0600 ± 0.0000 *", "* linearity radius 0.3 *"])
        assert "report: linearity_report.json" not in result.stdout.str()
        [line] = [line for line in result.errlines if line]
        assert line == (
            "ERROR: linearity_report.json: could not be written (No space left on device)"
        )
        assert not self.left(pytester.path)

    def test_all_that_is_lost_is_named(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config(radii=[0.1])
        options = [
            "--linearity-markdown=x.md",
            "--linearity-baseline=baseline.json",
            "--linearity-baseline-missing=create",
        ]
        result = pytester.runpytest(GATE, "-p", "no:cacheprovider", *options)
        assert result.ret == 4
        [line] = [line for line in result.errlines if line]
        for name in ("linearity_report.json", "x.md", "baseline.json"):
            assert f"{name}: could not be written" in line
        shown = result.stdout.str()
        assert "linearity radius 0.1" in shown
        assert "made of this report" not in shown
        assert not self.left(pytester.path)

    def test_the_command_too(
        self,
        write_config: Write,
        fixed: type[FixedAnalysis],
        pytester: pytest.Pytester,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        write_config(radii=[0.1])
        assert main(["analyze-logits", "gate.yaml"]) == 4
        captured = capsys.readouterr()
        assert "linearity radius 0.1" in captured.out
        assert "report: " not in captured.out
        assert captured.err == (
            "error: linearity_report.json: could not be written (No space left on device)\n"
        )
        assert not self.left(pytester.path)
