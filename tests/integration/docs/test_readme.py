"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.support.fixtures import Write
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def test_the_python_code_runs(real_config: Write, capsys: pytest.CaptureFixture[str]) -> None:
    real_config("linearity.yaml", radii=[0.01, 0.1])
    [code] = [block for block in blocks("python") if "import Directions," in block]
    exec(compile(code, "README.md", "exec"), {})
    radius, errors = capsys.readouterr().out.splitlines()
    assert radius.startswith("0.1 {'0.01': ")
    assert errors.startswith("tensor([")


def test_the_config_is_one(tmp_path: Path) -> None:
    from pytest_linearity.config.loading import load_config

    [config] = [block for block in blocks("yaml") if "model_name_or_path: saves/my-run" in block]
    (tmp_path / "linearity.yaml").write_text(config)
    assert load_config(tmp_path / "linearity.yaml").radii == (0.1, 0.3, 1.0)
    for block in blocks("yaml"):
        yaml.safe_load(block)


def test_every_key_is_in_the_table_with_its_default() -> None:
    from pytest_linearity.config.config import KEYS, Config

    table = README.partition("## Config")[2].partition("\n## ")[0]
    defaults = Config(model_name_or_path="x").to_dict()
    rows = {
        key: row.split("|")[3]
        for row in table.splitlines()
        for key in re.findall(r"`(\w+)`", row.split("|")[1] if row.startswith("|") else "")
    }
    for key in KEYS:
        assert f"`{key}`" in table, f"{key} is not documented"
    for key in ("cutoff_len", "batch_size", "num_directions", "seed", "radii"):
        assert str(defaults[key]) in rows[key]


def test_every_fixture_is_in_the_table() -> None:
    from pytest_linearity import plugin

    for name in plugin.__all__:
        assert name.startswith(("_", "pytest_")) or f"`{name}`" in README


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists()
