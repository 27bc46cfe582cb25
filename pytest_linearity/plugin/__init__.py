"""What pytest sees of the plugin: options, fixtures and, where there is a config, hooks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_linearity.plugin.fixtures import (
    _linearity_run,
    linearity_config,
    linearity_directions,
    linearity_measurement,
    linearity_model,
    linearity_probes,
    linearity_radius,
    linearity_report,
    linearity_result,
    linearity_tokenizer,
)
from pytest_linearity.plugin.options import USELESS_ALONE, pytest_addoption

if TYPE_CHECKING:
    from pytest_linearity.run.ranks.place import Place

__all__ = [
    "_linearity_run",
    "linearity_config",
    "linearity_directions",
    "linearity_measurement",
    "linearity_model",
    "linearity_probes",
    "linearity_radius",
    "linearity_report",
    "linearity_result",
    "linearity_tokenizer",
    "pytest_addoption",
]


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """The hooks that other plugins and conftest files may implement."""
    from pytest_linearity.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Take part in the session where a config is given, and only there."""
    config.addinivalue_line(
        "markers",
        "linearity(relerr_threshold=..., cos_threshold=..., radii=[...]): limits and radii of a "
        "test that uses the linearity fixtures, instead of those of the config",
    )
    gates = config.getoption("--linearity-config") or config.getoption("--linearity-model")
    if gates or config.getini("linearity_config"):
        from pytest_linearity.plugin.hooks import LinearityHooks
        from pytest_linearity.plugin.junit import JUnitProperties

        place = _place()
        if place is not None:
            from pytest_linearity.plugin.ranks import RankSession

            config.pluginmanager.register(RankSession(config, place), "linearity_ranks")
        if config.getoption("--linearity-baseline") and not gates:
            raise pytest.UsageError(
                "--linearity-baseline: there is no gate to compare; give --linearity-config"
            )
        config.pluginmanager.register(LinearityHooks(config), "linearity_hooks")
        config.pluginmanager.register(JUnitProperties(config), "linearity_junit")
        return
    for option in USELESS_ALONE:
        if config.getoption(option):
            raise pytest.UsageError(
                f"{option}: there is no config to use it on; give --linearity-config "
                "or the ini key linearity_config"
            )


def _place() -> Place | None:
    """The place of this process among those of torchrun, if that has started it."""
    from pytest_linearity.errors import LinearityError
    from pytest_linearity.run.ranks.place import Place

    try:
        return Place.of(os.environ)
    except LinearityError as error:
        raise pytest.UsageError(str(error)) from None
