"""Whether other ranks are still there: beats, silence, losses and goodbyes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import pytest

from pytest_linearity.run.ranks.liveness import Liveness, Loss


class Linked:
    """Watches of two ranks in one process, connected as those of two processes are."""

    def __init__(self) -> None:
        self.lost: list[list[Loss]] = [[], []]
        listener = Listener(("127.0.0.1", 0), authkey=b"key")
        self.first = Liveness(0, 1, self.lost[0].append)
        self.first.listen(listener)
        self.second = Liveness(1, 1, self.lost[1].append)
        self.connection = Client(listener.address, authkey=b"key")


@pytest.fixture
def linked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Linked]:
    monkeypatch.setattr("pytest_linearity.run.ranks.liveness.BEAT", 0.1)
    monkeypatch.setattr("pytest_linearity.run.ranks.liveness.SILENCE", 0.6)
    monkeypatch.setattr("pytest_linearity.run.ranks.liveness._LEAVING", 1.0)
    found = Linked()
    yield found
    leaving = threading.Thread(target=found.second.leave, args=["over"])
    leaving.start()
    found.first.leave("over")
    leaving.join()


class TestWatch:
    def test_beats_tell_that_a_rank_is_there(self, linked: Linked) -> None:
        linked.second.follow(linked.connection)
        assert linked.first.await_loss(1.3) is None  # more than twice the silence
        assert linked.second.loss is None

    def test_a_rank_that_stands_still_is_lost(self, linked: Linked) -> None:
        """Its connection stays open, as that of a machine that is gone."""
        linked.connection.send_bytes(b'{"rank": 1}')
        silent = Loss(1, "nothing was heard of it for 1 seconds")
        assert linked.first.await_loss(5) == silent
        assert linked.lost[0] == [silent]

    def test_a_rank_0_that_stands_still_is_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pytest_linearity.run.ranks.liveness.BEAT", 0.1)
        monkeypatch.setattr("pytest_linearity.run.ranks.liveness.SILENCE", 0.6)
        with Listener(("127.0.0.1", 0), authkey=b"key") as listener:
            kept: list[Connection[Any, Any]] = []
            accepting = threading.Thread(target=lambda: kept.append(listener.accept()))
            accepting.start()
            watch = Liveness(1, 1, lambda _: None)
            watch.follow(Client(listener.address, authkey=b"key"))
            accepting.join()
            assert watch.await_loss(5) == Loss(0, "nothing was heard of it for 1 seconds")
            watch.leave("over")  # waits for nobody

    def test_a_rank_that_has_ended_is_lost_at_once(
        self, linked: Linked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pytest_linearity.run.ranks.liveness.SILENCE", 1e9)
        linked.connection.send_bytes(b'{"rank": 1}')
        linked.connection.close()
        assert linked.first.await_loss(5) == Loss(1, "its process has ended")

    def test_a_loss_is_passed_on(self, linked: Linked) -> None:
        """As all others hear of rank 0 only."""
        linked.second.follow(linked.connection)
        assert linked.first.await_loss(0.3) is None
        linked.first._lose(Loss(2, "gone"))
        assert linked.second.await_loss(5) == Loss(2, "gone")
        assert linked.lost[1] == [Loss(2, "gone")]

    def test_a_rank_that_leaves_is_not_lost(self, linked: Linked) -> None:
        linked.second.follow(linked.connection)
        linked.second.leave("its tests are over")
        assert linked.first.await_loss(1.0) is None
        assert linked.first.left == {1: "its tests are over"}

    def test_rank_0_waits_until_its_goodbye_is_heard(self, linked: Linked) -> None:
        """A connection that is closed before all is read from it loses what was sent over it."""
        linked.connection.send_bytes(b'{"rank": 1}')
        linked.connection.recv_bytes()
        leaving = threading.Thread(target=linked.first.leave, args=["its tests are over"])
        leaving.start()
        for _ in range(30):
            linked.connection.send_bytes(b'{"beat": 1}')
            time.sleep(0.005)
        heard = []
        while not heard or "beat" in heard[-1]:
            heard.append(json.loads(linked.connection.recv_bytes()))
        assert heard[-1] == {"left": 0, "how": "its tests are over"}
        linked.connection.close()
        leaving.join()
        assert linked.first.loss is None

    def test_whoever_leaves_is_told_of_no_loss(self) -> None:
        """Its own end is under way, and must not be interrupted."""
        with Listener(("127.0.0.1", 0), authkey=b"key") as listener:
            kept: list[Connection[Any, Any]] = []
            accepting = threading.Thread(target=lambda: kept.append(listener.accept()))
            accepting.start()
            told: list[Loss] = []
            watch = Liveness(1, 1, told.append)
            watch.follow(Client(listener.address, authkey=b"key"))
            accepting.join()
            leaving = threading.Thread(target=watch.leave, args=["over"])
            leaving.start()
            while "left" not in json.loads(kept[0].recv_bytes()):
                pass
            kept[0].close()
            leaving.join()
            assert told == []

    def test_a_stranger_is_not_let_in(self) -> None:
        """Whoever finds the port has to have the key."""
        with Listener(("127.0.0.1", 0), authkey=b"key") as listener:
            watch = Liveness(0, 1, lambda _: None)
            watch.listen(listener)
            with pytest.raises((AuthenticationError, EOFError, OSError)):
                Client(listener.address, authkey=b"other")
            follower = Liveness(1, 1, lambda _: None)
            follower.follow(Client(listener.address, authkey=b"key"))
            assert watch.await_loss(1.0) is None
            leaving = threading.Thread(target=follower.leave, args=["over"])
            leaving.start()
            watch.leave("over")
            leaving.join()
