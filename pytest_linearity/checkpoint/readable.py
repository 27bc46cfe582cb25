"""A checkpoint as transformers can read it, where its own files would lead transformers astray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest_linearity.checkpoint.files import read_json

_KEYS = ("dtype", "torch_dtype")
_ADAPTER = "adapter_"


@contextmanager
def readable(place: Path) -> Iterator[Path]:
    """A checkpoint's files, with a config that names no unknown dtype, and without an adapter.

    Weights are loaded in the dtypes of their files, so that it does not matter what the config
    says. An adapter beside full weights would be added to them wherever peft is installed.

    Args:
        place: The checkpoint; or its `config.json` alone.

    Yields:
        `place` itself where nothing is in the way. Otherwise a directory for a while, of the same
        name and with links to the same files; or a file in one.
    """
    config = _config(place)
    known = _of_known_dtypes(config)
    if known == config and not (place / "adapter_config.json").is_file():
        yield place
        return
    with TemporaryDirectory() as parent:
        # Code that comes with a checkpoint is kept by the name of its directory.
        copy = Path(parent, place.resolve().name)
        if place.is_file():
            copy.write_text(json.dumps(known), encoding="utf-8")
        else:
            _link(place, copy)
            (copy / "config.json").unlink(missing_ok=True)
            (copy / "config.json").write_text(json.dumps(known), encoding="utf-8")
        yield copy


def names_unknown_dtype(place: Path) -> bool:
    """Whether the config of a checkpoint names a dtype that torch does not have."""
    config = _config(place)
    return _of_known_dtypes(config) != config


def _config(place: Path) -> dict[str, Any]:
    file = place if place.is_file() else place / "config.json"
    return read_json(file) if file.is_file() else {}


def _link(place: Path, copy: Path) -> None:
    copy.mkdir()
    for path in place.iterdir():
        if not path.name.startswith(_ADAPTER):
            (copy / path.name).symlink_to(path.resolve())


def _of_known_dtypes(config: dict[str, Any]) -> dict[str, Any]:
    """A config, and the configs in it, without dtypes that torch does not have, such as `auto`."""
    known = {}
    for key, value in config.items():
        if key in _KEYS and not _is_dtype(value):
            continue
        nested = isinstance(value, dict) and key.endswith("_config")
        known[key] = _of_known_dtypes(value) if nested else value
    return known


def _is_dtype(value: Any) -> bool:
    import torch

    return value is None or (
        isinstance(value, str) and isinstance(getattr(torch, value, None), torch.dtype)
    )
