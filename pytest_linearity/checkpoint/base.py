"""The model that a checkpoint was made of, where training has left its name beside the weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config

_CARD = "README.md"
_FENCE = "---"


def with_base(config: Config) -> Config:
    """A config with the base that its checkpoint's files name, if it names none itself.

    Only a base that is at hand counts, in a directory or in the cache of the hub: nothing is
    fetched that nobody has asked for.

    Args:
        config: Of one checkpoint.
    """
    if config.base_model_name_or_path is not None or not config.update_gate:
        return config
    directory = config.locate(config.checkpoint)
    if directory is None or not directory.is_dir():
        return config
    for name, named_by in _named(directory):
        if _is_at_hand(config, name, directory):
            return replace(config, base_model_name_or_path=name, base_named_by=named_by)
    return config


def _named(directory: Path) -> Iterator[tuple[str, str]]:
    """What the files beside a checkpoint call its base, and which file does."""
    for folder in (directory, directory.parent):
        entry = _card(folder / _CARD).get("base_model")
        if isinstance(entry, list) and len(entry) == 1:
            entry = entry[0]
        if isinstance(entry, str):
            yield entry, _CARD
    entry = _json(directory / "config.json").get("_name_or_path")
    if isinstance(entry, str):
        yield entry, "config.json"


def _is_at_hand(config: Config, name: str, directory: Path) -> bool:
    """Whether there is a checkpoint of that name, other than this one, without fetching it."""
    from pytest_linearity.checkpoint import hub

    place = config.locate(name) if name.strip() else None
    if place is not None:
        return (place / "config.json").is_file() and not os.path.samefile(place, directory)
    return hub.is_id(name) and hub.is_cached(
        name, revision=config.base_model_revision, cache_dir=config.cache_dir
    )


def _card(path: Path) -> dict[str, Any]:
    """The metadata of a model card, which is YAML between two fences at its start."""
    import yaml

    try:
        first, _, rest = path.read_text(encoding="utf-8").partition("\n")
        if first.strip() != _FENCE:
            return {}
        metadata = yaml.safe_load(rest.partition(f"\n{_FENCE}")[0])
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
