"""`@pytest.mark.linearity(...)`: limits and radii of a project's own tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

import pytest

from pytest_linearity.config.config import PARSERS, Config
from pytest_linearity.errors import ConfigError

MARK = "linearity"
ARGUMENTS = ("relerr_threshold", "cos_threshold", "radii")
"""Keys of the config that a mark may set for its test."""


class MarkWarning(pytest.PytestWarning):
    """A mark that does nothing."""


def marked_keys(definition: pytest.Item) -> dict[str, Any]:
    """What the marks of a test, its class and its module set; of each argument the closest one.

    Args:
        definition: The test.

    Raises:
        pytest.fail.Exception: If a mark has an argument or value that it cannot have.
    """
    keys: dict[str, Any] = {}
    for mark in definition.iter_markers(MARK):
        if mark.args:
            _refuse(definition, f"{mark.args[0]!r} has no name: its arguments are {_named()}")
        for name, value in mark.kwargs.items():
            if name not in ARGUMENTS:
                _refuse(definition, f"{name} is unknown: its arguments are {_named()}")
            try:
                parsed = PARSERS[name](value)
            except ValueError as error:
                _refuse(definition, f"{name}: {error}")
            keys.setdefault(name, parsed)
    return keys


def under(config: Config, keys: dict[str, Any], definition: pytest.Item) -> Config:
    """A config with the limits and radii of a test's marks.

    Where marks name radii, each of them must comply: `min_linearity_radius` was chosen for others.

    Args:
        config: The config.
        keys: What `marked_keys` has given.
        definition: The test.

    Raises:
        pytest.fail.Exception: If a mark names other kinds of directions than the config.
    """
    if not keys:
        return config
    if "radii" in keys:
        keys = {**keys, "min_linearity_radius": None}
    try:
        return replace(config, **keys)
    except ConfigError as error:
        _refuse(definition, str(error))


def warn_of_no_effect(definition: pytest.Item) -> None:
    """Warn of a mark on a test that takes nothing which it could have an effect on.

    A mark of a class or module is meant for those of its tests that do.
    """
    if any(mark.name == MARK and mark.kwargs for mark in definition.own_markers):
        definition.warn(
            MarkWarning(
                f"{definition.name}: the mark {MARK} has no effect, as the test takes none of "
                "linearity_config, linearity_measurement, linearity_report, linearity_radius and "
                "linearity_result"
            )
        )


def described(keys: dict[str, Any]) -> str:
    """What marks set, as it stands in the id of a test."""
    return "-".join(f"{name}={_spelled(keys[name])}" for name in ARGUMENTS if name in keys)


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return ";".join(f"{kind}:{_spelled(of_kind)}" for kind, of_kind in value.items())
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _refuse(definition: pytest.Item, what: str) -> NoReturn:
    pytest.fail(f"{definition.nodeid}: mark {MARK}: {what}", pytrace=False)


def _named() -> str:
    return ", ".join(ARGUMENTS)
