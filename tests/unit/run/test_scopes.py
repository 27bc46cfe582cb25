"""The scopes of a checkpoint: which are measured along, what becomes of those that cannot be."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.errors import ConfigError, LinearityError, ScopeError
from pytest_linearity.run import analysis as analysis_module
from pytest_linearity.run.scopes import ScopeGroup
from pytest_linearity.run.store.store import RunKey
from pytest_linearity.run.subject import Subject


class Member:
    """A scope whose analysis is made up: it has directions, or says why not, and findings."""

    def __init__(
        self,
        scope: str,
        *,
        needed: bool = True,
        directions: Exception | None = None,
        findings: Exception | None = None,
    ) -> None:
        self.key = RunKey(Path("gate.yaml"), None, scope, scope, None, None)  # type: ignore[arg-type]
        self.scope, self.needed = scope, needed
        self._directions, self._findings = directions, findings
        self.checked = False

    @property
    def analysis(self) -> Any:
        return self

    @property
    def directions(self) -> None:
        if self._directions is not None:
            raise self._directions

    @property
    def findings(self) -> Any:
        if self._findings is not None:
            raise self._findings
        return f"findings of {self.scope}"

    def require_same_inputs(self) -> None:
        self.checked = True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The scopes of each measurement of several."""
    asked: list[list[str]] = []

    def find(analyses: list[Member], *, progress: Any) -> list[Any]:
        asked.append([analysis.scope for analysis in analyses])
        return [analysis._findings or analysis.findings for analysis in analyses]

    monkeypatch.setattr(analysis_module, "find_together", find)
    return asked


def group_of(*members: Member) -> ScopeGroup:
    group = ScopeGroup()
    for member in members:
        group.add(member)
    return group


def silent(done: int, total: int) -> None:
    pass


def test_those_that_are_needed_are_measured_along(at_once: list[list[str]]) -> None:
    full, heads, idle = Member("full"), Member("heads"), Member("idle", needed=False)
    group = group_of(full, heads, idle)
    outcomes = group.measure(heads, silent)
    assert at_once == [["full", "heads"]]
    assert {key.scope: outcome for key, outcome in outcomes.items()} == {
        "full": "findings of full",
        "heads": "findings of heads",
    }
    assert [member.checked for member in (full, heads, idle)] == [True, True, False]


def test_one_that_is_asked_for_is_measured_though_nobody_said_it_would_be(
    at_once: list[list[str]],
) -> None:
    idle = Member("idle", needed=False)
    assert group_of(idle).measure(idle, silent) == {idle.key: "findings of idle"}
    assert at_once == []


def test_outcomes_of_the_others_are_handed_out_once() -> None:
    full, heads = Member("full"), Member("heads")
    group = group_of(full, heads)
    group.measure(heads, silent)
    assert group.take(heads.key) is None
    assert group.take(full.key) == "findings of full"
    assert group.take(full.key) is None


def test_what_was_measured_along_is_not_measured_again(at_once: list[list[str]]) -> None:
    full, heads, late = Member("full"), Member("heads"), Member("late", needed=False)
    group = group_of(full, heads, late)
    group.measure(full, silent)
    full.needed = False
    group.measure(late, silent)
    assert at_once == [["full", "heads"]]


@pytest.mark.parametrize("stage", ["directions", "findings"])
def test_a_scope_fails_by_itself_where_another_can_be_measured(stage: str) -> None:
    full, none = Member("full"), Member("none", **{stage: ConfigError("no such layer")})
    outcomes = group_of(full, none).measure(full, silent)
    assert isinstance(outcomes[none.key], ScopeError)
    assert str(outcomes[none.key]) == "no such layer"
    assert none.checked is (stage == "findings")


def test_where_none_can_be_measured_it_is_no_matter_of_scopes() -> None:
    mistake = LinearityError("out of memory")
    full, none = Member("full", findings=mistake), Member("none", directions=mistake)
    assert list(group_of(full, none).measure(full, silent).values()) == [mistake, mistake]


def test_a_bug_stays_what_it_is() -> None:
    bug = ValueError("shapes do not match")
    full, odd = Member("full"), Member("odd", findings=bug)
    assert group_of(full, odd).measure(full, silent)[odd.key] is bug


def test_the_subject_is_shared_while_somebody_has_it_and_no_longer() -> None:
    config = Config(model_name_or_path="m")
    group = ScopeGroup()
    one = group.subject(config)
    assert group.subject(config) is one
    there = weakref.ref(one)
    del one
    gc.collect()
    assert there() is None
    assert isinstance(group.subject(config), Subject)
