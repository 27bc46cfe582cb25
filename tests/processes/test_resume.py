"""A run that was killed goes on where it was, with the report of one that was not."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import yaml

from tests.support.ranked import (
    but_for_this_run,
    ended,
    forked,
    largest_difference,
    ranks_of,
    report,
)

GATE = "--linearity-config=gate.yaml"
RESUME = "--linearity-resume=journal"

WATCHED = """
import os, signal
from pathlib import Path
from pytest_linearity.run.store.journal import JournalFolder
from pytest_linearity.numerics.measurement.passes import Pass

put, run_round = JournalFolder.put, Pass.run_round

def counted_put(self, key, found):
    put(self, key, found)
    entries = len(list(self.directory.glob("direction-*.entry")))
    if entries >= int(os.environ.get("KILLED_AFTER", "1000")):
        os.kill(os.getpid(), signal.SIGKILL)

def counted_round(self, batches, ks, *rest):
    evaluations = run_round(self, batches, ks, *rest)
    with open("rounds", "a") as file:
        file.write(f"{self.arithmetic.dtype} {self.wanted.radii} {batches} {ks}\\n")
    return evaluations

JournalFolder.put, Pass.run_round = counted_put, counted_round
"""
"""For a `conftest.py`: kills its process after so many entries; notes every round measured."""


def rounds(directory: Path) -> list[str]:
    place = directory / "rounds"
    lines = place.read_text().splitlines() if place.exists() else []
    place.unlink(missing_ok=True)
    return lines


def test_a_run_that_was_killed_goes_on(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """With all that later passes need: derivatives, layers, second derivatives, float64."""
    config = {
        "model_name_or_path": str(tiny_checkpoint),
        "prompts": ["1+1=", "The sky is", "abc"],
        "num_directions": 5,
        "radii": [0.001, 0.1, 1.0],
        "relerr_threshold": 0.08,
        "layer_profile": True,
        "second_order": True,
        "refine": True,
        "metrics": ["kl"],
    }
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "conftest.py").write_text(WATCHED)
    code, said = forked(tmp_path, GATE, RESUME)
    assert code == 1, said
    expected = but_for_this_run(json.loads((tmp_path / "linearity_report.json").read_text()))
    all_rounds = rounds(tmp_path)
    assert len(set(all_rounds)) == len(all_rounds) > 6
    assert len({line.split()[0] for line in all_rounds}) == 2  # float32 and float64
    (tmp_path / "linearity_report.json").unlink()

    code, _ = forked(tmp_path, GATE, "--linearity-resume=again", KILLED_AFTER="9")
    assert code == -signal.SIGKILL
    first = rounds(tmp_path)
    assert not (tmp_path / "linearity_report.json").exists()
    code, said = forked(tmp_path, GATE, "--linearity-resume=again")
    second = rounds(tmp_path)
    assert code == 1
    resumed = json.loads((tmp_path / "linearity_report.json").read_text())
    assert but_for_this_run(resumed) == expected
    environment = resumed["environment"]
    assert 0 < environment["evaluations_run"] < environment["evaluations"]
    # The round whose first entry was the last before the end is finished, not begun again.
    assert len(first) >= 4
    assert len(first) + len(second) <= len(all_rounds) + 1
    assert "resumed from again/gate.yaml: 10" in said


def test_other_ranks_go_on_with_it(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """One process begins, two go on; and the other way round."""
    config = {
        "model_name_or_path": str(tiny_checkpoint),
        "prompts": ["1+1=", "The sky is", "abc"],
        "num_directions": 5,
        "radii": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0],  # each direction is a round of its own
        "relerr_threshold": 0.08,
        "min_linearity_radius": 0.1,
        "precision": "float64",
        "layer_profile": True,
        "second_order": True,
        "refine": True,
    }
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "conftest.py").write_text(WATCHED)
    place = tmp_path / "linearity_report.json"
    code, said = forked(tmp_path, GATE)
    assert code == 0, said
    expected = report(place)
    place.unlink()
    rounds(tmp_path)

    code, _ = forked(tmp_path, GATE, RESUME, KILLED_AFTER="3")
    assert code == -signal.SIGKILL
    [*first] = rounds(tmp_path)
    assert [line.split()[-1] for line in first] == ["[0]", "[1]", "[2]"]
    codes, outputs = ended(ranks_of(tmp_path, 2, GATE, RESUME))
    assert codes == [0, 0], outputs
    assert largest_difference(report(place), expected) < 1e-9
    wide = [line for line in rounds(tmp_path) if "0.1, 0.2" in line]
    assert sorted(line.split()[-1] for line in wide) == ["[3]", "[4]"]
    assert "resumed from journal/gate.yaml: 4 entries read" in outputs[0]
    kept = Counter(path.name.split("-")[1] for path in tmp_path.glob("journal/*/direction-*.entry"))
    assert kept.keys() == {*"01234"}
    assert len(set(kept.values())) == 1  # every rank has kept what it has found

    place.unlink()
    # The loss of a rank ends the other, which may have finished a round meanwhile.
    codes, _ = ended(ranks_of(tmp_path, 2, GATE, "--linearity-resume=again", KILLED_AFTER="3"))
    assert -signal.SIGKILL in codes
    assert not place.exists()
    begun = {line.split()[-1] for line in rounds(tmp_path)}
    code, said = forked(tmp_path, GATE, "--linearity-resume=again")
    assert code == 0, said
    assert largest_difference(report(place), expected) < 1e-9
    wide = [line for line in rounds(tmp_path) if "0.1, 0.2" in line]
    assert {line.split()[-1] for line in wide} | begun == {f"[{k}]" for k in range(5)}
    assert len(wide) <= 2
