"""What ranks do together, without any process but this one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from pytest_linearity.errors import CheckpointError, ConfigError, LinearityError, RanksError
from pytest_linearity.numerics.ranks import SingleProcess, on_all_ranks, shard
from pytest_linearity.run.ranks.place import Place
from pytest_linearity.run.store.packing import pack, unpack


class FakeGroup:
    """Other ranks say what a test lets them say."""

    def __init__(self, rank: int, others: Sequence[Any]) -> None:
        self.rank = rank
        self.hosts = tuple("abc"[: len(others) + 1])
        self.others = list(others)

    def exchange(self, about: str, value: Any) -> list[Any]:
        values = list(self.others)
        values.insert(self.rank, unpack(pack(value)))
        return values

    def local_device(self, device: torch.device) -> torch.device:
        return device


class TestCrew:
    def test_directions_are_shared_the_same_way_in_every_pass(self) -> None:
        groups = [FakeGroup(rank, [None, None]) for rank in range(3)]
        assert [shard(group, range(7)) for group in groups] == [(0, 3, 6), (1, 4), (2, 5)]
        assert [shard(group, [4, 5]) for group in groups] == [(), (4,), (5,)]
        assert shard(SingleProcess(), [4, 5]) == (4, 5)

    def test_what_fails_on_one_rank_fails_on_all(self) -> None:
        def fails() -> None:
            raise CheckpointError("x: it is broken")

        failed = {"failed": ("CheckpointError", "x: it is broken")}
        with pytest.raises(CheckpointError, match=r"^rank 1 on b: x: it is broken$"):
            on_all_ranks(FakeGroup(0, [failed]), "loading", lambda: 1)
        with pytest.raises(CheckpointError, match=r"^x: it is broken$"):
            on_all_ranks(FakeGroup(1, [{"done": 1}]), "loading", fails)
        with pytest.raises(CheckpointError, match=r"^x: it is broken$"):
            on_all_ranks(FakeGroup(0, [failed]), "loading", fails)

    def test_the_first_of_several_faults_is_raised_everywhere(self) -> None:
        def fails() -> None:
            raise ConfigError("y")

        with pytest.raises(CheckpointError, match=r"^x$"):
            on_all_ranks(FakeGroup(1, [{"failed": ("CheckpointError", "x")}]), "loading", fails)

    def test_a_bug_of_another_rank_is_no_mistake_of_the_user(self) -> None:
        failed = {"failed": ("RuntimeError", "ValueError: no (a.py:1)")}
        with pytest.raises(RuntimeError, match=r"^rank 1 on b: ValueError: no \(a\.py:1\)$") as e:
            on_all_ranks(FakeGroup(0, [failed]), "measuring", lambda: 1)
        assert not isinstance(e.value, LinearityError)

    def test_what_is_packed_is_unpacked_bit_by_bit_or_not_at_all(self) -> None:
        tensor = torch.tensor([0.1, float("nan"), -0.0], dtype=torch.float64)
        packed = pack({("a", 0.1, 3): tensor, "b": [None, 1, ("c",)]})
        unpacked = unpack(packed)
        assert unpacked[("a", 0.1, 3)].numpy().tobytes() == tensor.numpy().tobytes()
        assert unpacked["b"] == [None, 1, ("c",)]
        for damaged in (packed[:-1], packed[:40], b"", packed[:50] + b"x" + packed[51:]):
            with pytest.raises(ValueError, match="not those that were packed"):
                unpack(damaged)


class TestPlace:
    ALL = {  # noqa: RUF012
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }

    def test_of_torchrun(self) -> None:
        assert Place.of(self.ALL) == Place(3, 4, 1, 2, "a")

    def test_of_a_scheduler_that_sets_some_of_it(self) -> None:
        for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR"):
            assert Place.of({**self.ALL, name: ""}) is None
        assert Place.of({**self.ALL, "WORLD_SIZE": "1", "RANK": "0"}) is None

    def test_of_nonsense(self) -> None:
        with pytest.raises(RanksError, match="WORLD_SIZE is 'many'; torchrun sets it to a number"):
            Place.of({**self.ALL, "WORLD_SIZE": "many"})
