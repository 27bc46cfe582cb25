"""One scope of a checkpoint, measured: config, directions, measurement, findings, report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pytest_linearity.checkpoint.base import with_base
from pytest_linearity.config.config import Config
from pytest_linearity.errors import (
    LinearityError,
    MeasurementError,
    class_and_line,
    pass_on_foreign,
)
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.measurement.jobs import Engine
from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.numerics.measurement.schedule import Progress
from pytest_linearity.numerics.measurement.simultaneous import measure_together, split_progress
from pytest_linearity.numerics.ranks import current, is_single
from pytest_linearity.run.agreement import require_same_on_all_ranks
from pytest_linearity.run.directions import ScopedDirections
from pytest_linearity.run.environment import peak_memory, versions
from pytest_linearity.run.measuring import Measured, measure_scope
from pytest_linearity.run.store.journal import JournalFolder
from pytest_linearity.run.subject import Subject
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.findings import Findings
from pytest_linearity.verdict.judge import judge
from pytest_linearity.verdict.limits import certainty_of, limits_of
from pytest_linearity.verdict.radius import judge_radii


def analyze(config: Config, *, progress: Progress | None = None) -> Report:
    """Measure the checkpoint of a config, as the gate does, without judging the run.

    Args:
        config: What to measure.
        progress: Told (done, total) as parameters are served.

    Raises:
        LinearityError: If the config, the checkpoint or the probes cannot be used.

    Example:
        >>> from pytest_linearity import load_config
        >>> few = ["num_directions=2", "max_samples=2"]
        >>> report = analyze(load_config("examples/arithmetic/linearity.yaml", few))
        >>> report.linearity_radius, report.passed
        (3.0, True)
    """
    return Analysis(with_base(config), progress=progress).report


class Analysis:
    """One scope of a subject: its directions, its findings, and the report on them.

    Each part is made when it is first asked for, and kept; what does not depend on the scope is
    the subject's. Several analyses of one subject can be measured at once, see `find_together`.
    """

    def __init__(
        self,
        config: Config,
        *,
        subject: Subject | None = None,
        progress: Progress | None = None,
        journal: Path | None = None,
    ) -> None:
        """An analysis of which nothing is loaded.

        Args:
            config: What to measure.
            subject: Its checkpoint and prompts, if there is more than this scope of them.
            progress: Told (done, total) as parameters are served.
            journal: A directory where results are kept as they come, and where what is done
                already is taken from.
        """
        self.config = config
        self.subject = subject or Subject(config)
        self._progress = progress
        self._journal = None if journal is None else JournalFolder(journal)

    @property
    def directions(self) -> Directions:
        """The directions of the config's kinds and scope."""
        with _readable_failure(self.subject.checkpoint.architecture):
            return self._scoped.directions

    @cached_property
    def _scoped(self) -> ScopedDirections:
        return ScopedDirections(self.config, self.subject)

    @property
    def measurement(self) -> Measurement:
        """The figures of every (radius, direction, prompt)."""
        return self.findings.measurement

    @cached_property
    def findings(self) -> Findings:
        """All that was found out."""
        return self.find()

    @cached_property
    def report(self) -> Report:
        """The figures per radius, held against the limits."""
        return judge(self.findings, self.config)

    def find(
        self,
        engine: Engine | None = None,
        *,
        progress: Progress | None = None,
        at_once: Sequence[str] = (),
    ) -> Findings:
        """Measure now.

        Args:
            engine: Runs the evaluations; None for one of its own.
            progress: Told (done, total), instead of what the analysis was made with.
            at_once: The scopes that are measured together, if this is one of several.

        Raises:
            LinearityError: If the config, the checkpoint or the probes cannot be used.
        """
        require_same_on_all_ranks(self.config, self._identity, current(), self._journal)
        started = time.perf_counter()
        measured = self._measure(engine, progress or self._progress)
        seconds = time.perf_counter() - started
        return Findings(
            measurement=measured.measurement,
            checkpoint=self.subject.checkpoint.describe(),
            probes=self.subject.probes.describe(),
            scope=self._scope(measured),
            environment=self._environment(measured.measurement, seconds, at_once),
            radii=measured.radii,
            update=measured.update,
        )

    def _measure(self, engine: Engine | None, progress: Progress | None) -> Measured:
        with _readable_failure(self.subject.checkpoint.architecture):
            measured = measure_scope(
                self.config,
                self.subject,
                self._scoped,
                engine=engine,
                journal=self._journal,
                enough=_settled,
                progress=progress,
            )
        if self._journal is not None:
            self._journal.add_up(current())
        return measured

    def _scope(self, measured: Measured) -> dict[str, Any]:
        """What was perturbed, and what its lengths are."""
        update = measured.update and measured.update.norm
        lengths = {
            "unit_length": self._scoped.unit_length,
            "update_norm": update or self.directions.length_of("update"),
            "optimizer_norm": self.directions.length_of("optimizer"),
        }
        return {
            **self.directions.describe(measured.measurement.directions or None),
            **{name: length for name, length in lengths.items() if length is not None},
            **measured.facts,
        }

    def _identity(self, digest: Callable[[Path], str]) -> dict[str, Any]:
        """What the figures depend on, by name, and how they are taken."""
        scope = sorted(self.directions.shapes.items())
        return {
            **self.subject.identity(self.config, digest),
            "the scope": hashlib.sha256(repr(scope).encode()).hexdigest(),
            "the batches": [list(batch.rows) for batch in self.subject.batches],
        }

    def _environment(
        self, measured: Measurement, seconds: float, at_once: Sequence[str]
    ) -> dict[str, Any]:
        return {
            **versions(),
            "device": str(self.subject.device),
            "precision": sorted(set(measured.precision)),
            "jvp_method": measured.jvp_method,
            "padded_batches": self.subject.padded,
            **self.subject.sharing.describe(),
            "no_forward_mode": measured.no_forward_mode,
            **({"not_interleaved": reason} if (reason := measured.not_interleaved) else {}),
            "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "reused": False,
            "evaluations": measured.evaluations,
            "evaluations_run": measured.evaluations_run,
            "seconds": round(seconds, 3),
            **({"scopes_at_once": list(at_once)} if at_once else {}),
            **({"hosts": list(current().hosts)} if not is_single(current()) else {}),
            **({"journal": self._journal.describe()} if self._journal else {}),
            "peak_memory_bytes": peak_memory(),
        }


