"""Where a run's findings come from: a store, another process, or a measurement of now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.errors import CheckpointError, ScopeError
from pytest_linearity.run.obtain import obtain
from pytest_linearity.run.scopes import Outcome
from pytest_linearity.run.store.store import RunKey, Store, Stores
from pytest_linearity.verdict.findings import Findings


def key(scope: str | None = None, **more: Any) -> RunKey:
    names = {"name": "gate.yaml", "config": None, "identity": None}
    return RunKey(Path("gate.yaml"), None, scope, **{**names, **more})


def findings(name: str) -> Findings:
    return Findings(measurement=name, checkpoint={}, probes={}, scope={}, environment={})  # type: ignore[arg-type]


class Kept(Store):
    """A store in memory that says what it is asked."""

    def __init__(self, **outcomes: Outcome) -> None:
        self.outcomes: dict[str | None, Outcome] = dict(outcomes)
        self.asked: list[str] = []
        self.arriving: dict[str | None, Outcome] = {}
        """What another process puts here while this one waits for a lock."""

    def get(self, key: RunKey) -> Findings | None:
        self.asked.append("get")
        outcome = self.outcomes.get(key.scope)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @contextmanager
    def lock(self, key: RunKey) -> Iterator[None]:
        self.asked.append("lock")
        self.outcomes.update(self.arriving)
        yield
        self.asked.append("free")

    def put(self, key: RunKey, findings: Findings) -> None:
        self.asked.append("put")
        self.outcomes[key.scope] = findings

    def fail(self, key: RunKey, error: BaseException) -> None:
        self.asked.append("fail")
        self.outcomes[key.scope] = error  # type: ignore[assignment]


def never() -> Mapping[RunKey, Outcome]:
    raise AssertionError("this is measured already")


FULL = key("full")
FOUND = findings("full")


def test_keys_are_values_whatever_they_carry() -> None:
    assert key("full", name="a") == key("full", name="b") != key("heads")
    assert len({key("full", config="one"), key("full", config="two")}) == 1


def test_without_stores_it_is_measured() -> None:
    assert obtain(FULL, lambda: {FULL: FOUND}, Stores()) is FOUND


def test_what_lies_in_the_exchange_is_taken_without_a_lock() -> None:
    exchange, cache = Kept(full=FOUND), Kept()
    assert obtain(FULL, never, Stores(exchange, cache)) is FOUND
    assert exchange.asked == ["get"]
    assert cache.asked == []


def test_what_comes_while_one_waits_is_taken() -> None:
    exchange, cache = Kept(), Kept()
    exchange.arriving["full"] = FOUND
    assert obtain(FULL, never, Stores(exchange, cache)) is FOUND
    assert exchange.asked == ["get", "lock", "get", "free"]
    assert cache.asked == []


def test_what_lies_in_the_cache_is_shared_and_not_written_again() -> None:
    exchange, cache = Kept(), Kept(full=FOUND)
    assert obtain(FULL, never, Stores(exchange, cache)) is FOUND
    assert exchange.asked == ["get", "lock", "get", "put", "free"]
    assert cache.asked == ["get"]


def test_all_that_was_measured_is_shared_before_the_lock_is_free() -> None:
    exchange, cache = Kept(), Kept()
    outcomes = {FULL: FOUND, key("heads"): findings("heads"), key("none"): ScopeError("no")}
    assert obtain(FULL, lambda: outcomes, Stores(exchange, cache)) is FOUND
    assert exchange.asked == ["get", "lock", "get", "put", "put", "fail", "free"]
    assert exchange.outcomes.keys() == cache.outcomes.keys() == {"full", "heads", "none"}


def test_a_scope_that_fails_by_itself_raises_and_others_are_shared() -> None:
    exchange = Kept()
    outcomes = {FULL: ScopeError("no"), key("heads"): findings("heads")}
    with pytest.raises(ScopeError):
        obtain(FULL, lambda: outcomes, Stores(exchange))
    assert isinstance(exchange.outcomes["full"], ScopeError)
    assert isinstance(exchange.outcomes["heads"], Findings)


@pytest.mark.parametrize("kind", [CheckpointError, ValueError, pytest.fail.Exception])
def test_a_failure_is_shared(kind: type[BaseException]) -> None:
    def fail() -> Mapping[RunKey, Outcome]:
        raise kind("broken")

    exchange = Kept()
    with pytest.raises(kind, match="broken"):
        obtain(FULL, fail, Stores(exchange))
    assert isinstance(exchange.outcomes["full"], kind)


def test_an_interruption_is_nobodys_failure() -> None:
    def interrupt() -> Mapping[RunKey, Outcome]:
        raise KeyboardInterrupt

    exchange = Kept()
    with pytest.raises(KeyboardInterrupt):
        obtain(FULL, interrupt, Stores(exchange))
    assert exchange.outcomes == {}


class Full(Kept):
    """A store that takes no findings of some scopes."""

    def __init__(self, *scopes: str) -> None:
        super().__init__()
        self.refused = scopes

    def put(self, key: RunKey, findings: Findings) -> None:
        if key.scope in self.refused:
            raise OSError("no space left")
        super().put(key, findings)


def test_what_cannot_be_kept_for_later_is_told_to_other_processes() -> None:
    """As where pytest turns the cache's warning into an error: nobody measures it again."""
    heads = key("heads")
    exchange, cache = Kept(), Full("full")
    with pytest.raises(OSError, match="no space"):
        obtain(FULL, lambda: {FULL: FOUND, heads: findings("heads")}, Stores(exchange, cache))
    assert isinstance(exchange.outcomes["full"], OSError)
    assert exchange.outcomes["heads"] == findings("heads")


def test_what_was_measured_along_and_cannot_be_shared_fails_nobody() -> None:
    heads = key("heads")
    exchange = Full("heads")
    outcomes = {heads: findings("heads"), FULL: FOUND}
    assert obtain(FULL, lambda: outcomes, Stores(exchange, Kept())) is FOUND
    assert exchange.outcomes == {"full": FOUND}
