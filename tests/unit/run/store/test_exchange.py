"""What processes share: findings, failures, locks, and the mark of one that was killed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.errors import CheckpointError, FailedBefore, LinearityError, MeasurementError
from pytest_linearity.run.store.exchange import Exchange
from pytest_linearity.run.store.store import RunKey


def key(label: str | None = None, scope: str | None = None, device: str = "cpu") -> RunKey:
    config = Config(model_name_or_path="m", device=device)
    return RunKey(Path("/gate.yaml"), label, scope, "gate.yaml", config, lambda _: {})


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange(tmp_path)


def test_nothing_is_there_at_first(exchange: Exchange) -> None:
    assert exchange.empty
    assert exchange.get(key()) is None
    assert not exchange.has(key())
    assert not exchange.ended(key())


@pytest.mark.parametrize("other", [key("a"), key(None, "full"), key("a", "full")])
def test_runs_are_told_apart(other: RunKey, exchange: Exchange) -> None:
    exchange.fail(key(), LinearityError("no"))
    assert exchange.has(key())
    assert not exchange.has(other)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (CheckpointError("it is broken"), CheckpointError, "it is broken"),
        (
            ValueError("shapes do not match"),
            FailedBefore,
            "measuring failed before: ValueError('shapes do not match')",
        ),
    ],
)
def test_a_failure_is_raised_with_its_kind_and_message(
    error: Exception, kind: type[Exception], message: str, exchange: Exchange, tmp_path: Path
) -> None:
    exchange.fail(key(), error)
    with pytest.raises(kind) as raised:
        Exchange(tmp_path).get(key())
    assert str(raised.value) == message
    assert type(raised.value) is kind


def test_a_process_that_was_killed_is_noticed(exchange: Exchange) -> None:
    with exchange.lock(key()):
        [mark] = exchange._directory.glob("*.begun")
    assert not mark.exists()
    mark.touch()  # as one that could not take it away
    assert exchange.has(key())
    assert not exchange.ended(key())
    with pytest.raises(MeasurementError, match="the process that measured was killed"):
        exchange.lock(key()).__enter__()


def test_one_that_is_still_measuring_was_not_killed(exchange: Exchange, tmp_path: Path) -> None:
    with exchange.lock(key()):
        assert not Exchange(tmp_path).has(key())


def test_one_measures_on_a_device_at_a_time_and_others_count_their_waiting(
    exchange: Exchange, tmp_path: Path
) -> None:
    other = Exchange(tmp_path)
    order: list[str] = []

    def measure(scope: str, device: str) -> None:
        with other.lock(key(None, scope, device)):
            order.append(scope)

    with exchange.lock(key()):
        waiting = threading.Thread(target=measure, args=("same", "cpu"))
        waiting.start()
        measure("another", "cuda")
        time.sleep(0.2)
        order.append("first")
    waiting.join(10)
    assert order == ["another", "first", "same"]
    assert other.waited > 0.1
    assert exchange.waited < other.waited


def test_what_has_ended_needs_no_device(exchange: Exchange, tmp_path: Path) -> None:
    exchange.fail(key(None, "full"), LinearityError("no"))
    came = threading.Event()

    def look() -> None:
        with Exchange(tmp_path).lock(key(None, "full")):
            came.set()

    with exchange.lock(key()):
        threading.Thread(target=look, daemon=True).start()
        assert came.wait(10)
