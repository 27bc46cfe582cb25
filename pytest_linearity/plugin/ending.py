"""How a session ends: as its tests say, or as a usage error with one clear message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_linearity.errors import (
    UNUSABLE,
    CheckpointError,
    LinearityError,
    MeasurementError,
    ScopeError,
)

if TYPE_CHECKING:
    from pytest_linearity.plugin.xdist import XdistRole
    from pytest_linearity.run.run import Run


class Ending:
    """The mistake that a session ends with, once one is found.

    A config, checkpoint or data set that cannot be used ends all tests as soon as it is found; a
    file that cannot be written is told of when all tests are over. Where several processes find
    the same, one of them says it.
    """

    def __init__(self, role: XdistRole) -> None:
        """An end as the tests say, so far.

        Args:
            role: The part that this process has where there are several.
        """
        self._role = role
        self._unusable: LinearityError | None = None
        self._unwritten: LinearityError | None = None

    @property
    def unusable(self) -> bool:
        """Whether something was found that cannot be used."""
        return self._unusable is not None

    @property
    def mistake(self) -> LinearityError | None:
        """What was found that cannot be used, or else why a file could not be written."""
        return self._unusable or self._unwritten

    def refuse(self, error: LinearityError, *, said: bool = False) -> None:
        """End the session for something that cannot be used, as soon as pytest lets it end.

        Args:
            error: The mistake.
            said: Whether somebody has said it, so that it is not to be said again.
        """
        self._unusable = error
        if said:
            self._role.hush()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write files at the end; one that cannot be written is a usage error, see `tell`."""
        try:
            yield
        except LinearityError as error:
            self._unwritten = error

    def tell(self) -> None:
        """Say what could not be written, if nothing else was said before.

        Raises:
            pytest.UsageError: If a file could not be written.
        """
        if self._unwritten is not None and self._unusable is None:
            raise pytest.UsageError(str(self._unwritten))

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
            self.refuse(error)
            raise pytest.exit.Exception(str(error), returncode=UNUSABLE) from None

    @contextmanager
    def as_usage_error(self, session: pytest.Session) -> Iterator[None]:
        """Turn that end into a usage error: one clear message, no traceback."""
        try:
            yield
        except LinearityError as error:
            self.refuse(error)
        except BaseException:
            if self._unusable is None:
                raise
        if self._unusable is None:
            return
        message = str(self._unusable)
        if self._role.worker:
            self._role.tell_controller(session, message)
        raise pytest.UsageError(message)

    @contextmanager
    def before_it_starts(self) -> Iterator[None]:
        """The same while pytest is configured, without the message where another process says it.

        Raises:
            pytest.UsageError: If something cannot be used.
        """
        try:
            yield
        except LinearityError as error:
            self.refuse(error)
            message = () if self._role.worker else (str(error),)
            raise pytest.UsageError(*message) from None
