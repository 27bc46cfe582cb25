"""Where the report of each config goes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_linearity.errors import ConfigError
from pytest_linearity.files import brief, fitting, require_writable

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config


def report_places(configs: Sequence[Config], override: Path | None = None) -> list[Path]:
    """A file of its own for the report of each config.

    Args:
        configs: The configs of one run.
        override: What the command line asks for, instead of `output_dir` and `report_filename`.

    Returns:
        One path per config. The report of one of several checkpoints or scopes of a config has
        their labels in its name: `report.json` becomes `report-checkpoint-100-attention.json`.
        Configs that would write the
        same file each get their own name put into it, before that: `report-first.json`.

    Raises:
        ConfigError: If a place cannot be written, or would overwrite a config.
    """
    paths = [override or config.report_path for config in configs]
    sharing = {
        (path.resolve(), _source(config)) for path, config in zip(paths, configs, strict=True)
    }
    shared = Counter(path for path, _ in sharing)
    places = [
        _labelled(path, name if shared[path.resolve()] > 1 else None, *_labels(config))
        for path, name, config in zip(paths, _names(configs), configs, strict=True)
    ]
    for place in places:
        require_writable(place)
    _require_distinct(places, configs)
    return places


def _labelled(path: Path, *labels: str | None) -> Path:
    given = [label for label in labels if label is not None]
    if not given or os.path.isdir(path):
        return path  # maybe to be refused as what it is
    return path.with_name(fitting("-".join([path.stem, *given]), path.suffix))


def _labels(config: Config) -> list[str | None]:
    from pytest_linearity.config.scope_labels import in_file_name

    scope = config.scope_label
    return [config.label, None if scope is None else in_file_name(scope)]


def _names(configs: Sequence[Config]) -> list[str]:
    """`a/gate.yaml` and `b/gate.yaml` become `a-gate` and `b-gate`; `gate.yaml` alone, `gate`."""
    sources = [
        _source(config).with_suffix("") if config.source else _source(config) for config in configs
    ]
    common = Path(os.path.commonpath([source.parent for source in sources])) if sources else None
    return ["-".join(source.relative_to(common or "").parts) for source in sources]


def _require_distinct(places: Sequence[Path], configs: Sequence[Config]) -> None:
    owners: dict[Path, Config] = {}
    for place, config in zip(places, configs, strict=True):
        if place.resolve() in map(_source, configs):
            raise ConfigError(f"{brief(place)}: this is a config; the report would overwrite it")
        owner = owners.setdefault(place.resolve(), config)
        if owner is not config:
            raise ConfigError(
                f"{_said(owner)} and {_said(config)}: both would write {brief(place)}; "
                "give each its own `report_filename`"
            )


def _said(config: Config) -> str:
    return str(config.source or config.model_name_or_path)


def _source(config: Config) -> Path:
    """The file of a config; without one the model, or where the several of a pattern lie."""
    if config.source is not None:
        return config.source.resolve()
    model = Path(str(config.model_name_or_path))
    return (model if config.label is None else model.parent).resolve()
