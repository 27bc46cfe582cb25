"""The linearity runs of one pytest session."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

from pytest_linearity.errors import ConfigError, LinearityError
from pytest_linearity.progress import ProgressBar
from pytest_linearity.report.files import brief
from pytest_linearity.run import Run

if TYPE_CHECKING:
    from pytest_linearity.config import Config


class LinearitySession:
    """What the command line and the ini file ask for, shared by gate and fixtures."""

    def __init__(self, config: pytest.Config) -> None:
        """No config is read yet."""
        self._config = config
        self._asked = [Path(path) for path in config.getoption("--linearity-config")]
        base = config.inipath.parent if config.inipath else config.invocation_params.dir
        self._fallback = [brief(base / path) for path in config.getini("linearity_config")]
        self._overrides: list[str] = config.getoption("--linearity-set")
        self._report_path: Path | None = config.getoption("--linearity-report")
        self._stderr = _uncaptured_stderr(config)
        self.unusable: LinearityError | None = None
        """The mistake that ends this session as a usage error, once it is found."""
        self.runs: list[Run] = []
        """The runs whose configs have been read."""

    @cached_property
    def gates(self) -> tuple[Run, ...]:
        """The runs that are collected as tests: one per `--linearity-config`.

        Raises:
            LinearityError: If a config cannot be used, or a report not be written.
        """
        return self._read_all(self._asked, report=True)

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

    @contextmanager
    def stopping_at_unusable_input(self) -> Iterator[None]:
        """Turn a mistake found while a test runs into the end of all tests."""
        try:
            yield
        except LinearityError as error:
            self.unusable = error
            raise pytest.exit.Exception(str(error), returncode=4) from None

    @contextmanager
    def ending_as_usage_error(self) -> Iterator[None]:
        """Turn that end into a usage error: one clear message, no traceback, exit code 4."""
        try:
            yield
        except pytest.exit.Exception:
            if self.unusable is None:
                raise
        if self.unusable is not None:
            raise pytest.UsageError(str(self.unusable))

    def close(self) -> None:
        """Let go of the terminal."""
        if self._stderr is not None:
            self._stderr.close()

    def _read_all(self, paths: Sequence[Path], *, report: bool) -> tuple[Run, ...]:
        from pytest_linearity.report.places import report_places

        once = list({os.path.abspath(path): path for path in paths}.values())
        configs = [self._read(path) for path in once]
        places = report_places(configs, self._report_path) if report else [None] * len(once)
        runs = tuple(
            Run(config, name=path.as_posix(), report_path=place, bar=self._bar())
            for path, config, place in zip(once, configs, places, strict=True)
        )
        self.runs.extend(runs)
        return runs

    def _read(self, path: Path) -> Config:
        from pytest_linearity.config import ConfigWarning, load_config

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConfigWarning)
            config = load_config(path, self._overrides)
        for entry in caught:
            try:
                self._config.issue_config_time_warning(ConfigWarning(entry.message), stacklevel=2)
            except ConfigWarning as error:  # asked for by `-W error`
                raise ConfigError(str(error)) from None
        return config

    def _bar(self) -> ProgressBar:
        return ProgressBar(self._stderr, "measuring linearity", column=self._column)

    def _column(self) -> int:
        """Where pytest has left the cursor."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not reporter.isatty:
            return 0
        writer = self._config.get_terminal_writer()
        return writer.width_of_current_line % writer.fullwidth


SESSION = pytest.StashKey[LinearitySession]()
"""Where pytest's config keeps the session."""


def _uncaptured_stderr(config: pytest.Config) -> TextIO | None:
    """The terminal's standard error, taken while pytest does not capture it."""
    if hasattr(config, "workerinput"):
        return None  # a worker of pytest-xdist shares the terminal with all others
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding)
