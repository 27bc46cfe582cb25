"""One config's run: measured once, reported once."""

from __future__ import annotations

import os
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_linearity.progress import ProgressBar

if TYPE_CHECKING:
    from pytest_linearity.analysis import Analysis
    from pytest_linearity.config import Config
    from pytest_linearity.measurement import Measurement
    from pytest_linearity.report.document import Report


class Run:
    """What one config asks for, done when it is first needed and never twice."""

    def __init__(
        self,
        config: Config,
        *,
        name: str,
        report_path: Path | None = None,
        bar: ProgressBar | None = None,
    ) -> None:
        """Nothing is loaded yet, and torch is not imported.

        Args:
            config: What to measure.
            name: How the run is called wherever it is shown.
            report_path: Where the JSON report is written; None to write none.
            bar: Shows the progress of the measurement.
        """
        self.config = config
        self.name = name
        self.report_path = report_path
        self._bar = bar or ProgressBar(None, name)
        self._failure: Exception | None = None

    @property
    def source(self) -> Path:
        """The config's file; a link is not followed, as its name is the one that people know."""
        return Path(os.path.abspath(self.config.source or self.name))

    @property
    def measured(self) -> bool:
        """Whether the report is there."""
        return "report" in self.__dict__

    @cached_property
    def analysis(self) -> Analysis:
        """Checkpoint, probes, directions and measurement, each made on first use."""
        from pytest_linearity.analysis import Analysis

        return Analysis(self.config, progress=self._bar)

    @cached_property
    def measurement(self) -> Measurement:
        """The figures of every (radius, direction, prompt).

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        if self._failure is not None:
            # Minutes of work that failed once are not tried again.
            raise RuntimeError(f"measuring failed before: {self._failure!r}")
        try:
            with self._bar, warnings.catch_warnings():
                # What libraries have deprecated, the owner of a checkpoint cannot act on.
                warnings.simplefilter("ignore", DeprecationWarning)
                warnings.simplefilter("ignore", FutureWarning)
                return self.analysis.measurement
        except Exception as error:
            self._failure = error
            raise

    @cached_property
    def report(self) -> Report:
        """The report, also written to `report_path`.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        from pytest_linearity.report.json import write_json

        _ = self.measurement
        report = self.analysis.report
        if self.report_path is not None:
            write_json(report, self.report_path)
        return report
