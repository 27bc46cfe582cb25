"""The scopes of one checkpoint: one model and one set of prompts, measured at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_linearity.errors import LinearityError, ScopeError

if TYPE_CHECKING:
    from pytest_linearity.run.analysis import Analysis
    from pytest_linearity.run.run import Run
    from pytest_linearity.verdict.findings import Findings


class Companions:
    """The runs of one checkpoint, a scope each, of which the first that is asked for measures.

    A scope that the checkpoint does not have, or that cannot be measured, fails by itself where
    another can; where none can, what is wrong is wrong with all of them.
    """

    def __init__(self) -> None:
        """No run yet."""
        self.runs: list[Run] = []
        """The runs, in the order of their scopes."""
        self._outcomes: dict[Run, Findings | Exception] = {}

    def analysis_of(self, run: Run) -> Analysis:
        """A run's analysis, which shares checkpoint and probes with those that there are."""
        from pytest_linearity.run.analysis import Analysis

        others = (other.__dict__.get("analysis") for other in self.runs if other is not run)
        there = next((analysis for analysis in others if analysis is not None), None)
        if there is None:
            return Analysis(run.measuring, progress=run.bar)
        return Analysis(run.measuring, progress=run.bar, beside=there.beside or there)

    def find(self, run: Run) -> Findings:
        """What was found out about a run's scope, measured with all that are still needed.

        Raises:
            LinearityError: If it cannot be measured.
        """
        if run not in self._outcomes:
            self._measure(run)
        outcome = self._outcomes.pop(run)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def also_found(self, run: Run) -> list[Run]:
        """The others that have been measured along and have not been asked for yet."""
        return [other for other in self._outcomes if other is not run]

    def _measure(self, asked: Run) -> None:
        runs = [run for run in self.runs if run is asked or self._worth_it(run)]
        failed: dict[Run, Exception] = {}
        for run in runs:
            try:
                _ = run.analysis.directions
            except LinearityError as error:
                failed[run] = error
        going = [run for run in runs if run not in failed]
        for run in going:
            if run.baseline is not None:
                run.baseline.require_same_inputs(run.analysis)
        outcomes: dict[Run, Findings | Exception] = {**failed, **_measured(going, asked)}
        some_can = any(not isinstance(outcome, Exception) for outcome in outcomes.values())
        for run, outcome in outcomes.items():
            single = some_can and isinstance(outcome, LinearityError)
            self._outcomes[run] = ScopeError(str(outcome)) if single else outcome

    def _worth_it(self, run: Run) -> bool:
        """Whether a run is going to be asked for, and nothing is known of it."""
        known = run.measured or run.failure is not None or run in self._outcomes
        return run.expected and not known and not run.stored


def _measured(runs: Sequence[Run], asked: Run) -> dict[Run, Findings | Exception]:
    if not runs:
        return {}
    if len(runs) == 1:
        return {runs[0]: _alone(runs[0])}
    analyses = [run.analysis for run in runs]
    found = type(analyses[0]).find_together(analyses, progress=asked.bar)
    return dict(zip(runs, found, strict=True))


def _alone(run: Run) -> Findings | Exception:
    try:
        return run.analysis.findings
    except Exception as error:
        return error
