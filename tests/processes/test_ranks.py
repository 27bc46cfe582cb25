"""Several processes: torchrun's ranks find what one process finds, speak once and end alike."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from junitparser import JUnitXml

from pytest_linearity import analyze
from pytest_linearity.cli import main
from pytest_linearity.config.loading import load_config
from tests.support.ranked import (
    await_pids,
    ended,
    exit_codes,
    largest_difference,
    ranks_of,
    report,
    run,
    started,
)

GATE = "--linearity-config=gate.yaml"
SMALL = {"prompts": ["1+1=", "The sky is", "abc"], "radii": [0.01, 0.1], "cos_threshold": -1}
PREFIX = "You are a patient teacher of arithmetic. "
PAUSE = """
import os, signal, time
from pathlib import Path
from pytest_linearity.numerics.measurement.passes import Pass

signal.signal(signal.SIGINT, signal.SIG_IGN)

def paused(self, *arguments):
    Path(f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)

def pytest_unconfigure():
    Path(f"ended-{os.environ['RANK']}").touch()

Pass.run_round = paused
"""
"""For a `conftest.py`: ranks that measure for ever, as in the background of a shell."""

NOTED = """
import os
from pytest_linearity.numerics.measurement.passes import Pass

run_round = Pass.run_round

def noted(self, batches, ks, *rest):
    with open(f"rounds-{os.environ['RANK']}", "a") as file:
        file.write(f"{ks}\\n")
    return run_round(self, batches, ks, *rest)

