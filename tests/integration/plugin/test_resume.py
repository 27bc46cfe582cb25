"""`--linearity-resume`: what is kept of a run, what is taken from it, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.cli import main
from pytest_linearity.numerics.measurement.passes import Pass
from pytest_linearity.run.store.journal import JournalFolder
from tests.support.checkpoints import tiny_llama
from tests.support.fixtures import Write
from tests.support.ranked import but_for_this_run

GATE = "--linearity-config=gate.yaml"
RESUME = "--linearity-resume=journal"
PREFIX = "You are a patient teacher of arithmetic. "


class Killed(BaseException):
    """What ends a process, for one that is to go on."""


class Killing:
    """Lets a command end after so many entries, and counts the directions of its rounds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.after = 10**9
        self.rounds: list[tuple[object, ...]] = []
        put, run_round = JournalFolder.put, Pass.run_round

        def counted_put(journal: JournalFolder, key: Any, found: Any) -> None:
            put(journal, key, found)
            self.after -= 1
            if self.after <= 0:
                raise Killed

        def counted_round(one: Pass, batches: Any, ks: Any, *rest: Any) -> int:
            evaluations = run_round(one, batches, ks, *rest)
            scope = one.setup.directions.scope
            self.rounds.append((scope, tuple(batches), tuple(ks), one.wanted))
            return evaluations

        monkeypatch.setattr(JournalFolder, "put", counted_put)
        monkeypatch.setattr(Pass, "run_round", counted_round)