def find_together(
    analyses: Sequence[Analysis], *, progress: Progress | None = None
) -> list[Findings | Exception]:
    """All that is found out about several scopes of one subject, measured at once.

    Args:
        analyses: Those of the scopes, which must have the same subject.
        progress: Told (done, total) of all of them together.

    Returns:
        What was found out about each, or why it could not be measured.
    """
    scopes = [analysis.config.scope for analysis in analyses]
    shares = split_progress(progress, len(analyses))
    return measure_together(
        [
            partial(analysis.find, progress=share, at_once=scopes)
            for analysis, share in zip(analyses, shares, strict=True)
        ]
    )


def _settled(measured: Measurement, config: Config) -> bool:
    """Whether more directions would not change the verdict on any radius."""
    limits, certainty = limits_of(config), certainty_of(config)
    found = judge_radii(measured, measured.radii, limits, config.chosen_metrics, certainty)
    return not any(figures.inconclusive for figures in found)


@contextmanager
def _readable_failure(architecture: str) -> Iterator[None]:
    """One line for a model that cannot be run on token ids alone; the cause stays attached."""
    try:
        yield
    except LinearityError:
        raise
    except Exception as error:
        pass_on_foreign(error)
        raise MeasurementError(
            f"{architecture} cannot be evaluated on these prompts: {class_and_line(error)}"
        ) from error
