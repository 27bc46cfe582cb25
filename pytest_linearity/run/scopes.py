"""The scopes of one checkpoint: one model and one set of prompts, measured at once."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pytest_linearity.errors import LinearityError, ScopeError
from pytest_linearity.run.store.store import RunKey

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.measurement.schedule import Progress
    from pytest_linearity.run.analysis import Analysis
    from pytest_linearity.run.subject import Subject
    from pytest_linearity.verdict.findings import Findings

Outcome: TypeAlias = "Findings | Exception"
"""What measuring came to: all that was found out, or why there is nothing."""


class Member(Protocol):
    """What a group has to know of each of its scopes."""

    @property
    def key(self) -> RunKey:
        """Names it."""

    @property
    def analysis(self) -> Analysis:
        """Its analysis, made on first use, of the group's subject."""

    @property
    def needed(self) -> bool:
        """Whether its findings are going to be asked for, and are nowhere yet."""

    def require_same_inputs(self) -> None:
        """Find out, before minutes of measuring, that its baseline cannot be compared with.

        Raises:
            LinearityError: If that is so.
        """


class ScopeGroup:
    """The scopes of one checkpoint, of which the first that is asked for measures with all others.

    A scope that the checkpoint does not have, or that cannot be measured, fails by itself where
    another can; where none can, what is wrong is wrong with all of them. Outcomes of the others
    are kept here until they are asked for.
    """

    def __init__(self) -> None:
        """A group without members."""
        self._members: list[Member] = []
        self._outcomes: dict[RunKey, Outcome] = {}
        self._subject: weakref.ref[Subject] | None = None

    def add(self, member: Member) -> None:
        """Make a scope one of them; they keep the order in which they are added."""
        self._members.append(member)

    def subject(self, config: Config) -> Subject:
        """The subject of all scopes, for as long as an analysis of one of them has it."""
        from pytest_linearity.run.subject import Subject

        subject = self._subject() if self._subject is not None else None
        if subject is None:
            subject = Subject(config)
            self._subject = weakref.ref(subject)
        return subject

    def take(self, key: RunKey) -> Outcome | None:
        """What a scope came to that was measured along with another; it is handed out once."""
        return self._outcomes.pop(key, None)

    def measure(self, asked: Member, progress: Progress) -> Mapping[RunKey, Outcome]:
        """Measure a scope, and with it all that are still needed.

        Args:
            asked: The one that is asked for.
            progress: Told (done, total) of all of them together.

        Returns:
            What each came to.

        Raises:
            LinearityError: If one has a baseline that cannot be compared with.
        """
        members = [member for member in self._members if member is asked or self._worth_it(member)]
        outcomes: dict[RunKey, Outcome] = {}
        able = []
        for member in members:
            try:
                _ = member.analysis.directions
            except LinearityError as error:
                outcomes[member.key] = error
            else:
                able.append(member)
        for member in able:
            member.require_same_inputs()
        found = _measured([member.analysis for member in able], progress)
        outcomes.update(zip((member.key for member in able), found, strict=True))
        outcomes = _told_apart(outcomes)
        self._outcomes.update({key: o for key, o in outcomes.items() if key != asked.key})
        return outcomes

    def _worth_it(self, member: Member) -> bool:
        return member.key not in self._outcomes and member.needed


def _measured(analyses: Sequence[Analysis], progress: Progress) -> list[Outcome]:
    if len(analyses) > 1:
        from pytest_linearity.run.analysis import find_together

        return find_together(analyses, progress=progress)
    try:
        return [analysis.findings for analysis in analyses]
    except Exception as error:
        return [error]


def _told_apart(outcomes: Mapping[RunKey, Outcome]) -> dict[RunKey, Outcome]:
    """Outcomes in which a mistake is one of its scope, where another scope has none."""
    if all(isinstance(outcome, Exception) for outcome in outcomes.values()):
        return dict(outcomes)
    return {
        key: ScopeError(str(outcome)) if isinstance(outcome, LinearityError) else outcome
        for key, outcome in outcomes.items()
    }