Pass.run_round = noted
"""
"""For a `conftest.py`: every rank notes the directions that it measures."""


@pytest.fixture
def project(tmp_path: Path, tiny_checkpoint: Path) -> Any:
    def write(**keys: Any) -> None:
        config = {"model_name_or_path": str(tiny_checkpoint), **SMALL, **keys}
        (tmp_path / "gate.yaml").write_text(yaml.safe_dump(config))

    write.__dict__["path"] = tmp_path
    return write


def alone(directory: Path) -> dict[str, Any]:
    """The report of one process, but for its environment."""
    found = analyze(load_config(directory / "gate.yaml")).to_dict()
    del found["environment"]
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


class TestUnderTorchrun:
    def test_two_ranks_find_what_one_process_finds(self, project: Any) -> None:
        """Layers, second derivatives, refinement, further metrics; files and fixtures, too."""
        directory: Path = project.path
        project(
            num_directions=3,
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
        environment = json.loads((directory / "linearity_report.json").read_text())["environment"]
        assert len(environment["hosts"]) == 2
        found, expected = report(directory / "linearity_report.json"), alone(directory)
        assert found["metrics"]["0.1"].keys() == expected["metrics"]["0.1"].keys()
        assert "layers" in json.dumps(list(found))
        del found["config"], expected["config"]
        assert largest_difference(expected, found) < 1e-9

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


class TestRanks:
    """Without the agent, which ends all when one has died."""

    def test_more_ranks_than_directions_and_a_gate_that_fails(self, project: Any) -> None:
        directory: Path = project.path
        project(num_directions=2, relerr_threshold=1e-9, layer_profile=True)
        codes, said = ended(ranks_of(directory, 3, GATE))
        assert codes == [1, 1, 1]
        assert said[0].count("3 failed") == 1
        assert said[1:] == ["", ""]
        expected = alone(directory)["pairs"]
        for radius, pairs in report(directory / "linearity_report.json")["pairs"].items():
            one = torch.tensor(expected[radius]["relative_error"])
            other = torch.tensor(pairs["relative_error"])
            assert one.shape == (2, 3)
            assert (one - other).abs().max() < 1e-4  # float32: far below the noise floor at 0.01

    def test_scopes_of_a_shared_prefix_in_rounds(self, project: Any) -> None:
        """Each of which asks ranks to meet at other points."""
        directory: Path = project.path
        project(
            num_directions={"min": 2, "max": 4},
            precision="float64",
            radii=[0.1],
            relerr_threshold=0.02,
            prompts=[f"{PREFIX}{rest}" for rest in ("1+1=", "2+2=", "3*3=")],
        )
        (directory / "conftest.py").write_text(NOTED)
        more = "--linearity-set=param_scopes=[full,attention]"
        codes, said = ended(ranks_of(directory, 2, GATE, more))
        assert codes[0] == codes[1] < 2, said
        assert said[1] == ""
        for scope in ("full", "attention"):
            found = report(directory / f"linearity_report-{scope}.json")
            environment = json.loads((directory / f"linearity_report-{scope}.json").read_text())[
                "environment"
            ]
            assert environment["shared_prefix"] == len(PREFIX) + 1
            project(**{**found["config"], "param_scope": scope, "param_scopes": None})
            expected = alone(directory)
            del found["config"], expected["config"]
            assert largest_difference(expected, found) < 1e-9

    @pytest.mark.parametrize("victim", [0, 1])
    def test_one_that_is_killed_ends_the_run(self, victim: int, project: Any) -> None:
        directory: Path = project.path
        project(num_directions=2)
        (directory / "conftest.py").write_text(PAUSE)
        processes = ranks_of(directory, 2, GATE)
        os.kill(await_pids(directory, 2)[victim], signal.SIGKILL)
        codes, said = ended(processes)
        assert codes[victim] == -signal.SIGKILL
        assert codes[1 - victim] == 4
        assert re.findall(rf"ERROR: rank {victim} on \S+ is gone", said[1 - victim])
        assert (directory / f"ended-{1 - victim}").exists()  # by itself, not as one that hangs
        assert not (directory / "linearity_report.json").exists()

    def test_different_configs_are_refused(self, project: Any) -> None:
        project(num_directions=2)
        each = [["--linearity-set=seed=1"], ["--linearity-set=seed=2"]]
        codes, said = ended(ranks_of(project.path, 2, GATE, each=each))
        assert codes == [4, 4]
        assert re.findall(
            r"ERROR: rank 1 on \S+ would measure something else than rank 0 on \S+: seed is 1 on "
            r"rank 0 and 2 on rank 1",
            said[0],
        )
        assert "ERROR" not in said[1]
        assert not (project.path / "linearity_report.json").exists()

    def test_a_fault_of_one_is_said_by_rank_0(self, project: Any) -> None:
        """Here a config that only rank 0 can use."""
        project(num_directions=2)
        each = [[], ["--linearity-set=seed=many"]]
        codes, said = ended(ranks_of(project.path, 2, GATE, each=each))
        assert codes == [4, 4]
        assert re.findall(r"ERROR: rank 1 on \S+: .*seed", said[0])
        assert said[1] == ""

    def test_other_tests_on_one_are_refused(self, project: Any) -> None:
        project(num_directions=2)
        (project.path / "test_own.py").write_text("def test_a(): pass\ndef test_b(): pass")
        each = [["--deselect=test_own.py::test_a"], ["--deselect=test_own.py::test_b"]]
        codes, said = ended(ranks_of(project.path, 2, GATE, ".", each=each))
        assert codes == [4, 4]
        assert "rank 1 on" in said[0]
        assert "has collected other tests than rank 0, or the same in another order" in said[0]

    def test_a_test_that_fails_on_one_fails_the_run(self, project: Any) -> None:
        """All end with its exit code, and rank 0 names it, though there it has passed.

        Rank 0 alone writes; what another one wrote would be seen where it has a place of its own.
        """
        project(num_directions=2)
        (project.path / "test_own.py").write_text(
            "import os\ndef test_own(): assert os.environ['RANK'] == '0'"
        )
        names = ("junit.xml", "summary.md", "page.html", "report.json")
        options = ("--junitxml", "--linearity-markdown", "--linearity-html", "--linearity-report")
        each = [
            [f"{option}={place}/{name}" for option, name in zip(options, names, strict=True)]
            for place in ("first", "second")
        ]
        for place in ("first", "second"):
            (project.path / place).mkdir()
        codes, said = ended(ranks_of(project.path, 2, GATE, "test_own.py", each=each))
        assert codes == [1, 1]
        assert "4 passed" in said[0]
        assert re.findall(r"rank 1 on \S+: failed: test_own.py::test_own", said[0])
        assert said[1] == ""
        written = {path.name for path in (project.path / "first").iterdir()}
        assert written == {*names}
        assert not list((project.path / "second").iterdir())

    def test_a_cache_of_rank_0_serves_all(self, project: Any) -> None:
        directory: Path = project.path
        project(num_directions=2)
        (directory / "conftest.py").write_text(NOTED)
        codes, said = ended(ranks_of(directory, 2, GATE, "--linearity-cache"))
        assert codes == [0, 0], said
        rounds = [directory / f"rounds-{rank}" for rank in range(2)]
        assert [place.read_text().split("\n")[0] for place in rounds] == ["[0]", "[1]"]
        first = json.loads((directory / "linearity_report.json").read_text())
        for place in rounds:
            place.unlink()
        limit = "--linearity-set=relerr_threshold=1e-6"
        codes, said = ended(ranks_of(directory, 2, GATE, "--linearity-cache", limit))
        assert codes == [1, 1]
        assert "reused from the cache" in said[0]
        assert said[1] == ""
        assert not any(place.exists() for place in rounds)
        second = json.loads((directory / "linearity_report.json").read_text())
        assert second["environment"]["reused"] is True
        assert second["pairs"] == first["pairs"]

    def test_the_command_speaks_once(self, project: Any) -> None:
        directory: Path = project.path
        project(num_directions=3, precision="float64", relerr_threshold=1e-9)
        given = ("analyze-logits", "gate.yaml")
        codes, said = ended(ranks_of(directory, 2, *given, main=main))
        assert codes == [0, 0], said
        assert said[0].count("linearity radius") == 1
        assert said[0].count("report: linearity_report.json") == 1
        assert said[1] == ""
        assert largest_difference(alone(directory), report(directory / "linearity_report.json")) < (
            1e-9
        )

    def test_the_command_refuses_once(self, project: Any) -> None:
        project(num_directions=2)
        each = [[], ["--set=seed=7"]]
        given = ("analyze-logits", "gate.yaml")
        codes, said = ended(ranks_of(project.path, 2, *given, each=each, main=main))
        assert codes == [4, 4]
        assert "seed is 42 on rank 0 and 7 on rank 1" in said[0]
        assert said[0].count("error: ") == 1
        assert said[1] == ""
        assert not (project.path / "linearity_report.json").exists()

    def test_a_command_whose_rank_is_killed_ends(self, project: Any) -> None:
        directory: Path = project.path
        project(num_directions=2)
        given = ("analyze-logits", "gate.yaml")
        processes = ranks_of(directory, 2, *given, main=paused_command)
        os.kill(await_pids(directory, 2)[1], signal.SIGKILL)
        codes, said = ended(processes)
        assert codes == [4, -signal.SIGKILL]
        assert re.findall(r"ERROR: rank 1 on \S+ is gone", said[0])
        assert "Traceback" not in said[0]

    def test_xdist_is_refused_besides(self, project: Any) -> None:
        project(num_directions=2)
        codes, said = ended(ranks_of(project.path, 2, "-n2", GATE))
        assert all("pytest-xdist (-n) and torchrun each start processes" in line for line in said)
        assert codes == [4, 4]
        # One rank is none; to collect is enough, as workers take long to start.
        codes, said = ended(ranks_of(project.path, 1, "-n2", "--collect-only", GATE))
        assert codes == [0], said


def paused_command(arguments: list[str]) -> int:
    """The command of a rank that stays in the middle of measuring."""
    exec(PAUSE, {})
    return main(arguments)
