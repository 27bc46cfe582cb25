"""The linearity runs of one pytest session."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TextIO

import pytest

from pytest_linearity.errors import (
    CheckpointError,
    ConfigError,
    LinearityError,
    MeasurementError,
    ScopeError,
)
from pytest_linearity.files import brief
from pytest_linearity.numerics.ranks import current, on_all_ranks
from pytest_linearity.plugin.xdist import XdistRole
from pytest_linearity.report.outputs import Outputs, Written
from pytest_linearity.report.results import Failure, Result
from pytest_linearity.run.progress import ProgressBar
from pytest_linearity.run.run import Run
from pytest_linearity.run.scopes import Companions
from pytest_linearity.run.store.journal import journal_places

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.metrics.metric import Metric
    from pytest_linearity.run.baseline import Baseline
    from pytest_linearity.run.run import Measure
    from pytest_linearity.run.store.cache import Cache
    from pytest_linearity.verdict.findings import Findings


class LinearitySession:
    """What the command line and the ini file ask for, shared by gate and fixtures."""

    def __init__(self, config: pytest.Config) -> None:
        """No config is read yet.

        Raises:
            ConfigError: If there is no place for the cache that is asked for.
        """
        self._config = config
        self._asked = [Path(path) for path in config.getoption("--linearity-config")]
        base = config.inipath.parent if config.inipath else config.invocation_params.dir
        self._fallback = [brief(base / path) for path in config.getini("linearity_config")]
        self._overrides: list[str] = config.getoption("--linearity-set")
        self._report_path: Path | None = config.getoption("--linearity-report")
        self._outputs = Outputs.asked_for(
            markdown=config.getoption("--linearity-markdown"),
            plot=config.getoption("--linearity-plot"),
            html=config.getoption("--linearity-html"),
        )
        self.written = Written()
        """The reports for people, once they are there."""
        self.waited = 0.0
        """Seconds that tests of this process have waited for what another one measured."""
        self._worked = 0.0
        self._added_metrics: tuple[Metric, ...] | None = None
        self.distribution = XdistRole(config)
        """The part that this process has where there are several."""
        self.cache_directory = _cache_directory(config)
        """Where measurements are kept for later runs, if they are."""
        self._stderr = None if self.distribution.worker else _uncaptured_stderr()
        self.unusable: LinearityError | None = None
        """The mistake that ends this session as a usage error, once it is found."""
        self.unwritten: LinearityError | None = None
        """Why a file could not be written at the end."""
        self.runs: list[Run] = []
        """The runs whose configs have been read."""

    @cached_property
    def gates(self) -> tuple[Run, ...]:
        """The runs that are collected as tests: one per checkpoint and scope of each config.

        Raises:
            LinearityError: If a config cannot be used, or a report not be written.
        """
        return self._read_all(self._asked, report=True, gate=True)

    @cached_property
    def for_fixtures(self) -> tuple[Run, ...]:
        """The runs that fixtures give: those of the gate, or else those of the ini file.

        Raises:
            LinearityError: If a config cannot be used, or a report not be written.
        """
        if self._asked:
            return self.gates
        # A project's own tests leave no file behind unless they are asked to.
        return self._read_all(self._fallback, report=self._report_path is not None)

    def obtain(self, run: Run, measure: Measure) -> Findings:
        """The findings of a run: those of another process or an earlier run, or else of now."""
        exchange = self.distribution.exchange
        if exchange is None:
            return self._cached(run, measure)
        worked = self._worked
        begun = perf_counter()
        try:
            return exchange.obtain(
                run, partial(self._timed, run, measure), partial(self._also, run)
            )
        finally:
            self.waited += perf_counter() - begun - (self._worked - worked)

    def has(self, run: Run) -> bool:
        """Whether another process or an earlier run has findings of a run, or has failed."""
        exchange = self.distribution.exchange
        if exchange is not None and (exchange.has(run) or exchange.given_up(run)):
            return True
        cache = self._cache
        return cache is not None and any(
            on_all_ranks(current(), "the cache", lambda: current().rank == 0 and cache.has(run))
        )

    @property
    def _cache(self) -> Cache | None:
        if self.cache_directory is None:
            return None
        from pytest_linearity.run.store.cache import Cache

        return Cache(self.cache_directory)

    def _cached(self, run: Run, measure: Measure) -> Findings:
        cache = self._cache
        if cache is None:
            return measure()
        from pytest_linearity.run.store.cache import obtain

        return obtain(current(), cache, run, measure)

    def _timed(self, run: Run, measure: Measure) -> Findings:
        begun = perf_counter()
        try:
            return self._cached(run, measure)
        finally:
            self._worked += perf_counter() - begun

    def _also(self, run: Run) -> dict[Run, Measure]:
        """What has been measured along with a run, for other processes to have."""
        if run.companions is None:
            return {}
        others = run.companions.also_found(run)
        return {other: partial(self._timed, other, other.measure) for other in others}

    def finish(self) -> None:
        """Take over what other processes have measured, and write what is not written yet.

        Raises:
            LinearityError: If a file cannot be written.
        """
        if self.distribution.worker:
            return
        exchange = self.distribution.exchange
        if exchange is not None and not exchange.empty:
            for run in self.for_fixtures:
                if exchange.has(run):
                    with suppress(LinearityError, RuntimeError):  # the run keeps it
                        _ = run.findings
        measured = [run for run in self.runs if run.measured]
        for run in measured:
            _ = run.report
        for run in measured:
            run.finish()
        self.written = self._outputs.write(self.results, self.unmeasured)

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

    @contextmanager
    def stopping_at_unusable_input(self, run: Run | None = None) -> Iterator[None]:
        """Turn a mistake found while a test runs into the end of all tests.

        One of several checkpoints or scopes that cannot be measured fails its own tests only.
        """
        try:
            yield
        except LinearityError as error:
            several = run is not None and run.label is not None
            single = several and isinstance(error, (CheckpointError, MeasurementError))
            if single or isinstance(error, ScopeError):
                pytest.fail(str(error), pytrace=False)
            self.unusable = error
            raise pytest.exit.Exception(str(error), returncode=4) from None

    @contextmanager
    def ending_as_usage_error(self, session: pytest.Session) -> Iterator[None]:
        """Turn that end into a usage error: one clear message, no traceback, exit code 4."""
        try:
            yield
        except LinearityError as error:
            self.unusable = error
        except BaseException:
            if self.unusable is None:
                raise
        if self.unusable is None:
            return
        message = str(self.unusable)
        if self.distribution.worker:
            self.distribution.tell_controller(session, message)
        raise pytest.UsageError(message)

    def usage_error(self, message: str) -> pytest.UsageError:
        """A usage error, without its message where another process says it."""
        return pytest.UsageError(*(() if self.distribution.worker else (message,)))

    def close(self) -> None:
        """Let go of the terminal and of what is shared."""
        self.distribution.close()
        if self._stderr is not None:
            self._stderr.close()

    def _read_all(
        self, paths: Sequence[Path], *, report: bool, gate: bool = False
    ) -> tuple[Run, ...]:
        from pytest_linearity.config.expansion import runs_of
        from pytest_linearity.report.places import report_places

        once = list({os.path.abspath(path): path for path in paths}.values())
        found = [(path, config) for path in once for config in runs_of(self._read(path))]
        places: Sequence[Path | None] = [None] * len(found)
        if report:
            places = report_places([config for _, config in found], self._report_path)
        if current().rank == 0:
            self._outputs.require_writable([*once, *(place for place in places if place)])
        baselines: Sequence[Baseline | None] = [None] * len(found)
        if gate:
            baselines = self._baselines([config for _, config in found], places)
        if self.distribution.worker:
            places = [None] * len(found)  # found to be writable; the controller writes
        journals = journal_places(self._config.getoption("--linearity-resume"), found)
        companions = {
            (path, config.label): Companions() for path, config in found if config.scope_label
        }
        runs = tuple(
            Run(
                config,
                name=path.as_posix(),
                report_path=place,
                bar=self._bar(config.label or "linearity"),
                store=self,
                baseline=baseline,
                companions=companions.get((path, config.label)),
                journal=journal,
            )
            for (path, config), place, baseline, journal in zip(
                found, places, baselines, journals, strict=True
            )
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

    def _read(self, path: Path) -> Config:
        from pytest_linearity.config.config import ConfigWarning, load_config

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConfigWarning)
            config = load_config(path, self._overrides, metric_source=self._metrics)
        for entry in caught if self.distribution.warns(gates=bool(self._asked)) else ():
            try:
                self._config.issue_config_time_warning(ConfigWarning(entry.message), stacklevel=2)
            except ConfigWarning as error:  # asked for by `-W error`
                raise ConfigError(str(error)) from None
        return config

    def _metrics(self) -> tuple[Metric, ...]:
        if self._added_metrics is None:
            from pytest_linearity.plugin.metrics import metrics_of_plugins

            self._added_metrics = metrics_of_plugins(self._config)
        return self._added_metrics

    def _bar(self, subject: str) -> ProgressBar:
        return ProgressBar(self._stderr, f"measuring {subject}", column=self._column)

    def _column(self) -> int:
        """Where pytest has left the cursor."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not reporter.isatty:
            return 0
        writer = self._config.get_terminal_writer()
        return writer.width_of_current_line % writer.fullwidth


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
    return cache.mkdir("linearity")


def _uncaptured_stderr() -> TextIO | None:
    """The terminal's standard error, taken while pytest does not capture it."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding)
