"""Radii and limits of each kind of directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.config.loading import load_config
from pytest_linearity.errors import ConfigError


def config(**keys: Any) -> Config:
    given = {"directions": ["gaussian", "-update"], "base_model_name_or_path": "base", **keys}
    return Config(model_name_or_path="x", **given)


def test_as_the_yaml_has_them(tmp_path: Path) -> None:
    path = tmp_path / "cfg.yaml"
    path.write_text(
        "model_name_or_path: x\n"
        "base_model_name_or_path: base\n"
        "directions: [gaussian, -update]\n"
        "radii: {gaussian: [10, 1], -update: [0.4]}\n"
        "relerr_threshold: {gaussian: 0.2, -update: 1}\n"
        "limits: {kl: {gaussian: 0.05, -update: null}, top1_agreement: 0.9}\n"
    )
    loaded = load_config(path)
    assert loaded.radii_by_kind == {"gaussian": (1.0, 10.0), "-update": (0.4,)}
    assert loaded.tested_radii == (0.4, 1.0, 10.0)
    assert loaded.metric_limits == {"top1_agreement": 0.9}
    update = loaded.of_kind("-update")
    assert (update.directions, update.radii) == (("-update",), (0.4,))
    assert (update.relerr_threshold, update.cos_threshold) == (1.0, 0.95)
    assert update.metric_limits == {"top1_agreement": 0.9}
    assert loaded.of_kind("gaussian").metric_limits == {"kl": 0.05, "top1_agreement": 0.9}
    assert loaded.to_dict()["radii"] == {"gaussian": [1.0, 10.0], "-update": [0.4]}
    assert Config(**loaded.to_dict()).radii_by_kind == loaded.radii_by_kind


def test_one_list_serves_all_kinds() -> None:
    plain = config(radii=[0.1, 1])
    assert plain.radii == plain.tested_radii == (0.1, 1.0)
    assert plain.radii_by_kind == {"gaussian": (0.1, 1.0), "-update": (0.1, 1.0)}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"radii": {"gaussian": [1]}}, "radii: -update is missing: of every kind of directions"),
        ({"radii": {}}, "radii: gaussian, -update is missing"),
        (
            {"radii": {"gaussian": [1], "-update": [1], "gradient": [1]}},
            "radii: 'gradient' is not one of the directions: gaussian, -update",
        ),
        ({"radii": {"gausian": [1]}}, "radii: gausian: 'gausian' is not one of gaussian, rademac"),
        ({"radii": {"gaussian": [1], "-update": [0]}}, "radii: -update: 0 is not above zero"),
        ({"relerr_threshold": {"gaussian": 0.2}}, "relerr_threshold: -update is missing"),
        ({"cos_threshold": {"gaussian": 2}}, "cos_threshold: gaussian: 2 is out of range"),
        ({"limits": {"kl": {"gaussian": 1}}}, "limits: kl: -update is missing"),
        ({"limits": {"kl": {"gaussian": "a"}}}, "limits: kl: gaussian: 'a' is not a finite numb"),
        (
            {"radii": {"gaussian": [1], "-update": [0.4]}, "min_linearity_radius": 1},
            "min_linearity_radius: 1 is above the largest radius of -update, 0.4",
        ),
    ],
)
def test_mistakes_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(**keys)
    assert message in str(refused.value)
