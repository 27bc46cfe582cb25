"""One config -> a config of its own for each checkpoint and scope that it names."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_linearity.config.config import Config
from pytest_linearity.config.scope_labels import scope_labels
from pytest_linearity.errors import shown


def runs_of(config: Config) -> tuple[Config, ...]:
    """A config of its own for each scope of each checkpoint.

    Raises:
        ConfigError: If a pattern matches no directory, or a checkpoint is named twice.

    Example:
        >>> config = Config(model_name_or_path="saves/run", param_scopes=["full", "last_blocks:1"])
        >>> [run.scope for run in runs_of(config)]
        ['full', 'last_blocks:1']
    """
    return tuple(one for each in checkpoints_of(config) for one in expand_scopes(each))


def checkpoints_of(config: Config) -> tuple[Config, ...]:
    """A config of its own for each checkpoint that a config names.

    A checkpoint that is named plainly gives the config itself. Those of a list keep its order;
    those of a pattern come in the order of the numbers in their names.

    Raises:
        ConfigError: If a pattern matches no directory, or a checkpoint is named twice.

    Example:
        >>> config = Config(model_name_or_path=["saves/run/one", "saves/run/two"])
        >>> [each.label for each in checkpoints_of(config)]
        ['one', 'two']
    """
    named = config.model_name_or_path
    if isinstance(named, str) and not _is_pattern(config, named):
        return (config,)
    entries = (named,) if isinstance(named, str) else named
    names = [name for entry in entries for name in _matching(config, entry)]
    _refuse_repeated(config, names)
    return tuple(
        replace(config, model_name_or_path=name, label=label)
        for name, label in zip(names, _labels(config, names), strict=True)
    )


def _is_pattern(config: Config, name: str) -> bool:
    """Whether a name stands for several; a directory may have brackets in its own name."""
    return glob.has_magic(name) and config.locate(name) is None


def _matching(config: Config, name: str) -> list[str]:
    """The checkpoints that an entry means."""
    if not _is_pattern(config, name):
        return [name]
    pattern = os.path.expanduser(name)
    for base in config.bases:
        found = glob.glob(pattern, root_dir=base, recursive=True)
        directories = [path for path in found if (base / path).is_dir()]
        if directories:
            return sorted(directories, key=_natural)
    places = " and ".join(dict.fromkeys(str(base) for base in config.bases))
    where = "" if os.path.isabs(pattern) else f" in {places}"
    raise config.error("model_name_or_path", f"{shown(name)} matches no directory{where}")


def _natural(name: str) -> list[tuple[str, int]]:
    """Sorts `checkpoint-9` before `checkpoint-10`."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"([^0-9]*)([0-9]*)", name)]


def _refuse_repeated(config: Config, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        directory = config.locate(name)
        place = os.path.realpath(directory) if directory else name
        if place in seen:
            also = "" if seen[place] == name else f", as {shown(seen[place])} too"
            raise config.error("model_name_or_path", f"{shown(name)} is named twice{also}")
        seen[place] = name


def _labels(config: Config, names: Sequence[str]) -> list[str]:
    """The ends of the names, as long as it takes to tell them apart: `checkpoint-100`."""
    parts = [Path(name).parts for name in names]
    for labels in _ends(parts):
        if len(set(labels)) == len(labels):
            return labels
    raise config.error("model_name_or_path", f"{shown(names)} cannot be told apart by name")


def _ends(parts: Sequence[tuple[str, ...]]) -> Iterator[list[str]]:
    for length in range(1, max(map(len, parts)) + 1):
        yield ["-".join(each[-length:]).strip("/\\") or "checkpoint" for each in parts]


def expand_scopes(config: Config) -> tuple[Config, ...]:
    """A config of its own for each scope that a config names, in the order given.

    One with a single `param_scope` gives the config itself.
    """
    scopes = config.param_scopes
    if scopes is None:
        return (config,)
    return tuple(
        replace(config, param_scope=scope, param_scopes=None, scope_label=label)
        for scope, label in zip(scopes, scope_labels(scopes), strict=True)
    )
