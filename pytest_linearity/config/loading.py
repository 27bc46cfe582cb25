"""A config from a YAML file, or from nothing but the name of a model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_linearity.config import values
from pytest_linearity.config.config import KEYS, Config, ConfigWarning
from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.measurement.radius_unit import UPDATE
from pytest_linearity.numerics.metrics.registry import MetricSource, installed_metrics


def load_config(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    metric_source: MetricSource = installed_metrics,
) -> Config:
    """Read a config from a YAML file.

    Keys are taken from the root of the file, then from its section ``analysis``, then from the
    overrides; the later wins. Unknown keys are ignored, since the file may be a whole training
    config; one that looks like a misspelt key of ours is warned about.

    Args:
        path: The YAML file.
        overrides: ``key=value`` texts, the value in YAML, as ``radii=[0.1, 1.0]``.
        metric_source: Where metrics come from that are not built in; installed packages by default.

    Raises:
        ConfigError: If the file cannot be read, or a key or value cannot be used.

    Example:
        >>> config = load_config("examples/arithmetic/linearity.yaml", ["num_directions=2"])
        >>> config.num_directions, config.radii
        (2, (0.1, 0.3, 1.0, 3.0))
    """
    from pytest_linearity.config.file import read_keys

    source = Path(path)
    keys = read_keys(source, overrides, known=KEYS)
    for message in keys.warnings:
        warnings.warn(f"{source}: {message}", ConfigWarning, stacklevel=2)
    if keys.values.get("model_name_or_path") is None:
        raise ConfigError(
            f"{source}: model_name_or_path is missing: give the checkpoint's directory or hub id"
        )
    config = Config(**keys.values, source=source, metric_source=metric_source)
    for key, effective, needs in (
        ("base_model_name_or_path", _uses_base(config), "update_gate, or `directions: update`"),
        ("optimizer_state", config.follows_optimizer, "`directions: optimizer`"),
    ):
        if getattr(config, key) is not None and not effective:
            warnings.warn(
                f"{source}: {key} has no effect without {needs}", ConfigWarning, stacklevel=2
            )
    return config


def config_of_model(
    name: str,
    overrides: Sequence[str] = (),
    *,
    keys: Mapping[str, Any] | None = None,
    metric_source: MetricSource = installed_metrics,
) -> Config:
    """The config of a model without a YAML file: its built-in prompts, and radii that are chosen.

    Args:
        name: A checkpoint's directory, or the id of a model on the hub.
        overrides: ``key=value`` texts, as `load_config` takes them.
        keys: What holds unless it is overridden, as a YAML has it.
        metric_source: Where metrics come from that are not built in.

    Raises:
        ConfigError: If an override cannot be used.

    Example:
        >>> config_of_model("saves/run", ["num_directions=2"]).radii
        'auto'
    """
    from pytest_linearity.config.file import keys_of

    root = {"model_name_or_path": name, "radii": values.AUTO, **(keys or {})}
    raw = keys_of(Path(name), root, {}, overrides, known=KEYS)
    for message in raw.warnings:
        warnings.warn(f"{name}: {message}", ConfigWarning, stacklevel=2)
    return Config(**raw.values, metric_source=metric_source)


def _uses_base(config: Config) -> bool:
    return config.update_gate or config.follows_update or config.radius_unit == UPDATE
