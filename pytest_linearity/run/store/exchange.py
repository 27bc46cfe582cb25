"""A directory through which the processes of one test run share what one of them has measured.

For every run there are, by its key: `found` or `failed`, the outcome; `lock`, held by the process
that measures it while others wait; and `begun`, which that process takes away when it is done, so
that one which was killed leaves it behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pytest_linearity.errors import MeasurementError, class_name, error_named, failed_before
from pytest_linearity.files import read_checked, write_checked
from pytest_linearity.run.store.findings_file import read_findings, write_findings
from pytest_linearity.run.store.store import RunKey, Store

if TYPE_CHECKING:
    from pytest_linearity.verdict.findings import Findings


class Exchange(Store):
    """The first process that needs a run's findings measures, the others wait for them.

    Only one process measures on a device at a time: a measurement uses all cores, and several
    checkpoints at once would need the memory of all.
    """

    def __init__(self, directory: Path) -> None:
        """Share through this directory, which all processes see."""
        self._directory = directory
        self.waited = 0.0
        """Seconds that this process has waited for what another one measured."""

    @property
    def empty(self) -> bool:
        """Whether no process has measured anything."""
        return not any(self._directory.iterdir())

    def get(self, key: RunKey) -> Findings | None:
        """What a process has found, or raised; None while none has come to an end."""
        failure = read_checked(self._path(key, "failed"))
        if failure is not None:
            raise error_named(failure["kind"], failure["message"])
        return read_findings(self._path(key, "found"))

    def ended(self, key: RunKey) -> bool:
        """Whether a process has measured a run, or found that it cannot."""
        return any(self._path(key, kind).exists() for kind in ("found", "failed"))

    def has(self, key: RunKey) -> bool:
        """Whether that is so, or the process that measured it was killed."""
        return self.ended(key) or self._given_up(key)

    @contextmanager
    def lock(self, key: RunKey) -> Iterator[None]:
        """Hold a run, and unless another process has measured it by now its device as well."""
        with self._held(_digest(key)):
            if self.ended(key):
                yield
                return
            with self._marked(key), self._held(_device(key)):
                yield

    def put(self, key: RunKey, findings: Findings) -> None:
        """Hand findings to all processes.

        Raises:
            LinearityError: If they cannot be written.
        """
        write_findings(self._path(key, "found"), findings)

    def fail(self, key: RunKey, error: BaseException) -> None:
        """Have all processes raise what this one has."""
        told = failed_before(error)
        failure = {"kind": class_name(told), "message": str(told)}
        write_checked(self._path(key, "failed"), failure)

    def _given_up(self, key: RunKey) -> bool:
        mark = self._path(key, "begun")
        if not mark.exists():
            return False
        try:
            with self._file_lock(_digest(key)).acquire(blocking=False):
                return mark.exists()
        except Timeout:
            return False  # it is still there

    @contextmanager
    def _marked(self, key: RunKey) -> Iterator[None]:
        """Leave a mark behind where this process is killed, and give up where one was left."""
        mark = self._path(key, "begun")
        if mark.exists():
            raise MeasurementError(
                f"{key.name}: the process that measured was killed, maybe for want of memory; "
                "it is not tried again"
            )
        mark.touch()
        try:
            yield
        finally:
            mark.unlink()

    @contextmanager
    def _held(self, name: str) -> Iterator[None]:
        """Hold a lock, and count the seconds until this process has it."""
        begun = perf_counter()
        try:
            lock = self._file_lock(name).acquire()
        finally:
            self.waited += perf_counter() - begun
        with lock:
            yield

    def _file_lock(self, name: str) -> FileLock:
        # The system frees it when its holder is killed, and waiting for it heeds Ctrl-C.
        return FileLock(self._directory / f"{name}.lock")

    def _path(self, key: RunKey, kind: str) -> Path:
        return self._directory / f"{_digest(key)}.{kind}"


def _digest(key: RunKey) -> str:
    """Fit for a file's name."""
    names = (str(key.source), key.label or "", *([key.scope] if key.scope else []))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]


def _device(key: RunKey) -> str:
    return "device-" + key.config.device.replace(":", "-")
