"""What pytest sees of the plugin: options, fixtures and, where there is a config, hooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_linearity.fixtures import (
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
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line options and the ini key."""
    group = parser.getgroup("linearity", "local linearity of a causal language model")
    group.addoption(
        "--linearity-config",
        action="append",
        default=[],
        metavar="CONFIG",
        help="run the gate of this YAML config; alone when no path is given, else besides the "
        "tests there; repeatable",
    )
    group.addoption(
        "--linearity-report",
        type=Path,
        metavar="PATH",
        help="write the JSON report here, instead of `output_dir`/`report_filename` of the config",
    )
    group.addoption(
        "--linearity-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the configs, as in radii=[0.1,1.0]; repeatable",
    )
    parser.addini(
        "linearity_config",
        type="args",
        default=[],
        help="YAML config of the linearity fixtures, relative to this file; runs no gate by itself",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take part in the session where a config is given, and only there."""
    if config.getoption("--linearity-config") or config.getini("linearity_config"):
        from pytest_linearity.hooks import LinearityHooks

        config.pluginmanager.register(LinearityHooks(config), "linearity_hooks")
        return
    for option in ("--linearity-report", "--linearity-set"):
        if config.getoption(option):
            raise pytest.UsageError(
                f"{option}: there is no config to use it on; give --linearity-config "
                "or the ini key linearity_config"
            )
