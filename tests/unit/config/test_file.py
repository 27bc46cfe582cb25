"""Config files, and the paths in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.config.loading import load_config
from tests.support.configs import refusal, write


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty, but a mapping"),
        ("- a\n- b", "a mapping of keys to values is needed"),
        ("just text", "holds 'just text'"),
        ("a: [1", "is not valid YAML"),
        ("a: 1\n b: 2", "line 2"),
        ("a: !!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("a: !!timestamp nonsense", "is not valid YAML"),
        ("a: " + "[" * 2000, "nested too deeply"),
        ("model_name_or_path: a\nseed: 1\nseed: 2", "seed is given twice (line 3)"),
        ("model_name_or_path: a\nanalysis: {seed: 1, seed: 2}", "analysis.seed is given twice"),
        ("model_name_or_path: a\nlimits: {kl: 1, kl: 2}", "limits.kl is given twice (line 2)"),
        (
            "model_name_or_path: a\nanalysis:\n  num_directions:\n    min: 2\n    min: 4",
            "analysis.num_directions.min is given twice (line 5)",
        ),
        ("model_name_or_path: a\ncolumns: {prompt: a, prompt: b}", "columns.prompt is given twice"),
        ("model_name_or_path: a\ntags: {role_tag: a, role_tag: b}", "tags.role_tag is given twice"),
        (
            "model_name_or_path: a\ndeepspeed: [{zero: {stage: 2, stage: 3}}]",
            "deepspeed.0.zero.stage",
        ),
        ("model_name_or_path: a\nanalysis: [1]", "analysis: [1] is not a mapping"),
        ("model_name_or_path: a\nradii: &r [*r]", "radii"),
        (b"\xff\xfe\x00\xd8", "is not valid YAML"),
        (b"a: \x80", "is not valid YAML"),
        ("a: " + "9" * 5000, "is not valid YAML"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = write(tmp_path, text)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert words in message


def test_missing_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "none.yaml")
    assert "cannot be read" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "a\0b")
    assert "cannot be read" in refusal(tmp_path / ("n" * 5000))


def test_paths_are_looked_up_where_pytest_started_then_beside_the_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, beside = tmp_path / "start", tmp_path / "beside"
    for directory in (start / "both", beside / "both", beside / "only"):
        directory.mkdir(parents=True)
    (beside / "cfg.yaml").write_text("model_name_or_path: both\noutput_dir: only")
    monkeypatch.chdir(start)
    config = load_config(beside / "cfg.yaml")
    monkeypatch.chdir(tmp_path)  # what was found does not move with the process
    assert config.locate("both") == start / "both"
    assert config.locate("only") == beside / "only"
    assert config.locate("none") is None
    assert config.locate("n" * 5000) is None
    assert config.locate(str(beside)) == beside
    assert config.report_path == beside / "only" / "linearity_report.json"


def test_a_report_goes_where_pytest_started_when_its_directory_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config(model_name_or_path="a", output_dir="new", report_filename="r.json")
    assert config.report_path == tmp_path / "new" / "r.json"
