"""A cache among ranks: rank 0 looks and writes, all have what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.errors import CheckpointError, RanksError
from pytest_linearity.numerics.ranks import ProcessGroup
from pytest_linearity.run.store.cache import Cache, RankZero
from pytest_linearity.run.store.store import RunKey, Store
from pytest_linearity.verdict.findings import Findings
from tests.support import kinds
from tests.support.diagnoses import measurement


class Held(Store):
    """A store that holds one thing, and counts what it is asked for."""

    def __init__(self, findings: Findings | None = None, error: Exception | None = None) -> None:
        self.findings, self.error = findings, error
        self.looks = 0

    def get(self, key: RunKey) -> Findings | None:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.findings

    def has(self, key: RunKey) -> bool:
        return self.get(key) is not None

    def put(self, key: RunKey, findings: Findings) -> None:
        self.findings = findings


class Group:
    """One of two ranks; what rank 0 gives is written down."""

    hosts = ("one", "two")

    def __init__(self, rank: int, said: list[Any]) -> None:
        self.rank, self._said = rank, said

    def exchange(self, about: str, value: Any) -> list[Any]:
        if self.rank == 0:
            self._said.append(value)
        return [self._said[-1], value if self.rank else {"done": None}]

    def local_device(self, device: Any) -> Any:
        return device


def key(**keys: Any) -> RunKey:
    config = Config(model_name_or_path="m", **keys)
    return RunKey(Path("g.yaml"), None, None, "g", config, lambda digest: {"of": digest(Path())})


def findings() -> Findings:
    return Findings(measurement(), {"path": "m"}, {}, {}, {"seconds": 1.0})


def ranks(store: Store) -> tuple[RankZero, RankZero, Held]:
    said: list[Any] = []
    groups: list[ProcessGroup] = [Group(rank, said) for rank in range(2)]
    other = Held(error=AssertionError("rank 0 alone looks"))
    return RankZero(store, groups[0]), RankZero(other, groups[1]), other


def test_all_ranks_have_what_rank_0_finds() -> None:
    zero, one, other = ranks(Held(findings()))
    found = [store.get(key()) for store in (zero, one)]
    assert all(each is not None and each.checkpoint == {"path": "m"} for each in found)
    assert found[0].measurement.radii == found[1].measurement.radii  # type: ignore[union-attr]
    assert [store.has(key()) for store in (zero, one)] == [True, True]
    assert other.looks == 0


def test_nothing_is_nothing_on_all_ranks() -> None:
    zero, one, _ = ranks(Held())
    assert [store.get(key()) for store in (zero, one)] == [None, None]
    assert [store.has(key()) for store in (zero, one)] == [False, False]


def test_rank_0_writes() -> None:
    held = Held()
    zero, one, other = ranks(held)
    kept = findings()
    for store in (zero, one):
        store.put(key(), kept)
    assert held.findings is kept
    assert other.findings is None


def test_what_rank_0_cannot_use_no_rank_can() -> None:
    zero, one, _ = ranks(Held(error=CheckpointError("it is broken")))
    with pytest.raises(CheckpointError, match="it is broken"):
        zero.get(key())
    with pytest.raises(CheckpointError, match="rank 0 on one: it is broken"):
        one.get(key())


def test_what_this_version_cannot_read_is_said() -> None:
    _, one, _ = ranks(Held())
    one._group.exchange = lambda *_: [{"done": {"measurement": {}}}, {"done": None}]  # type: ignore[method-assign]
    with pytest.raises(RanksError, match="cannot read"):
        one.get(key())


def test_what_changes_while_it_is_measured_is_kept_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "before"
    monkeypatch.setattr(
        "pytest_linearity.run.store.cache.content_digest", lambda path, memory: content
    )
    cache = Cache(tmp_path)
    assert cache.get(key()) is None
    content = "after"
    cache.put(key(), findings())
    assert Cache(tmp_path).get(key()) is None
    content = "before"
    found = Cache(tmp_path).get(key())
    assert found is not None
    assert found.environment["reused"]


class TestKinds:
    """Along a random kind ε is 0.1, along a file's 0.3; rounding causes 0.001 and 0.2."""

    KIND = "file:some/where/d.safetensors"

    def key(self, limits: object) -> RunKey:
        radii = {"gaussian": [1.0], self.KIND: [0.4]}
        more = {"radii": radii, "relerr_threshold": limits, "cos_threshold": -1}
        return key(directions=["gaussian", self.KIND], **more)

    def found_under(self, tmp_path: Path, limits: object) -> bool:
        """Whether findings are reused that were kept under limits which they are far from."""
        errors = {"gaussian": {1.0: [[0.1]] * 2}, self.KIND: {0.4: [[0.3]]}}
        floors = {"gaussian": 0.001, self.KIND: 0.2}
        cache = Cache(tmp_path)
        cache.put(self.key({"gaussian": 5, self.KIND: 7}), kinds.findings(errors, floors=floors))
        return cache.get(self.key(limits)) is not None

    def test_limits_of_each_kind_are_no_part_of_a_path(self, tmp_path: Path) -> None:
        assert self.found_under(tmp_path, {"gaussian": 5, self.KIND: 7})
        assert all("/" not in path.stem for path in tmp_path.glob("*.found"))
        assert len(list(tmp_path.glob("*.found"))) == 1

    @pytest.mark.parametrize(
        ("gaussian", "of_file", "reused"),
        [(4, 4, True), (0.1, 4, False), (4, 0.4, False), (0.2, 4, True), (4, 0.01, True)],
    )
    def test_rounding_is_held_against_the_limit_of_each(
        self, tmp_path: Path, gaussian: float, of_file: float, reused: bool
    ) -> None:
        """0.3 is known to 0.2 · 1.3 only, which reaches 0.4, not 0.01; 0.1 to 0.0011."""
        assert self.found_under(tmp_path, {"gaussian": gaussian, self.KIND: of_file}) is reused
