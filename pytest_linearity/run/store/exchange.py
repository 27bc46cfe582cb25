"""A directory through which the processes of one test run share what one of them has measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pytest_linearity.errors import MeasurementError, class_name, error_named, failed_before
from pytest_linearity.files import read_checked, write_checked
from pytest_linearity.run.store.findings_file import read_findings, write_findings

if TYPE_CHECKING:
    from pytest_linearity.run.run import Measure, Run
    from pytest_linearity.verdict.findings import Findings


class Exchange:
    """The first process that needs a run's findings measures, the others wait for them.

    Only one process measures on a device at a time: a measurement uses all cores, and several
    checkpoints at once would need the memory of all.
    """

    def __init__(self, directory: Path) -> None:
        """Share through this directory, which all processes see."""
        self._directory = directory

    def obtain(
        self, run: Run, measure: Measure, also: Callable[[], Mapping[Run, Measure]] = dict
    ) -> Findings:
        """The findings of a run, measured here if no other process has them.

        Args:
            run: The run.
            measure: Measures it.
            also: What other runs that has measured along, once it has; it is shared at once.

        Raises:
            LinearityError: If config, checkpoint or probes cannot be used, as this process or
                another has found; or if the process that measured was killed.
            RuntimeError: If measuring failed in another process in any other way.
        """
        found = self.find(run)
        if found is None:
            with self._lock(_key(run)):
                found = self.find(run)
                if found is None:
                    with self._said_while_measuring(run), self._lock(_device(run)):
                        # It may have been measured along with another while this one waited.
                        found = self.find(run) or self._measured(run, measure, also)
        return found

    def find(self, run: Run) -> Findings | None:
        """What a process has found; None while none has.

        Raises:
            LinearityError: As `obtain`.
            RuntimeError: As `obtain`.
        """
        failure = read_checked(self._path(run, "failed"))
        if failure is not None:
            raise error_named(failure["kind"], failure["message"])
        return read_findings(self._path(run, "found"))

    def has(self, run: Run) -> bool:
        """Whether a process has measured a run, or found that it cannot."""
        return any(self._path(run, kind).exists() for kind in ("found", "failed"))

    @property
    def empty(self) -> bool:
        """Whether no process has measured anything."""
        return not any(self._directory.iterdir())

    def given_up(self, run: Run) -> bool:
        """Whether the process that measured a run was killed."""
        if not self._path(run, "begun").exists():
            return False
        lock = self._lock(_key(run))
        try:
            with lock.acquire(blocking=False):
                return self._path(run, "begun").exists()
        except Timeout:
            return False  # it is still there

    def _measured(
        self, run: Run, measure: Measure, also: Callable[[], Mapping[Run, Measure]]
    ) -> Findings:
        try:
            return self._shared(run, measure)
        finally:
            for other, measured in also().items():
                with suppress(Exception):  # it is told where that run is asked for
                    self._shared(other, measured)

    def _shared(self, run: Run, measure: Measure) -> Findings:
        try:
            findings = measure()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a timeout that pytest raises is no Exception
            told = failed_before(error)
            failure = {"kind": class_name(told), "message": str(told)}
            write_checked(self._path(run, "failed"), failure)
            raise
        write_findings(self._path(run, "found"), findings)
        return findings

    @contextmanager
    def _said_while_measuring(self, run: Run) -> Iterator[None]:
        """Leave a mark behind where this process is killed, and give up where one was left."""
        mark = self._path(run, "begun")
        if mark.exists():
            raise MeasurementError(
                f"{run.name}: the process that measured was killed, maybe for want of memory; "
                "it is not tried again"
            )
        mark.touch()
        try:
            yield
        finally:
            mark.unlink()

    def _lock(self, name: str) -> FileLock:
        # The system frees it when its holder is killed, and waiting for it heeds Ctrl-C.
        return FileLock(self._directory / f"{name}.lock")

    def _path(self, run: Run, kind: str) -> Path:
        return self._directory / f"{_key(run)}.{kind}"


def _key(run: Run) -> str:
    """Equal in all processes for the same config and checkpoint, and fit for a file's name."""
    what = (str(run.source), run.label or "", *([run.scope] if run.scope else []))
    return hashlib.sha256("\n".join(what).encode()).hexdigest()[:32]


def _device(run: Run) -> str:
    return "device-" + run.config.device.replace(":", "-")
