"""What the command line and the ini file ask for: config files, read into configs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_linearity.errors import ConfigError
from pytest_linearity.files import brief

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.metrics.metric import Metric
    from pytest_linearity.plugin.xdist import XdistRole


class ConfigReader:
    """Reads configs as a pytest session has them.

    Keys are overridden as the command line says, metrics may be those of plugins, and what is
    warned about is warned about by one process.
    """

    def __init__(self, config: pytest.Config, role: XdistRole) -> None:
        """The reader of a session, and the part that its process has where there are several."""
        self._config = config
        self._role = role
        self._models: dict[Path, str] = {
            Path(name): name for name in config.getoption("--linearity-model")
        }
        files = map(Path, config.getoption("--linearity-config"))
        self.gates = [*files, *self._models]
        """The files whose gates are asked for, and the models."""
        base = config.inipath.parent if config.inipath else config.invocation_params.dir
        self.fallback = [brief(base / path) for path in config.getini("linearity_config")]
        """The files that configure fixtures where no gate is asked for."""

    def read(self, paths: Sequence[Path]) -> list[tuple[Path, Config]]:
        """The configs of files, each file once: one for every checkpoint and scope that it names.

        Raises:
            ConfigError: If one cannot be used.
        """
        from pytest_linearity.config.expansion import runs_of

        once = {os.path.abspath(path): path for path in paths}.values()
        return [(path, config) for path in once for config in runs_of(self._load(path))]

    def _load(self, path: Path) -> Config:
        from pytest_linearity.config.config import ConfigWarning
        from pytest_linearity.config.loading import config_of_model, load_config

        overrides: list[str] = self._config.getoption("--linearity-set")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConfigWarning)
            if path in self._models:
                name = self._models[path]
                config = config_of_model(name, overrides, metric_source=lambda: self._metrics)
            else:
                config = load_config(path, overrides, metric_source=lambda: self._metrics)
        for entry in caught if self._role.warns(gates=bool(self.gates)) else ():
            try:
                self._config.issue_config_time_warning(ConfigWarning(entry.message), stacklevel=2)
            except ConfigWarning as error:  # asked for by `-W error`
                raise ConfigError(str(error)) from None
        return config

    @cached_property
    def _metrics(self) -> tuple[Metric, ...]:
        from pytest_linearity.plugin.metrics import metrics_of_plugins

        return metrics_of_plugins(self._config)
