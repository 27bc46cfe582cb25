"""The terminal that pytest writes to, for progress bars between its lines."""

from __future__ import annotations

import os
import sys

import pytest

from pytest_linearity.run.progress import ProgressBar


class Terminal:
    """Standard error as it is while pytest does not capture it, if that is a terminal."""

    def __init__(self, config: pytest.Config, *, silent: bool) -> None:
        """Take it, unless this process shows nothing."""
        self._config = config
        self._stderr = None
        if not silent and sys.stderr is not None and sys.stderr.isatty():
            descriptor = os.dup(sys.stderr.fileno())
            self._stderr = os.fdopen(descriptor, "w", encoding=sys.stderr.encoding)

    def bar(self, label: str) -> ProgressBar:
        """A bar that leaves the line which pytest has begun alone."""
        return ProgressBar(self._stderr, label, column=self._column)

    def close(self) -> None:
        """Let go of it."""
        if self._stderr is not None:
            self._stderr.close()

    def _column(self) -> int:
        """Where pytest has left the cursor."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not reporter.isatty:
            return 0
        writer = self._config.get_terminal_writer()
        return writer.width_of_current_line % writer.fullwidth
