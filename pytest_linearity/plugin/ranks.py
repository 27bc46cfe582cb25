"""A pytest session that is one of several under torchrun: rank 0 speaks, and all end alike."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import Any

import pytest

from pytest_linearity.errors import LinearityError, RanksError, one_line
from pytest_linearity.numerics.ranks import current, is_single, on_all_ranks
from pytest_linearity.plugin.session import SESSION
from pytest_linearity.run.ranks.place import Place

_FILES = ("xmlpath", "htmlpath", "report_log", "json_report_file", "log_file")
"""Options, also of other plugins, that name files which rank 0 alone writes."""

_UNUSABLE = int(pytest.ExitCode.USAGE_ERROR)


class RankSession:
    """What several processes change in a session."""

    def __init__(self, config: pytest.Config, place: Place) -> None:
        """Join the other ranks, and be silent unless this is rank 0.

        Raises:
            pytest.UsageError: If there are workers of pytest-xdist besides, or ranks are missing.
        """
        self._config = config
        self._place = place
        self._failed: list[str] = []
        self._others: list[str] = []
        if getattr(config.option, "dist", "no") != "no" or hasattr(config, "workerinput"):
            raise pytest.UsageError(
                "pytest-xdist (-n) and torchrun each start processes of their own; use one of them"
            )
        if place.rank > 0:
            _silence(config, place.rank)
        from pytest_linearity.run.ranks.membership import Membership

        try:
            self._membership = Membership(place, self._told)
        except RanksError as error:
            raise pytest.UsageError(str(error)) from None

    def _told(self, message: str) -> None:
        """Why the run ends, while something else is under way."""
        session = self._config.stash.get(SESSION, None)
        if session is not None:
            session.ending.refuse(RanksError(message), said=True)

    def pytest_report_header(self) -> str:
        """Who measures."""
        hosts = self._membership.ranks.hosts
        return f"linearity ranks: {len(hosts)} on {', '.join(dict.fromkeys(hosts))}"

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Refuse to run different tests: ranks measure together, so they must meet."""
        if is_single(current()):
            return
        names = [item.nodeid for item in session.items]
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
        found = on_all_ranks(current(), "collection", lambda: (len(names), digest))
        for rank, theirs in enumerate(found):
            if theirs != found[0]:
                what = f"{theirs[0]} tests, rank 0 {found[0][0]}"
                if theirs[0] == found[0][0]:
                    what = "other tests than rank 0, or the same in another order"
                raise RanksError(
                    f"{self._membership.ranks.name(rank)} has collected {what}; all ranks must run "
                    "the same tests in the same order"
                )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what failed, for rank 0 to tell."""
        if report.failed:
            self._failed.append(report.nodeid)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """End with the same exit code on all ranks: that of the first that found a fault."""
        interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
        if self._membership.ranks.intact and not interrupted:
            session.exitstatus = self._agreed(session)
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What other ranks have found and rank 0 has not."""
        for line in self._others:
            terminalreporter.write_line(line)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Leave."""
        self._membership.leave(self._how)

    @property
    def _how(self) -> str:
        session = self._config.stash.get(SESSION, None)
        reason = session and session.ending.mistake
        return one_line(reason, most=None) if reason else "its tests are over"

    def _agreed(self, session: pytest.Session) -> int:
        linearity = self._config.stash.get(SESSION, None)
        status = int(session.exitstatus)
        if linearity is not None and linearity.ending.mistake is not None:
            status = _UNUSABLE
        ended: dict[str, Any] = {"status": status, "failed": self._failed[:10]}
        why = self._how if status == _UNUSABLE else ""
        try:
            found = self._membership.ranks.exchange("the end", ended, why=why)
            self._membership.end()
        except LinearityError as error:
            self._others.append(str(error))
            return status or _UNUSABLE
        for rank, theirs in enumerate(found):
            if rank and theirs["failed"] != found[0]["failed"]:
                failed = ", ".join(theirs["failed"]) or "nothing"
                self._others.append(f"{self._membership.ranks.name(rank)}: failed: {failed}")
        return next((theirs["status"] for theirs in found if theirs["status"]), 0)


def _silence(config: pytest.Config, rank: int) -> None:
    """Show and write nothing that rank 0 shows and writes."""
    config.pluginmanager.set_blocked("terminalreporter")
    for option in _FILES:
        if getattr(config.option, option, None):
            setattr(config.option, option, None)
    if config.option.basetemp:
        config.option.basetemp = f"{config.option.basetemp}-rank{rank}"
    cache = getattr(config, "cache", None)
    if cache is not None:
        cache.set = lambda key, value: None  # pytest has no cache that is only read
