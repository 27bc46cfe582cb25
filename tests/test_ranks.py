"""Several processes: torchrun's ranks find what one process finds, speak once and end alike."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from junitparser import JUnitXml
from ranked import largest_difference, report, run, started, without_torchrun

from pytest_linearity.config import load_config
from pytest_linearity.crew import Solo, share, together
from pytest_linearity.errors import CheckpointError, ConfigError, LinearityError, RanksError
from pytest_linearity.packed import pack, unpack
from pytest_linearity.ranks.place import Place

GATE = "--linearity-config=gate.yaml"
SMALL = {"prompts": ["1+1=", "The sky is", "abc"], "radii": [0.01, 0.1], "cos_threshold": -1}
PAUSE = """
import os, time
from pathlib import Path
from pytest_linearity.passes import Pass

def paused(self, *arguments):
    Path(f"measuring-{os.environ['RANK']}").touch()
    Path(f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)

Pass._run_round = paused
"""
"""For a `conftest.py`: every rank stays in the middle of measuring."""


@pytest.fixture
def project(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    def write(**keys: Any) -> None:
        config = {"model_name_or_path": str(tiny_checkpoint), **SMALL, **keys}
        (tmp_path / "gate.yaml").write_text(yaml.safe_dump(config))

    write.__dict__["path"] = tmp_path
    return write  # type: ignore[return-value]


def exit_codes(said: str) -> list[str]:
    """Those of the ranks, as torchrun tells them."""
    return re.findall(r"exitcode\s*: (-?\d+) \(pid", said)


def await_pids(directory: Path, ranks: int) -> list[int]:
    deadline = time.monotonic() + 90
    pids = [directory / f"pid-{rank}" for rank in range(ranks)]
    while not all(path.exists() and path.read_text() for path in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(path.read_text()) for path in pids]


class TestRuns:
    def test_two_ranks_find_what_one_process_finds(self, project: Any) -> None:
        """Layers, second derivatives, refinement, further metrics; files and fixtures, too."""
        directory: Path = project.path
        project(
            num_directions=5,
            precision="float64",
            radii=[0.1, 1.0],
            relerr_threshold=0.08,
            min_linearity_radius=0.1,
            layer_profile=True,
            second_order=True,
            refine=True,
            metrics=["kl"],
        )
        (directory / "test_own.py").write_text(
            "def test_own(linearity_result, linearity_report): assert linearity_report.passed"
        )
        files = ("--junitxml=junit.xml", "--linearity-markdown=summary.md")
        code, said = run(directory, 2, ".", GATE, *files)
        assert code == 0, said
        assert said.count("linearity ranks: 2 on") == 1
        assert said.count("passed, 1 skipped in") == 1
        assert len(list(JUnitXml.fromfile(str(directory / "junit.xml")))) == 1
        found = json.loads((directory / "linearity_report.json").read_text())
        assert len(found["environment"]["hosts"]) == 2
        from pytest_linearity import analyze

        alone = analyze(load_config(directory / "gate.yaml")).to_dict()
        assert alone["environment"]["evaluations"] < found["environment"]["evaluations"]
        assert found["metrics"]["0.1"].keys() == alone["metrics"]["0.1"].keys()
        assert "layers" in json.dumps(list(found))
        del alone["environment"], found["environment"], alone["config"], found["config"]
        assert largest_difference(json.loads(json.dumps(alone)), found) < 1e-9

    def test_more_ranks_than_directions_and_a_gate_that_fails(self, project: Any) -> None:
        directory: Path = project.path
        project(num_directions=2, relerr_threshold=1e-9)
        code, said = run(directory, 3, GATE)
        assert code == 1
        assert said.count("3 failed in") == 1
        assert exit_codes(said) == ["1"] * 3
        from pytest_linearity import analyze

        alone = analyze(load_config(directory / "gate.yaml")).to_dict()["pairs"]
        for radius, pairs in report(directory / "linearity_report.json")["pairs"].items():
            one = torch.tensor(alone[radius]["relative_error"])
            other = torch.tensor(pairs["relative_error"])
            assert one.shape == (2, 3)
            assert (one - other).abs().max() < 1e-4  # float32: far below the noise floor at 0.01

    def test_a_rank_that_is_killed_ends_the_run(self, project: Any) -> None:
        directory: Path = project.path
        project(num_directions=6)
        (directory / "conftest.py").write_text(PAUSE)
        process = started(directory, 3, GATE)
        pids = await_pids(directory, 3)
        killed = time.monotonic()
        os.kill(pids[2], signal.SIGKILL)
        said, _ = process.communicate(timeout=60)
        assert time.monotonic() - killed < 60
        assert re.findall(r"ERROR: rank 2 on \S+ is gone \(its process has ended\)", said)
        assert said.count("ERROR: ") == 1
        assert sorted(exit_codes(said)) == ["-9", "4", "4"]
        assert not (directory / "linearity_report.json").exists()

    @pytest.mark.parametrize("victim", [0, 1])
    def test_so_it_does_where_no_agent_watches(self, victim: int, project: Any) -> None:
        directory: Path = project.path
        project(num_directions=2)
        (directory / "conftest.py").write_text(PAUSE)
        processes = without_torchrun(directory, 2, GATE)
        os.kill(await_pids(directory, 2)[victim], signal.SIGKILL)
        said, _ = processes[1 - victim].communicate(timeout=60)
        processes[victim].communicate()
        assert processes[1 - victim].returncode == 4
        assert re.findall(rf"ERROR: rank {victim} on \S+ is gone", said)

    def test_ranks_with_different_configs_are_refused(self, project: Any) -> None:
        project(num_directions=2)
        each = [["--linearity-set=seed=1"], ["--linearity-set=seed=2"]]
        processes = without_torchrun(project.path, 2, GATE, each=each)
        said = [process.communicate(timeout=100)[0] for process in processes]
        assert [process.returncode for process in processes] == [4, 4]
        assert re.findall(
            r"ERROR: rank 1 on \S+ would measure something else than rank 0 on \S+: seed is 1 on "
            r"rank 0 and 2 on rank 1",
            said[0],
        )
        assert "ERROR" not in said[1]
        assert not (project.path / "linearity_report.json").exists()

    def test_a_fault_of_one_rank_is_said_by_rank_0(self, project: Any) -> None:
        """Here a config that only rank 0 can use."""
        project(num_directions=2)
        each = [[], ["--linearity-set=seed=many"]]
        processes = without_torchrun(project.path, 2, GATE, each=each)
        said = [process.communicate(timeout=100)[0] for process in processes]
        assert [process.returncode for process in processes] == [4, 4]
        assert re.findall(r"ERROR: rank 1 on \S+: .*seed", said[0])
        assert said[1] == ""

    def test_xdist_is_refused_besides(self, project: Any, monkeypatch: Any) -> None:
        project(num_directions=2)
        process, *_ = without_torchrun(project.path, 1, "-n2", GATE, each=[[]])
        process.communicate()
        assert process.returncode == 0  # one rank is none
        processes = without_torchrun(project.path, 2, "-n2", GATE)
        said = [process.communicate(timeout=60)[0] for process in processes]
        assert all("pytest-xdist (-n) and torchrun each start processes" in line for line in said)
        assert [process.returncode for process in processes] == [4, 4]


class FakeCrew:
    """Other ranks say what a test lets them say."""

    def __init__(self, rank: int, others: Sequence[Any]) -> None:
        self.rank = rank
        self.hosts = tuple("abc"[: len(others) + 1])
        self.others = list(others)

    def exchange(self, about: str, value: Any) -> list[Any]:
        found = list(self.others)
        found.insert(self.rank, unpack(pack(value)))
        return found

    def own(self, device: torch.device) -> torch.device:
        return device


class TestCrew:
    def test_directions_are_shared_the_same_way_in_every_pass(self) -> None:
        crews = [FakeCrew(rank, [None, None]) for rank in range(3)]
        assert [share(crew, range(7)) for crew in crews] == [(0, 3, 6), (1, 4), (2, 5)]
        assert [share(crew, [4, 5]) for crew in crews] == [(), (4,), (5,)]
        assert share(Solo(), [4, 5]) == (4, 5)

    def test_what_fails_on_one_rank_fails_on_all(self) -> None:
        def fails() -> None:
            raise CheckpointError("x: it is broken")

        told = {"failed": ("CheckpointError", "x: it is broken")}
        with pytest.raises(CheckpointError, match=r"^rank 1 on b: x: it is broken$"):
            together(FakeCrew(0, [told]), "loading", lambda: 1)
        with pytest.raises(CheckpointError, match=r"^x: it is broken$"):
            together(FakeCrew(1, [{"done": 1}]), "loading", fails)
        with pytest.raises(CheckpointError, match=r"^x: it is broken$"):
            together(FakeCrew(0, [told]), "loading", fails)

    def test_the_first_of_several_faults_is_raised_everywhere(self) -> None:
        def fails() -> None:
            raise ConfigError("y")

        with pytest.raises(CheckpointError, match=r"^x$"):
            together(FakeCrew(1, [{"failed": ("CheckpointError", "x")}]), "loading", fails)

    def test_a_bug_of_another_rank_is_no_mistake_of_the_user(self) -> None:
        told = {"failed": ("RuntimeError", "ValueError: no (a.py:1)")}
        with pytest.raises(RuntimeError, match=r"^rank 1 on b: ValueError: no \(a\.py:1\)$") as e:
            together(FakeCrew(0, [told]), "measuring", lambda: 1)
        assert not isinstance(e.value, LinearityError)

    def test_what_is_packed_is_unpacked_bit_by_bit_or_not_at_all(self) -> None:
        tensor = torch.tensor([0.1, float("nan"), -0.0], dtype=torch.float64)
        packed = pack({("a", 0.1, 3): tensor, "b": [None, 1, ("c",)]})
        found = unpack(packed)
        assert found[("a", 0.1, 3)].numpy().tobytes() == tensor.numpy().tobytes()
        assert found["b"] == [None, 1, ("c",)]
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
