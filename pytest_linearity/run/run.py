"""The run of one checkpoint and scope: measured once, reported once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_linearity.checkpoint.base import with_base
from pytest_linearity.errors import LinearityError, failed_before, one_line
from pytest_linearity.files import brief
from pytest_linearity.report.results import Result, title
from pytest_linearity.run.libraries import whole
from pytest_linearity.run.obtain import _findings_in, obtain
from pytest_linearity.run.progress import ProgressBar
from pytest_linearity.run.scopes import Outcome, ScopeGroup
from pytest_linearity.run.store.journal import JournalFolder, journal_lines, journal_places
from pytest_linearity.run.store.store import RunKey, Stores

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.measurement.measurement import Measurement
    from pytest_linearity.run.analysis import Analysis
    from pytest_linearity.run.baseline import Baseline
    from pytest_linearity.verdict.document import Report
    from pytest_linearity.verdict.findings import Findings
    from pytest_linearity.verdict.regression.compare import Regression


class Run:
    """What one config asks for of one checkpoint in one scope, done when first needed and once.

    It knows where findings may already lie, measures where they do not, and remembers what came
    of it, also a failure. The report on them is written as soon as it is made. The model is held
    by `analysis` until `release`; findings and report stay.
    """

    def __init__(
        self,
        config: Config,
        *,
        name: str,
        report_path: Path | None = None,
        bar: ProgressBar | None = None,
        stores: Callable[[], Stores] = Stores,
        baseline: Baseline | None = None,
        group: ScopeGroup | None = None,
        journal: Path | None = None,
    ) -> None:
        """A run of which nothing is loaded; torch is not imported for it.

        Args:
            config: What to measure; names one checkpoint and one scope.
            name: How the config is called wherever it is shown.
            report_path: Where the JSON report is written; None to write none.
            bar: Shows the progress of the measurement.
            stores: Gives the places where findings may already lie.
            baseline: What the report is compared with.
            group: All scopes of this checkpoint, if there are several; this becomes one of them.
            journal: The directory where results are kept as they come; None for nowhere.
        """
        self.config = config
        self.config_name = name
        self.report_path = report_path
        self.baseline = baseline
        self.journal = journal
        self.bar = bar or ProgressBar(None, name)
        self.unwritten: list[LinearityError] = []
        """Why files were not written that the report was to be in."""
        self.expected = True
        """Whether a test is going to ask for it; if not, it is not measured along with others."""
        self._stores = stores
        self._group = group
        self._more_radii: dict[str, set[float]] = {}
        self._analysis: Analysis | None = None
        self._findings: Findings | None = None
        self._failure: BaseException | None = None
        self._report: Report | None = None
        self._regression: Regression | None = None
        if group is not None:
            group.add(self)

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
    def key(self) -> RunKey:
        """How stores know the run."""
        return RunKey(
            self.source,
            self.label,
            self.scope,
            self.name,
            self.measuring,
            lambda digest: self.analysis.subject.identity(self.measuring, digest),
        )

    @property
    def step(self) -> int | None:
        """The training step of the checkpoint, where it is known."""
        from pytest_linearity.checkpoint.files import training_step

        return training_step(self.config)

    @property
    def measured(self) -> bool:
        """Whether the findings are there."""
        return self._findings is not None

    @property
    def reported(self) -> bool:
        """Whether the report is there."""
        return self._report is not None

    @property
    def needed(self) -> bool:
        """Whether a test is going to ask for findings that are nowhere yet.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        if not self.expected or self.measured or self._failure is not None:
            return False
        stores = self._stores()
        return not (stores.exchange.has(self.key) or stores.cache.has(self.key))

    @property
    def failure(self) -> str | None:
        """Why there are no findings, in one line; None while nothing has failed."""
        if self._failure is None:
            return None
        return one_line(failed_before(self._failure), most=None)

    def require_radii(self, radii: Iterable[float] | Mapping[str, Iterable[float]]) -> None:
        """Measure at these radii, too; the gate and its report are about those of the config.

        Args:
            radii: Those of each kind of directions; or some of which one that is measured along
                any kind is there already.

        Raises:
            RuntimeError: If measuring has begun.
        """
        measuring = self.measuring.radii_by_kind
        if not isinstance(radii, Mapping):
            missing = {*radii} - {*self.measuring.tested_radii}
            radii = dict.fromkeys(measuring, missing)
        more = {kind: {*radii[kind]} - {*measured} for kind, measured in measuring.items()}
        if any(more.values()) and (self.measured or self._analysis is not None):
            missing = set().union(*more.values())
            raise RuntimeError(f"{self.name}: measuring has begun, without radii {sorted(missing)}")
        for kind, missing in more.items():
            self._more_radii.setdefault(kind, set()).update(missing)

    @property
    def measuring(self) -> Config:
        """The config with all radii that are measured."""
        if not any(self._more_radii.values()):
            return self.config
        radii = {
            kind: tuple(sorted({*own, *self._more_radii[kind]}))
            for kind, own in self.config.radii_by_kind.items()
        }
        same = len({*radii.values()}) == 1
        return replace(self.config, radii=next(iter(radii.values())) if same else radii)

    @property
    def analysis(self) -> Analysis:
        """Checkpoint, probes and directions, each made on first use."""
        if self._analysis is None:
            with whole():
                from pytest_linearity.run.analysis import Analysis

            config = self.measuring
            subject = self._group.subject(config) if self._group is not None else None
            self._analysis = Analysis(
                config, subject=subject, progress=self.bar, journal=self.journal
            )
        return self._analysis

    def release(self) -> bool:
        """Let go of the model, if it is loaded; it is loaded again if it is asked for after all."""
        held, self._analysis = self._analysis is not None, None
        return held

    @property
    def findings(self) -> Findings:
        """All that was found out, by this run or one before it.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        if self._failure is not None:
            # Minutes of work that failed once are not tried again.
            raise failed_before(self._failure)
        if self._findings is None:
            try:
                with warnings.catch_warnings():
                    # What libraries have deprecated, the owner of a checkpoint cannot act on.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    warnings.simplefilter("ignore", FutureWarning)
                    self._findings = self._obtain()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # a timeout that pytest raises is no Exception
                self._failure = error
                raise
        return self._findings

    def _obtain(self) -> Findings:
        outcome = self._group.take(self.key) if self._group is not None else None
        if outcome is None:
            return obtain(self.key, self._measure, self._stores())
        return _findings_in(outcome)

    def _measure(self) -> Mapping[RunKey, Outcome]:
        """Measure now, along with the scopes that are still needed."""
        with self.bar:
            if self._group is not None:
                return self._group.measure(self, self.bar)
            self.require_same_inputs()
            return {self.key: self.analysis.findings}

    def require_same_inputs(self) -> None:
        """Find out, before minutes of measuring, that the baseline cannot be compared with.

        Raises:
            LinearityError: If it cannot, or the checkpoint or probes cannot be used.
        """
        if self.baseline is not None and not self.baseline.missing:
            analysis = self.analysis
            self.baseline.require_same_inputs(
                analysis.subject.probes.describe(), analysis.directions.describe()
            )

    @property
    def measurement(self) -> Measurement:
        """The figures of every (radius, direction, prompt).

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        return self.findings.measurement

    @property
    def report(self) -> Report:
        """The report, also written to `report_path`; see `unwritten` where that fails.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used.
        """
        if self._report is None:
            findings = self.findings
            with whole():
                from pytest_linearity.report.json import write_json
                from pytest_linearity.verdict.judge import judge

            report = self._report = judge(findings, self.config)
            if self.report_path is not None:
                self._write(partial(write_json, report, self.report_path))
        return self._report

    def _write(self, write: Callable[[], None]) -> None:
        """Write a file; what was measured is worth showing where a disk has filled up since."""
        try:
            write()
        except LinearityError as error:
            self.unwritten.append(error)

    @property
    def regression(self) -> Regression | None:
        """How the report compares with the baseline; None where there is none, or none yet.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used, or the baseline is of
                other pairs.
        """
        if self._regression is None and self.baseline is not None:
            self._regression = self.baseline.compare(self.report, self.config.max_regression)
        return self._regression

    @property
    def compared(self) -> bool:
        """Whether the report has been compared with the baseline."""
        return self._regression is not None

    def finish(self) -> None:
        """Compare, and make the report the baseline where there is none yet.

        Raises:
            LinearityError: If the baseline is of other pairs.
        """
        _ = self.regression
        if self.baseline is not None:
            self._write(partial(self.baseline.create, self.report))

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
        return Result(
            self.config_name, self.label, self.step, self.report, self._regression, scope=self.scope
        )

    def provenance(self) -> list[str]:
        """Lines that say where the figures come from, and where their report is."""
        environment = self.report.environment
        lines = []
        if environment.get("reused"):
            lines.append(f"measured {environment['measured']}, reused from the cache")
        lines += journal_lines(environment)
        if self.report_path is not None and not self.unwritten:
            lines.append(f"report: {brief(self.report_path)}")
        if self.baseline is not None and self.baseline.missing and not self.unwritten:
            lines.append(f"baseline: {self.baseline.name}, made of this report")
        return lines


