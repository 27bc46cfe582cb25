"""Where a checkpoint's own files would lead transformers astray, it is given others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.checkpoint.readable import readable


def checkpoint(directory: Path, **config: Any) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    (directory / "model.safetensors").write_bytes(b"weights")
    return directory


@pytest.mark.parametrize("config", [{}, {"dtype": "bfloat16"}, {"torch_dtype": None}])
def test_a_checkpoint_is_read_where_it_is(tmp_path: Path, config: dict[str, Any]) -> None:
    directory = checkpoint(tmp_path / "ckpt", **config)
    with readable(directory) as place:
        assert place == directory


def test_an_adapter_is_not_shown(tmp_path: Path) -> None:
    """Where peft is installed, transformers adds it to the weights."""
    directory = checkpoint(tmp_path / "ckpt", dtype="float32")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (directory / name).touch()
    with readable(directory) as place:
        assert place.name == "ckpt"
        assert {path.name for path in place.iterdir()} == {"config.json", "model.safetensors"}
        assert (place / "model.safetensors").read_bytes() == b"weights"
        assert json.loads((place / "config.json").read_text())["dtype"] == "float32"
    assert not place.exists()
    assert len(list(directory.iterdir())) == 4


def test_unknown_dtypes_are_left_out_at_every_level(tmp_path: Path) -> None:
    text = {"torch_dtype": "auto", "hidden_size": 3, "dtype": "bfloat16"}
    other = {"dtype": "auto"}  # a vocabulary, say
    directory = checkpoint(tmp_path / "ckpt", dtype="auto", text_config=text, other=other)
    with readable(directory) as place:
        config = json.loads((place / "config.json").read_text())
    assert config == {
        "model_type": "llama",
        "text_config": {"hidden_size": 3, "dtype": "bfloat16"},
        "other": other,
    }


def test_a_config_alone(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "ckpt", dtype="auto")
    with readable(directory / "config.json") as file:
        assert json.loads(file.read_text()) == {"model_type": "llama"}
    assert not file.exists()