@pytest.mark.parametrize(
    ("scopes", "kills"),
    [
        (["full"], [4]),
        pytest.param(["attention", "last_blocks:1"], [1, 7], marks=pytest.mark.slow),
    ],
)
def test_scopes_of_a_shared_prefix_in_rounds_go_on(
    scopes: list[str],
    kills: list[int],
    real_config: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scopes that are measured at once, each with as many directions as it takes."""
    real_config(
        num_directions={"min": 2, "max": 7},
        precision="auto",
        radii=[0.001, 0.1, 1.0],
        relerr_threshold=0.02,
        batch_size=2,
        prompts=[f"{PREFIX}{rest}" for rest in ("1+1=", "2+2=", "3*3=")],
        **({"param_scopes": scopes} if len(scopes) > 1 else {}),
    )
    if len(scopes) == 1:  # each batch and direction in a round of its own
        monkeypatch.setattr("pytest_linearity.numerics.measurement.schedule.MEMORY_BUDGET", 1)
    killing = Killing(monkeypatch)
    names = [f"-{scope.replace(':', '-')}" if len(scopes) > 1 else "" for scope in scopes]
    places = [Path(f"linearity_report{name}.json") for name in names]

    def measured(*arguments: str) -> list[dict[str, Any]]:
        assert main(["analyze-logits", "gate.yaml", *arguments]) == 0
        return [but_for_this_run(json.loads(place.read_text())) for place in places]

    expected = measured("--resume", "journal")
    assert {found["environment"]["shared_prefix"] for found in expected} == {len(PREFIX) + 1}
    whole, killing.rounds = killing.rounds, []
    assert len(whole) > 3 * len(scopes)
    for after in kills:
        for place in places:
            place.unlink()
        killing.after = after
        with pytest.raises(Killed):
            measured("--resume", f"journal-{after}")
        killing.after = 10**9
        assert measured("--resume", f"journal-{after}") == expected
        again, killing.rounds = killing.rounds, []
        assert set(again) == set(whole)
        # A round of each scope was under way at most.
        assert len(again) <= len(whole) + len(scopes)


@pytest.fixture
def gate(pytester: pytest.Pytester, real_config: Write) -> Any:
    """Runs a small gate with a journal, and returns its report."""
    real_config(num_directions=5, relerr_threshold=5, cos_threshold=-1)

    def run(*arguments: str) -> dict[str, Any]:
        result = pytester.runpytest(GATE, RESUME, *arguments)
        assert result.ret == 0, result.outlines + result.errlines
        found: dict[str, Any] = json.loads((pytester.path / "linearity_report.json").read_text())
        return found

    return run


def evaluations_run(found: dict[str, Any]) -> int:
    number: int = found["environment"]["evaluations_run"]
    return number


def refused(pytester: pytest.Pytester, *arguments: str) -> str:
    result = pytester.runpytest(GATE, RESUME, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    [line] = [line for line in result.errlines if line]
    return line.removeprefix("ERROR: ")


class TestJournal:
    def test_stays_and_answers_at_once(self, pytester: pytest.Pytester, gate: Any) -> None:
        first, second = gate(), gate()
        assert but_for_this_run(first) == but_for_this_run(second)
        assert first["environment"]["evaluations_run"] > 0 == evaluations_run(second)
        assert second["environment"]["journal"]["read"] == 6  # five directions, one calibration

    @pytest.mark.parametrize("damage", [b"", b"x", None])
    def test_what_is_damaged_is_measured_again(
        self, damage: bytes | None, pytester: pytest.Pytester, gate: Any
    ) -> None:
        first = gate()
        folder = pytester.path / "journal" / "gate.yaml"
        *_, entry = sorted(folder.glob("direction-*.entry"))
        content = entry.read_bytes()
        entry.write_bytes(content[: len(content) // 2] if damage is None else damage)
        result = pytester.runpytest(GATE, RESUME)
        result.stdout.fnmatch_lines(
            ["resumed from journal/gate.yaml: 5 entries read, 1 damaged entry measured again"]
        )
        second = json.loads((pytester.path / "linearity_report.json").read_text())
        assert but_for_this_run(first) == but_for_this_run(second)
        assert 0 < evaluations_run(second) < evaluations_run(first)
        assert entry.read_bytes() == content

    def test_a_damaged_header_costs_nothing(self, pytester: pytest.Pytester, gate: Any) -> None:
        first = gate()
        (pytester.path / "journal" / "gate.yaml" / "journal.json").write_text("{}")
        assert evaluations_run(gate()) == 0
        assert but_for_this_run(gate()) == but_for_this_run(first)

    def test_nor_does_it_hide_what_entries_are_of(
        self, pytester: pytest.Pytester, gate: Any
    ) -> None:
        gate()
        (pytester.path / "journal" / "gate.yaml" / "journal.json").write_text("{}")
        other = "--linearity-set=seed=7"
        found = gate(other)
        assert found["environment"]["journal"]["read"] == 0
        assert found["environment"]["journal"]["damaged"] == 6
        fresh = gate(other, "--linearity-resume=fresh")
        assert but_for_this_run(found) == but_for_this_run(fresh)

    def test_an_entry_of_another_direction_is_not_taken(
        self, pytester: pytest.Pytester, gate: Any
    ) -> None:
        """Say, a file that was copied by hand."""
        first = gate()
        *_, one, other = sorted((pytester.path / "journal" / "gate.yaml").glob("direction-*.entry"))
        other.write_bytes(one.read_bytes())
        second = gate()
        assert but_for_this_run(first) == but_for_this_run(second)
        assert second["environment"]["journal"]["damaged"] == 1

    def test_of_each_arithmetic_by_itself(self, gate: Any) -> None:
        """A verdict that rounding could turn is reached in float64, of which there is nothing."""
        keys = ("--linearity-set=precision=auto", "--linearity-set=radii=[0.1]")
        coarse = gate(*keys)["metrics"]["0.1"]
        near = coarse["mean_relative_error"] + 0.9 * coarse["noise_floor"]
        found = gate(*keys, f"--linearity-set=relerr_threshold={near}")
        assert [coarse["precision"], found["metrics"]["0.1"]["precision"]] == [
            "float32",
            "float64",
        ]
        assert found["environment"]["journal"]["read"] == 6
        assert evaluations_run(found) > 0

    def test_of_other_limits_is_of_the_same(self, gate: Any) -> None:
        gate()
        found = gate("--linearity-set=relerr_threshold=4")
        assert evaluations_run(found) == 0
        assert found["config"]["relerr_threshold"] == 4

    def test_of_another_config_is_refused(self, pytester: pytest.Pytester, gate: Any) -> None:
        gate()
        assert refused(pytester, "--linearity-set=seed=7") == (
            "journal journal/gate.yaml: it is of another measurement, seed is 42 in the journal "
            "and 7 in this run; name another directory, or remove this one"
        )

    def test_of_another_checkpoint_is_refused(
        self, pytester: pytest.Pytester, gate: Any, tmp_path: Path
    ) -> None:
        gate()
        other = tiny_llama(tmp_path / "other", seed=5)
        said = refused(pytester, f"--linearity-set=model_name_or_path={other}")
        assert "it is of another measurement, the checkpoint differs" in said

    def test_of_another_version_is_refused(
        self, pytester: pytest.Pytester, gate: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate()
        monkeypatch.setattr("pytest_linearity.run.environment.version", lambda _: "9.9")
        said = refused(pytester)
        assert "the version of pytest_linearity is" in said
        assert '"9.9" in this run' in said

    def test_is_no_place_for_it(self, pytester: pytest.Pytester, gate: Any) -> None:
        (pytester.path / "journal" / "gate.yaml").mkdir(parents=True)
        (pytester.path / "journal" / "gate.yaml" / "thesis.tex").touch()
        assert "this is no journal, it holds 'thesis.tex'" in refused(pytester)
        assert not (pytester.path / "journal" / "gate.yaml" / "journal.json").exists()

    def test_is_a_file(self, pytester: pytest.Pytester, gate: Any) -> None:
        (pytester.path / "journal").mkdir()
        (pytester.path / "journal" / "gate.yaml").touch()
        assert "this is a file; a journal is a directory" in refused(pytester)

    def test_of_as_many_directions_as_it_takes(self, gate: Any) -> None:
        sets = ("--linearity-set=num_directions={min: 2, max: 4}",)
        first, second = gate(*sets), gate(*sets)
        assert but_for_this_run(first) == but_for_this_run(second)
        assert evaluations_run(second) == 0

    def test_of_each_checkpoint_has_its_own_place(
        self, pytester: pytest.Pytester, tiny_checkpoint: Path, gate: Any, tmp_path: Path
    ) -> None:
        other = tiny_llama(tmp_path / "other", seed=5)
        both = f"--linearity-set=model_name_or_path=[{tiny_checkpoint},{other}]"
        assert pytester.runpytest(GATE, RESUME, both).ret == 0
        places = sorted(path.name for path in (pytester.path / "journal").iterdir())
        assert places == ["gate.yaml-other", "gate.yaml-tiny"]
        result = pytester.runpytest(GATE, RESUME, both)
        assert sum(line.startswith("resumed from") for line in result.outlines) == 2

    def test_needs_a_config(self, pytester: pytest.Pytester) -> None:
        result = pytester.runpytest(RESUME)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*--linearity-resume: there is no config to use it on*"])

    def test_of_the_command(
        self, pytester: pytest.Pytester, gate: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gate()
        assert main(["analyze-logits", "gate.yaml", "--resume", "journal"]) == 0
        assert "resumed from journal/gate.yaml: 6 entries read" in capsys.readouterr().out
        assert os.path.exists("linearity_report.json")