def make_runs(
    named: Sequence[tuple[Path, Config]],
    report_paths: Sequence[Path | None],
    *,
    bar: Callable[[str], ProgressBar],
    journals: Path | None = None,
    baselines: Sequence[Baseline | None] | None = None,
    stores: Callable[[], Stores] = Stores,
) -> tuple[Run, ...]:
    """A run for each config; the scopes of one checkpoint are one group.

    Args:
        named: Configs of one checkpoint and scope each, with the file that each is of.
        report_paths: Where the report of each goes.
        bar: Makes the progress bar of what is measured.
        journals: The directory of all journals; None where none are kept.
        baselines: What the report of each is compared with.
        stores: Gives the places where findings may already lie.

    Raises:
        LinearityError: If there can be no journal where one is to be.
    """
    groups = {(path, config.label): ScopeGroup() for path, config in named if config.scope_label}
    places = journal_places(journals, named)
    for place in places:
        if place is not None:
            JournalFolder(place).require_usable()
    columns = zip(named, report_paths, baselines or [None] * len(named), places, strict=True)
    return tuple(
        Run(
            with_base(config),
            name=path.as_posix(),
            report_path=report_path,
            bar=bar(f"measuring {config.label or 'linearity'}"),
            stores=stores,
            baseline=baseline,
            group=groups.get((path, config.label)),
            journal=journal,
        )
        for (path, config), report_path, baseline, journal in columns
    )


def _limits(config: Config) -> tuple[object, ...]:
    return config.relerr_threshold, config.cos_threshold, config.metric_limits, config.limits
