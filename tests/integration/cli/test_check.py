"""`pytest-linearity check`: the gate outside pytest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.fixtures import Call

FEW = (
    *("--set", "num_directions=2", "--set", "precision=float32"),
    *("--set", "prompts=['1+1=', 'The sky is']"),
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkpoint_passes_at_radii_of_its_own(
    call: Call, tiny_checkpoint: Path, here: Path
) -> None:
    code, out, _ = call("check", str(tiny_checkpoint), *FEW)
    assert code == 0
    assert "relative error" in out
    assert "linearity radius" in out
    assert "no (allowed)" in out
    assert list(here.iterdir()) == []


def test_a_report_is_written_where_it_is_asked_for(
    call: Call, tiny_checkpoint: Path, here: Path
) -> None:
    assert call("check", str(tiny_checkpoint), *FEW, "--report", "r.json")[0] == 0
    report = json.loads((here / "r.json").read_text())
    assert "gaussian" in report["scope"]["automatic_radii"]
    assert [path.name for path in here.iterdir()] == ["r.json"]


def test_one_where_a_radius_that_must_comply_does_not(call: Call, tiny_checkpoint: Path) -> None:
    code, out, _ = call("check", str(tiny_checkpoint), *FEW, "--set", "radii=[0.01, 100]")
    assert code == 1
    assert " no" in out


def test_one_where_the_update_alone_is_outside(
    call: Call, tiny_checkpoint: Path, base_checkpoint: Path
) -> None:
    base = ("--set", f"base_model_name_or_path={base_checkpoint}", "--set", "radii=0.01")
    code, out, _ = call("check", str(tiny_checkpoint), *FEW, *base)
    assert code == 1
    assert "outside the linear regime" in " ".join(out.split())
    assert call("check", str(tiny_checkpoint), *FEW, *base, "--set", "update_gate=false")[0] == 0


def test_a_config_writes_its_report(call: Call, tiny_checkpoint: Path, here: Path) -> None:
    lines = {"model_name_or_path": str(tiny_checkpoint), "radii": [0.01], "prompts": ["1+1="]}
    (here / "gate.yaml").write_text(json.dumps({**lines, "num_directions": 1}))
    assert call("check", "gate.yaml")[0] == 0
    assert (here / "linearity_report.json").exists()
    assert call("check", "gate.yaml", "--set", "radii=100")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("absent",), "absent is no directory here"),
        (("absent.yaml",), "absent.yaml: there is no such file"),
        (("",), "model_name_or_path: is empty"),
        (("empty",), "has no config.json"),
        (("empty", "--set", "nonsense=1"), "there is no key 'nonsense'"),
        (("empty", "--set", "radii=automatic"), "radii"),
        (("empty", "--set", "base_model_name_or_path=x", "--set", "radius_unit=miles"), "miles"),
        (("epoch-*",), "matches no directory"),
    ],
)
def test_four_where_it_cannot_be_used(
    call: Call, here: Path, arguments: tuple[str, ...], words: str
) -> None:
    (here / "empty").mkdir()
    code, out, err = call("check", *arguments)
    assert (code, out) == (4, "")
    assert words in err
    assert len(err.splitlines()) == 1
