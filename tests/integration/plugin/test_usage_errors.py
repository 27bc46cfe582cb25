"""Input that cannot be used: exit code 4, one clear message, nothing half-written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.errors import CheckpointError
from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write


def assert_refused(
    pytester: pytest.Pytester, result: pytest.RunResult, *mentioned: str, key: str = ""
) -> None:
    """The run ended with one message that mentions these, and left no file behind."""
    assert result.ret == 4
    errors = [line for line in result.errlines if line.strip()]
    assert len(errors) == 1, errors
    assert errors[0].startswith("ERROR: ")
    for text in mentioned:
        assert text in errors[0]
    shown = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in shown
    assert "INTERNALERROR" not in shown
    assert "Exit" not in shown
    left = {path.name for path in pytester.path.iterdir()} - {"gate.yaml", ".pytest_cache"}
    assert not left


BAD_KEYS: list[tuple[Mapping[str, Any], str]] = [
    ({"model_name_or_path": None}, "model_name_or_path"),
    ({"finetuning_type": "lora"}, "finetuning_type"),
    ({"radii": []}, "radii"),
    ({"radii": ["much"]}, "radii"),
    ({"radii": [0.0]}, "radii"),
    ({"radii": [-0.1]}, "radii"),
    ({"radii": [0.1, 0.1]}, "radii"),
    ({"radii": [float("nan")]}, "radii"),
    ({"radii": [float("inf")]}, "radii"),
    ({"cos_threshold": 1.5}, "cos_threshold"),
    ({"relerr_threshold": -0.1}, "relerr_threshold"),
    ({"param_scope": "last_blocks:0"}, "param_scope"),
    ({"param_scope": "everything"}, "param_scope"),
    ({"prompts": []}, "prompts"),
    ({"min_linearity_radius": 2.0}, "min_linearity_radius"),
]


@pytest.mark.parametrize(
    ("keys", "key"), BAD_KEYS, ids=[f"{key}={keys[key]}" for keys, key in BAD_KEYS]
)
def test_a_key_that_cannot_be_used(
    keys: Mapping[str, Any], key: str, pytester: pytest.Pytester, write_config: Write
) -> None:
    write_config(**keys)
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    assert_refused(pytester, result, "gate.yaml", key)
    result.stdout.no_fnmatch_line("*test session starts*")


@pytest.mark.parametrize(
    "content", [None, b"", b"- a\n- list\n", b"key: [unclosed\n", b"\xff\xfe\x00"]
)
def test_a_file_that_is_no_config(content: bytes | None, pytester: pytest.Pytester) -> None:
    if content is not None:
        (pytester.path / "gate.yaml").write_bytes(content)
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    assert_refused(pytester, result, "gate.yaml")


def test_the_second_of_two_configs(pytester: pytest.Pytester, write_config: Write) -> None:
    write_config()
    result = pytester.runpytest("--linearity-config=gate.yaml", "--linearity-config=none.yaml")
    assert_refused(pytester, result, "none.yaml")


@pytest.mark.parametrize(
    ("keys", "mentioned"),
    [
        ({"model_name_or_path": "."}, "config.json"),
        ({"param_scope": "last_blocks:99"}, "last_blocks:99"),
        ({"prompts": None, "dataset": "nowhere"}, "nowhere"),
    ],
)
def test_what_only_the_checkpoint_shows(
    keys: Mapping[str, Any], mentioned: str, pytester: pytest.Pytester, real_config: Write
) -> None:
    real_config(**keys)
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    assert_refused(pytester, result, mentioned)
    result.stdout.fnmatch_lines(["*no tests ran*"])


def test_a_checkpoint_that_cannot_be_used_ends_the_run(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config("a.yaml")
    write_config("b.yaml")
    fixed.error = CheckpointError("checkpoint: it is broken")
    options = ["--linearity-config", "a.yaml", "--linearity-config", "b.yaml"]
    result = pytester.runpytest(*options, "--junitxml=junit.xml")
    assert result.ret == 4
    assert fixed.measured == 1
    assert [line for line in result.errlines if line] == ["ERROR: checkpoint: it is broken"]
    assert "a.yaml" in result.stdout.str()
    assert not list(pytester.path.glob("*.json"))


def test_tests_that_ran_before_are_still_reported(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    pytester.makepyfile("def test_own(): assert False")
    fixed.error = CheckpointError("checkpoint: it is broken")
    result = pytester.runpytest(".", "--linearity-config", "gate.yaml")
    assert result.ret == 4
    result.stdout.fnmatch_lines(["FAILED *::test_own - *", "*1 failed in*"])
    result.stderr.fnmatch_lines(["ERROR: checkpoint: it is broken"])


def test_a_fixture_that_finds_it_ends_the_run_too(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    pytester.makepyfile("def test_own(linearity_report): pass\ndef test_next(): pass")
    fixed.error = CheckpointError("checkpoint: it is broken")
    result = pytester.runpytest("-o", "linearity_config=gate.yaml")
    assert result.ret == 4
    assert [line for line in result.errlines if line] == ["ERROR: checkpoint: it is broken"]
    result.stdout.fnmatch_lines(["*no tests ran*"])


@pytest.mark.usefixtures("imported")
def test_the_config_of_the_ini_file_is_refused_while_collecting(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nlinearity_config = none.yaml\n")
    pytester.makepyfile(
        test_a="def test_own(linearity_radius): pass", test_b="def test_own(): pass"
    )
    result = pytester.runpytest()
    assert result.ret == 4
    assert [line for line in result.errlines if line] == ["ERROR: none.yaml: there is no such file"]
    result.stdout.no_fnmatch_line("*ERRORS*")
    assert pytester.runpytest("test_b.py").ret == 0  # a test that does not use it is left alone


class TestReportPlaces:
    def test_a_directory(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config()
        result = pytester.runpytest("--linearity-config=gate.yaml", "--linearity-report=.")
        assert_refused(pytester, result, "directory")

    def test_below_a_file(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config(output_dir="gate.yaml")
        result = pytester.runpytest("--linearity-config=gate.yaml")
        assert_refused(pytester, result, "gate.yaml/linearity_report.json", "output_dir")

    @pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a place nobody can write")
    def test_where_nobody_can_write(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config()
        options = ["--linearity-config=gate.yaml", "--linearity-report=/proc/none/report.json"]
        assert_refused(pytester, pytester.runpytest(*options), "/proc/none/report.json")
        assert fixed.measured == 0

    def test_the_config_itself(self, pytester: pytest.Pytester, write_config: Write) -> None:
        before = write_config().read_bytes()
        options = ["--linearity-config=gate.yaml", "--linearity-report=gate.yaml"]
        assert_refused(pytester, pytester.runpytest(*options), "overwrite")
        assert (pytester.path / "gate.yaml").read_bytes() == before


@pytest.mark.parametrize("option", ["--linearity-report=x.json", "--linearity-set=seed=1"])
def test_an_option_that_would_do_nothing(option: str, pytester: pytest.Pytester) -> None:
    assert_refused(pytester, pytester.runpytest(option), option.split("=")[0])


def test_an_override_that_is_none(pytester: pytest.Pytester, write_config: Write) -> None:
    write_config()
    result = pytester.runpytest("--linearity-config=gate.yaml", "--linearity-set=radius=1")
    assert_refused(pytester, result, "radius")


class TestMisspeltKeys:
    def test_are_warned_about(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config(cos_treshold=0.9, radii=[0.1])
        result = pytester.runpytest("--linearity-config=gate.yaml")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["*ConfigWarning: gate.yaml: *cos_threshold*"])

    def test_are_refused_where_warnings_are_errors(
        self, pytester: pytest.Pytester, write_config: Write
    ) -> None:
        write_config(cos_treshold=0.9)
        result = pytester.runpytest("--linearity-config=gate.yaml", "-W", "error")
        assert_refused(pytester, result, "cos_threshold")
