"""The linearity runs of one pytest session."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_linearity.errors import ConfigError, LinearityError
from pytest_linearity.numerics.ranks import current
from pytest_linearity.plugin.ending import Ending
from pytest_linearity.plugin.reading import ConfigReader
from pytest_linearity.plugin.terminal import Terminal
from pytest_linearity.plugin.xdist import XdistRole
from pytest_linearity.report.outputs import Outputs, Written
from pytest_linearity.report.results import Failure, Result
from pytest_linearity.run.run import Run, make_runs
from pytest_linearity.run.store.store import Store, Stores

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.run.baseline import Baseline


class LinearitySession:
    """What the command line and the ini file ask for, shared by gate and fixtures.

    It holds the runs, says where they look before they measure, and writes what they have found.
    How configs are read, how the session ends, and what part this process has where there are
    several, are matters of `ConfigReader`, `Ending` and `XdistRole`.
    """

    def __init__(self, config: pytest.Config) -> None:
        """A session of which no config is read.

        Raises:
            ConfigError: If there is no place for the cache that is asked for.
        """
        self._config = config
        self.role = XdistRole(config)
        """The part that this process has where there are several."""
        self.ending = Ending(self.role)
        """How the session ends."""
        self.cache_directory = _cache_directory(config)
        """Where measurements are kept for later runs, if they are."""
        self._reader = ConfigReader(config, self.role)
        self._report_path: Path | None = config.getoption("--linearity-report")
        self._outputs = Outputs.asked_for(
            markdown=config.getoption("--linearity-markdown"),
            plot=config.getoption("--linearity-plot"),
            html=config.getoption("--linearity-html"),
        )
        self.written = Written()
        """The reports for people, once they are there."""
        self.runs: list[Run] = []
        """The runs whose configs have been read."""
        self._terminal = Terminal(config, silent=self.role.worker)

    @cached_property
    def gates(self) -> tuple[Run, ...]:
        """The runs that are collected as tests: one per checkpoint and scope of each config.

        Raises:
            LinearityError: If a config cannot be used, or a report not be written.
        """
        return self._read(self._reader.gates, report=True, gate=True)

    @cached_property
    def for_fixtures(self) -> tuple[Run, ...]:
        """The runs that fixtures give: those of the gate, or else those of the ini file.

        Raises:
            LinearityError: If a config cannot be used, or a report not be written.
        """
        if self._reader.gates:
            return self.gates
        # A project's own tests leave no file behind unless they are asked to.
        return self._read(self._reader.fallback, report=self._report_path is not None)

    def stores(self) -> Stores:
        """Where runs look before they measure; what is shared is known once there are workers."""
        return Stores(self.role.exchange or Store(), self._cache)

    @cached_property
    def _cache(self) -> Store:
        if self.cache_directory is None:
            return Store()
        from pytest_linearity.run.store.cache import Cache, RankZero

        return RankZero(Cache(self.cache_directory), current())

    @property
    def waited(self) -> float:
        """Seconds that tests of this process have waited for what another one measured."""
        exchange = self.role.exchange
        return exchange.waited if exchange is not None else 0.0

    def finish(self) -> None:
        """Take over what other processes have measured, and write what is not written yet.

        Raises:
            LinearityError: If a file cannot be written.
        """
        if self.role.worker:
            return
        exchange = self.role.exchange
        if exchange is not None and not exchange.empty:
            for run in self.for_fixtures:
                if exchange.ended(run.key):
                    with suppress(LinearityError, RuntimeError):  # the run keeps it
                        _ = run.findings
        measured = [run for run in self.runs if run.measured]
        for run in measured:
            _ = run.report
        failures: list[LinearityError] = []
        for run in measured:
            try:
                run.finish()
            except LinearityError as error:
                failures.append(error)
            failures += run.unwritten
        try:
            self.written = self._outputs.write(self.results, self.unmeasured)
        except LinearityError as error:
            failures.append(error)
        if failures:
            raise LinearityError("; ".join(map(str, failures)))

    @property
    def results(self) -> list[Result]:
        """What was found, by checkpoint, as the reports for people take it."""
        return [run.result() for run in self.runs if run.reported]

    @property
    def unmeasured(self) -> list[Failure]:
        """The checkpoints that could not be measured."""
        failed = [(run, run.failure) for run in self.runs]
        return [
            Failure(run.config_name, run.label, reason, run.scope)
            for run, reason in failed
            if reason
        ]

    def close(self) -> None:
        """Let go of the terminal and of what is shared."""
        self.role.close()
        self._terminal.close()

    def _read(self, paths: Sequence[Path], *, report: bool, gate: bool = False) -> tuple[Run, ...]:
        from pytest_linearity.report.places import report_places

        named = self._reader.read(paths)
        configs = [config for _, config in named]
        places: Sequence[Path | None] = [None] * len(named)
        if report:
            places = report_places(configs, self._report_path)
        if current().rank == 0:
            self._outputs.require_writable([*paths, *(place for place in places if place)])
        baselines = self._baselines(configs, places) if gate else None
        if self.role.worker:
            places = [None] * len(named)  # found to be writable; the controller writes
        runs = make_runs(
            named,
            places,
            bar=self._terminal.bar,
            journals=self._config.getoption("--linearity-resume"),
            baselines=baselines,
            stores=self.stores,
        )
        self.runs.extend(runs)
        return runs

    def _baselines(
        self, configs: Sequence[Config], places: Sequence[Path | None]
    ) -> list[Baseline | None]:
        from pytest_linearity.run.baseline import find_baselines

        named = self._config.getoption("--linearity-baseline")
        missing = self._config.getoption("--linearity-baseline-missing")
        return find_baselines(configs, places, named, create=missing == "create")


SESSION = pytest.StashKey[LinearitySession]()
"""Where pytest's config keeps the session."""


def _cache_directory(config: pytest.Config) -> Path | None:
    if not config.getoption("--linearity-cache"):
        return None
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is None:
        raise ConfigError(
            "--linearity-cache: keeps measurements in pytest's cache, which -p no:cacheprovider "
            "has turned off"
        )
    try:
        return cache.mkdir("linearity")
    except OSError as error:
        raise ConfigError(
            f"--linearity-cache: pytest's cache cannot be written ({error.strerror}); "
            "the ini key cache_dir names another place"
        ) from None
