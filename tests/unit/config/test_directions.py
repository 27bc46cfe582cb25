"""The keys of the config that say what directions are made of, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.config import Config, ConfigWarning
from pytest_linearity.config.loading import load_config
from pytest_linearity.errors import ConfigError


class TestConfig:
    @pytest.mark.parametrize(
        ("given", "kinds"),
        [
            ("rademacher", ("rademacher",)),
            (["gaussian", "update"], ("gaussian", "update")),
            (["-update", "-gradient"], ("-update", "-gradient")),
            ("file:a/b c.safetensors", ("file:a/b c.safetensors",)),
            (None, ("gaussian",)),
        ],
    )
    def test_kinds(self, given: Any, kinds: tuple[str, ...]) -> None:
        config = Config(model_name_or_path="m", directions=given, base_model_name_or_path="b")
        assert config.directions == kinds
        assert config.to_dict()["directions"] == list(kinds)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("gaus", r"'gaus' is not one of gaussian, rademacher, layerwise, filterwise, update, "),
            (["gaussian", "gaussian"], r"'gaussian' is repeated"),
            ([], r"is an empty list: name at least one of gaussian"),
            ("-gaussian", r"'-gaussian': the opposite of a random direction is just another one"),
            ("--update", r"'--update' is not one of gaussian"),
            ("file:a.bin", r"'file:a.bin' names no .safetensors file"),
            ("file:", r"'file:' names no .safetensors file"),
            (3, r"3 is not text"),
            ([None], r"None is not text"),
            ({"gaussian": 1}, r"is not text"),
            ("file:\0.safetensors", r"holds a control character"),
        ],
    )
    def test_refusals(self, given: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=rf"^directions: .*{message}"):
            Config(model_name_or_path="m", directions=given)

    def test_update_needs_a_base(self) -> None:
        for kinds in ("update", ["gaussian", "-update"]):
            with pytest.raises(ConfigError, match=r"^base_model_name_or_path: is missing"):
                Config(model_name_or_path="m", directions=kinds)

    def test_a_base_without_update_is_warned_about(self, tmp_path: Path) -> None:
        path = tmp_path / "c.yaml"
        path.write_text(
            "model_name_or_path: m\nbase_model_name_or_path: b\nanalysis: {update_gate: false}\n"
        )
        with pytest.warns(ConfigWarning, match=r"base_model_name_or_path has no effect without"):
            load_config(path)

    def test_radius_unit(self) -> None:
        with pytest.raises(ConfigError, match=r"^radius_unit: 'norm' is not one of absolute, rel"):
            Config(model_name_or_path="m", radius_unit="norm")
