"""An import that a timer would cut short is done first."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

import pytest

from pytest_linearity.run.libraries import whole

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="has no timers")


class TooLong(BaseException):
    """What a test's time limit raises."""


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """A handler that raises, as those of time limits do."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_the_limit_strikes_when_the_block_is_done() -> None:
    handler = signal.getsignal(signal.SIGALRM)
    done = []

    def block() -> None:
        with whole():
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            time.sleep(0.05)
            done.append(True)

    with pytest.raises(TooLong):
        block()
    assert done
    assert signal.getsignal(signal.SIGALRM) is handler


def test_one_that_has_not_come_strikes_as_ever() -> None:
    with whole():
        pass
    with pytest.raises(TooLong):
        signal.raise_signal(signal.SIGALRM)


def test_an_error_of_the_block_is_told_all_the_same() -> None:
    with pytest.raises(ImportError, match="no such library"), whole():
        raise ImportError("no such library")


def test_other_threads_are_never_interrupted() -> None:
    reached = []

    def run() -> None:
        with whole():
            reached.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert reached
