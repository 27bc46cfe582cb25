"""The run of one checkpoint and scope: measured once, reported once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pytest_linearity.errors import failed_before, one_line
from pytest_linearity.files import brief
from pytest_linearity.report.results import Result, title
from pytest_linearity.run.progress import ProgressBar
from pytest_linearity.run.store.journal import journal_lines

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.measurement.measurement import Measurement
    from pytest_linearity.run.analysis import Analysis
    from pytest_linearity.run.baseline import Baseline
    from pytest_linearity.run.scopes import Companions
    from pytest_linearity.verdict.document import Report
    from pytest_linearity.verdict.findings import Findings
    from pytest_linearity.verdict.regression.compare import Regression

Measure: TypeAlias = "Callable[[], Findings]"
"""Measures, or raises why that is not possible."""


class Store(Protocol):
    """A place where the findings of a run may already lie."""

    def has(self, run: Run) -> bool:
        """Whether something lies there."""

    def obtain(self, run: Run, measure: Measure) -> Findings:
        """What lies there, or else what `measure` gives, kept for others."""


class Run:
    """What one config asks for of one checkpoint in one scope, done when first needed and once."""

    def __init__(
        self,
        config: Config,
        *,
        name: str,
        report_path: Path | None = None,
        bar: ProgressBar | None = None,
        store: Store | None = None,
        baseline: Baseline | None = None,
        companions: Companions | None = None,
        journal: Path | None = None,
    ) -> None:
        """Nothing is loaded yet, and torch is not imported.

        Args:
            config: What to measure; names one checkpoint and one scope.
            name: How the config is called wherever it is shown.
            report_path: Where the JSON report is written; None to write none.
            bar: Shows the progress of the measurement.
            store: Where findings may already lie.
            baseline: What the report is compared with.
            companions: The runs of all scopes of this checkpoint, if there are several; this one
                becomes one of them.
            journal: The directory where results are kept as they come; None for nowhere.
        """
        self.config = config
        self.config_name = name
        self.report_path = report_path
        self.baseline = baseline
        self.journal = journal
        self.bar = bar or ProgressBar(None, name)
        self._store = store
        self._failure: BaseException | None = None
        self._more_radii: set[float] = set()
        self.companions = companions
        self.expected = True
        """Whether a test is going to ask for it; if not, it is not measured along with others."""
        if companions is not None:
            companions.runs.append(self)

    @property
    def label(self) -> str | None:
        """What tells the checkpoint from the others of its config; None for the only one."""
        return self.config.label

    @property
    def scope(self) -> str | None:
        """What tells the scope from the others of its config; None for the only one."""
        return self.config.scope_label

    @property
    def name(self) -> str:
        """How the run is called wherever it is shown."""
        return title(self.config_name, self.label, self.scope)

    @property
    def source(self) -> Path:
        """The config's file; a link is not followed, as its name is the one that people know."""
        return Path(os.path.abspath(self.config.source or self.config_name))

    @property
    def step(self) -> int | None:
        """The training step of the checkpoint, where it is known."""
        from pytest_linearity.checkpoint.files import training_step

        return training_step(self.config)

    @property
    def measured(self) -> bool:
        """Whether the findings are there."""
        return "findings" in self.__dict__

    @property
    def reported(self) -> bool:
        """Whether the report is there."""
        return "report" in self.__dict__

    @property
    def failure(self) -> str | None:
        """Why there are no findings, in one line; None while nothing has failed."""
        if self._failure is None:
            return None
        return one_line(failed_before(self._failure), most=None)

    def require_radii(self, radii: Iterable[float]) -> None:
        """Measure at these radii, too; the gate and its report are about those of the config.

        Raises:
            RuntimeError: If measuring has begun.
        """
        missing = {*radii} - {*self.measuring.radii}
        if missing and {"analysis", "findings"} & self.__dict__.keys():
            raise RuntimeError(f"{self.name}: measuring has begun, without radii {sorted(missing)}")
        self._more_radii |= missing

    @property
    def measuring(self) -> Config:
        """The config with all radii that are measured."""
        if not self._more_radii:
            return self.config
        return replace(self.config, radii=tuple(sorted({*self.config.radii, *self._more_radii})))

    @cached_property
    def analysis(self) -> Analysis:
        """Checkpoint, probes and directions, each made on first use."""
        from pytest_linearity.run.analysis import Analysis

        if self.companions is not None:
            analysis = self.companions.analysis_of(self)
        else:
            analysis = Analysis(self.measuring, progress=self.bar)
        if self.journal is not None:
            analysis.keep_journal(self.journal)
        return analysis

    def release(self) -> bool:
        """Let go of the model, if it is loaded; it is loaded again if it is asked for after all."""
        return self.__dict__.pop("analysis", None) is not None

    @cached_property
    def findings(self) -> Findings:
        """All that was found out, by this run or one before it.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        if self._failure is not None:
            # Minutes of work that failed once are not tried again.
            raise failed_before(self._failure)
        try:
            with warnings.catch_warnings():
                # What libraries have deprecated, the owner of a checkpoint cannot act on.
                warnings.simplefilter("ignore", DeprecationWarning)
                warnings.simplefilter("ignore", FutureWarning)
                store = self._store
                return store.obtain(self, self.measure) if store else self.measure()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a timeout that pytest raises is no Exception
            self._failure = error
            raise

    @property
    def stored(self) -> bool:
        """Whether the findings lie somewhere already."""
        return self._store is not None and self._store.has(self)

    def measure(self) -> Findings:
        """What is found out now, whatever lies in the store.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        with self.bar:
            if self.companions is not None:
                return self.companions.find(self)
            if self.baseline is not None:
                self.baseline.require_same_inputs(self.analysis)
            return self.analysis.findings

    @property
    def measurement(self) -> Measurement:
        """The figures of every (radius, direction, prompt).

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        return self.findings.measurement

    @cached_property
    def report(self) -> Report:
        """The report, also written to `report_path`.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        from pytest_linearity.report.json import write_json
        from pytest_linearity.verdict.judge import judge

        report = judge(self.findings, self.config)
        if self.report_path is not None:
            write_json(report, self.report_path)
        return report

    @cached_property
    def regression(self) -> Regression | None:
        """How the report compares with the baseline; None where there is none, or none yet.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used, or the baseline is of
                other pairs.
        """
        if self.baseline is None:
            return None
        return self.baseline.compare(self.report, self.config.max_regression)

    @property
    def compared(self) -> bool:
        """Whether the report has been compared with the baseline."""
        return self.__dict__.get("regression") is not None

    def finish(self) -> None:
        """Compare, and make the report the baseline where there is none yet.

        Raises:
            LinearityError: If the baseline is of other pairs, or cannot be written.
        """
        _ = self.regression
        if self.baseline is not None:
            self.baseline.create(self.report)

    def report_under(self, config: Config) -> Report:
        """The report under other limits and radii, which are all measured.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        if config == self.config:
            return self.report
        from pytest_linearity.verdict.judge import judge

        if config.refine:  # the refined radius is about the limits of the run
            config = replace(config, refine=_limits(config) == _limits(self.config))
        return judge(self.findings, config)

    def result(self) -> Result:
        """The report with what it is a report of."""
        regression = self.regression if self.compared else None
        return Result(
            self.config_name, self.label, self.step, self.report, regression, scope=self.scope
        )

    def provenance(self) -> list[str]:
        """Lines that say where the figures come from, and where their report is."""
        environment = self.report.environment
        lines = []
        if environment.get("reused"):
            lines.append(f"measured {environment['measured']}, reused from the cache")
        lines += journal_lines(environment)
        if self.report_path is not None:
            lines.append(f"report: {brief(self.report_path)}")
        if self.baseline is not None and self.baseline.missing:
            lines.append(f"baseline: {self.baseline.name}, made of this report")
        return lines


def _limits(config: Config) -> tuple[object, ...]:
    return config.relerr_threshold, config.cos_threshold, config.metric_limits
