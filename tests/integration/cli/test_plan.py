"""`pytest-linearity plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity import plan
from pytest_linearity.cli import main
from tests.support.fixtures import Call
from tests.support.paths import EXAMPLES


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates of this machine from two tries each: what is asserted does not depend on them."""
    monkeypatch.setattr(plan.machine, "_SECONDS", 0)


def test_the_command_writes_json(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cfg.yaml").write_text(f"model_name_or_path: {tiny_checkpoint}\nprompts: [Hi]\n")
    code = main(
        ["plan", str(tmp_path / "cfg.yaml"), "--json", "--no-time", "--set", "num_directions=2"]
    )
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["cases"][0]["directions"] == 2
    assert document["cases"][0]["seconds"] is None


@pytest.mark.parametrize("model", ["llama-8b", pytest.param("llama-70b", marks=pytest.mark.slow)])
def test_the_models_of_the_readme(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = EXAMPLES / "plans" / f"{model}.json"
    assert main(["plan", str(path), "--no-time", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    size = {"llama-8b": 8_030_261_248, "llama-70b": 70_553_706_496}[model]
    assert document["parameters"] == size
    assert document["stored_bytes"] == 2 * size
    assert document["assumed_prompts"]


@pytest.mark.usefixtures("hurried")
def test_the_table(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cfg.yaml").write_text(
        f"model_name_or_path: {tiny_checkpoint}\nprecision: float32\nrefine: true\n"
    )
    assert main(["plan", str(tmp_path / "cfg.yaml"), "--ranks", "2"]) == 0
    shown = capsys.readouterr().out
    for part in ("evaluations", "peak memory of a rank", "time", "2 ranks", "refine adds"):
        assert part in shown


@pytest.mark.parametrize(
    ("arguments", "mentioned"),
    [
        (["none.json"], "none.json: there is no such file"),
        (["none.yaml"], "none.yaml: there is no such file"),
        (["broken.json"], "not readable JSON"),
        (["encoder.json"], "only causal language models"),
        (["fine.json", "--set", "radius=1"], "radius"),
        (["fine.json", "--set", "param_scope=head99"], "param_scope"),
        (["fine.json", "--ranks", "0"], "--ranks: '0' is out of range: from 1 to 1000000"),
        (["fine.json", "--ranks", "two"], "--ranks: 'two' is not a whole number"),
        (["fine.json", "--prompts", "9999999999"], "--prompts: '9999999999' is out of range"),
        (["unknown.json"], "unknown.json: transformers cannot use it"),
        (["wide.json"], "wide.json: gives no model"),
        (["cut.yaml"], "model.safetensors: is cut or corrupt"),
        (["empty.yaml"], "empty: has no config.json, which a plan is made from"),
    ],
)
def test_input_that_cannot_be_used(
    arguments: list[str],
    mentioned: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "encoder.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (tmp_path / "unknown.json").write_text('{"model_type": "nosuch"}')
    (tmp_path / "wide.json").write_text('{"model_type": "llama", "hidden_size": -32}')
    for name in ("cut", "empty"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.yaml").write_text(f"model_name_or_path: {name}")
    (tmp_path / "cut" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"abc")
    (tmp_path / "fine.json").write_text('{"model_type": "llama", "num_hidden_layers": 1}')
    code, shown, errors = call("plan", *arguments)
    assert code == 4
    assert mentioned in errors
    assert errors.count("error: ") == 1
    assert ".json/" not in errors
    assert not shown


class TestCommand:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """What the command plans, without a plan being made."""
        found: list[dict[str, Any]] = []

        class Planned:
            def to_dict(self) -> dict[str, int]:
                return {"number": len(found)}

        def note(config: object, **keys: Any) -> Planned:
            found.append(keys)
            return Planned()

        monkeypatch.setattr(plan, "plan_of", note)
        return found

    def test_hands_on_what_it_is_given(self, asked: list[dict[str, Any]], tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        place = str(tmp_path / "config.json")
        assert main(["plan", place, "--json"]) == 0
        given = ["--ranks", "3", "--prompts", "4", "--tokens", "5", "--no-time"]
        assert main(["plan", place, "--json", *given]) == 0
        assert asked == [
            {"ranks": 1, "prompts": None, "tokens": None, "timed": True},
            {"ranks": 3, "prompts": 4, "tokens": 5, "timed": False},
        ]

    @pytest.mark.usefixtures("asked")
    def test_several_checkpoints_are_a_list(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "cfg.yaml").write_text("model_name_or_path: [a, b]\nprompts: [Hi]\n")
        assert main(["plan", str(tmp_path / "cfg.yaml"), "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)) == 2
