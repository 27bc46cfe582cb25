"""`pytest-linearity init`: what it writes is a gate that can pass and can fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file

from pytest_linearity.cli.init import written
from pytest_linearity.cli.proposal import Proposal, propose
from pytest_linearity.config.loading import config_of_model, load_config
from pytest_linearity.verdict.tolerance import upper_bound
from tests.support.fixtures import Call
from tests.support.paths import ROOT

ARITHMETIC = ROOT / "examples" / "arithmetic"
FEW = ("--set", "num_directions=2", "--set", "precision=float32")
ONE = (*FEW, "--set", "prompts=['1+1=', 'The sky is']")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys_of(path: Path) -> dict[str, Any]:
    keys: dict[str, Any] = yaml.safe_load(path.read_text())
    return {**keys, **keys.pop("analysis")}


def refused(call: Call, *arguments: str) -> str:
    """The one line that is said; nothing is written."""
    before = sorted(Path().rglob("*"))
    code, out, err = call("init", *arguments)
    assert (code, out) == (4, "")
    assert sorted(Path().rglob("*")) == before
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in err
    return line


def test_a_gate_that_the_checkpoint_passes_and_the_anomalous_one_does_not(
    call: Call, here: Path, pytester: pytest.Pytester
) -> None:
    data = ("--data", str(ARITHMETIC / "linearity.yaml"), "--set", "max_samples=2")
    dataset = ("--set", f"dataset_dir={ARITHMETIC / 'data'}")
    place = pytester.path / "gate.yaml"
    healthy = str(ARITHMETIC / "healthy")
    code, out, err = call("init", healthy, "-o", str(place), "--baseline", *data, *dataset, *FEW)
    assert (code, out.splitlines()[0]) == (0, "gate.yaml: written; run it with")
    assert "looking for the crossing" in err
    keys = keys_of(place)
    # What `--set` says wins over the file of `--data`.
    assert keys["max_samples"] == 2
    assert keys["precision"] == "float32"
    assert load_config(place).min_linearity_radius in load_config(place).radii

    result = pytester.runpytest("--linearity-config=gate.yaml")
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    complying = [figures["complies"] for figures in report["metrics"].values()]
    # On both sides of the limits.
    assert set(complying) == {True, False}
    assert complying == sorted(complying, reverse=True)
    tests, allowed = len(complying), complying.count(False)
    # The radii, the linearity radius, and the same against the baseline.
    result.assert_outcomes(passed=2 * (tests + 1) - allowed, skipped=allowed)

    anomalous = f"--linearity-set=model_name_or_path={ARITHMETIC / 'anomalous'}"
    result = pytester.runpytest("--linearity-config=gate.yaml", anomalous)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED gate.yaml::linearity_radius - linearity radius *"])


def test_keys_that_were_set_are_written(call: Call, tiny_checkpoint: Path, here: Path) -> None:
    """The gate measures what was looked at: another scope would have other radii."""
    more = ("--set", "param_scope=last_blocks:1", "--set", "seed=7", "--set", "batch_size=1")
    more += ("--set", "relerr_threshold=0.3", "--set", "radius_unit=relative")
    assert call("init", str(tiny_checkpoint), *ONE, *more)[0] == 0
    config = load_config("linearity.yaml")
    assert config.param_scope == "last_blocks:1"
    assert (config.seed, config.batch_size, config.radius_unit) == (7, 1, "relative")
    assert (config.relerr_threshold, config.cos_threshold) == (0.3, 0.95)
    assert config.prompts == ("1+1=", "The sky is")
    text = Path("linearity.yaml").read_text()
    assert "The limits that were asked for" in text
    assert "95% interval" in text


def test_the_update_of_a_base_is_told(
    call: Call, tiny_checkpoint: Path, base_checkpoint: Path
) -> None:
    assert call("init", str(tiny_checkpoint), *ONE, "--base", str(base_checkpoint))[0] == 0
    text = Path("linearity.yaml").read_text()
    assert "# the fine-tune moved " in text
    assert load_config("linearity.yaml").base_model_name_or_path == str(base_checkpoint)


@pytest.fixture(scope="module")
def proposal(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Proposal:
    """Of three steps of a run that differ a little, so that the bound is below the usual limit."""
    directory = tmp_path_factory.mktemp("run")
    steps = [tiny_checkpoint, directory / "step-1", directory / "step-2"]
    for number, step in enumerate(steps[1:], 1):
        shutil.copytree(tiny_checkpoint, step)
        weights = load_file(tiny_checkpoint / "model.safetensors")
        scaled = {name: tensor * (1 + 0.002 * number) for name, tensor in weights.items()}
        save_file(scaled, step / "model.safetensors", {"format": "pt"})
    sets = ["num_directions=2", "precision=float32", "prompts=['1+1=']"]
    return propose([config_of_model(str(step), sets) for step in steps])


class TestSeveral:
    def test_the_limit_is_a_tolerance_bound(self, proposal: Proposal) -> None:
        errors = [report.at(proposal.least).mean_relative_error for report in proposal.reports]
        assert proposal.bound == upper_bound([error for error in errors if error])
        assert proposal.bound is not None
        assert proposal.bound.limit <= proposal.relative_error <= proposal.bound.limit * 1.1
        assert proposal.relative_error < 0.2
        assert all(error is not None and error <= proposal.relative_error for error in errors)
        assert 0.95 < proposal.cosine_similarity < 1

    def test_the_comment_says_the_rate_of_false_alarms(self, proposal: Proposal) -> None:
        configs = [config_of_model("saves/a"), config_of_model("saves/b")]
        text = written(configs, proposal, Path("gate.yaml"))
        comments = " ".join(text.replace("#", "").split())
        assert "from 3 checkpoints" in comments
        assert "mean + 7.66 standard deviations of log ε" in comments
        assert "with 95% confidence at most 5% of healthy ones break it" in comments
        assert yaml.safe_load(text)["analysis"]["relerr_threshold"] == proposal.relative_error

    def test_a_pattern_is_several(self, call: Call, tiny_checkpoint: Path, here: Path) -> None:
        for name in ("step-2", "step-10"):
            (here / name).symlink_to(tiny_checkpoint)
        assert "is named twice" in refused(call, "step-*", *ONE)
        assert "matches no directory" in refused(call, "epoch-*", *ONE)


class TestRefusals:
    def test_a_file_that_is_there(self, call: Call, tiny_checkpoint: Path, here: Path) -> None:
        place = here / "linearity.yaml"
        place.write_text("mine")
        line = refused(call, str(tiny_checkpoint), *ONE)
        assert line == "error: linearity.yaml: is there already; overwrite it with --force"
        assert place.read_text() == "mine"
        assert call("init", str(tiny_checkpoint), *ONE, "--force")[0] == 0
        assert "mine" not in place.read_text()

    def test_a_baseline_that_is_there(self, call: Call, tiny_checkpoint: Path, here: Path) -> None:
        (here / "gate-baseline.json").write_text("{}")
        line = refused(call, str(tiny_checkpoint), "-o", "gate.yaml", "--baseline", *ONE)
        assert line.startswith("error: gate-baseline.json: is there already")

    def test_a_directory(self, call: Call, tiny_checkpoint: Path, here: Path) -> None:
        (here / "gates").mkdir()
        line = refused(call, str(tiny_checkpoint), "-o", "gates", *ONE)
        assert line == "error: gates: this is a directory; the config needs the name of a file"

    def test_what_is_no_checkpoint(self, call: Call, here: Path) -> None:
        (here / "empty").mkdir()
        (here / "file").write_text("no weights")
        assert refused(call, "empty").endswith("empty: has no config.json")
        assert "file" in refused(call, "file")
        assert "absent is no directory here" in refused(call, "absent")

    def test_one_of_several_that_is_none(
        self, call: Call, tiny_checkpoint: Path, here: Path
    ) -> None:
        (here / "empty").mkdir()
        code, _, err = call("init", str(tiny_checkpoint), "empty", *ONE)
        assert code == 4
        # It is said before anything is measured.
        assert "looking" not in err

    def test_a_checkpoint_named_twice(self, call: Call, tiny_checkpoint: Path) -> None:
        again = f"{tiny_checkpoint.parent}/../{tiny_checkpoint.parent.name}/tiny"
        assert "a checkpoint is named twice" in refused(call, str(tiny_checkpoint), again, *ONE)

    @pytest.mark.parametrize(
        ("key", "words"),
        [
            ("radii=0.1", "--set radii: is not to be set: init chooses it"),
            ("min_linearity_radius=1", "--set min_linearity_radius: is not to be set"),
            ("model_name_or_path=x", "--set model_name_or_path: is not to be set"),
            ("param_scopes=[full,mlp]", "--set param_scopes: is not to be set"),
            ("directions=[gaussian,gradient]", "radii are chosen for one kind, give one"),
            ("nonsense=1", "there is no key 'nonsense'"),
            ("seed=none", "seed"),
        ],
    )
    def test_keys(self, call: Call, tiny_checkpoint: Path, key: str, words: str) -> None:
        assert words in refused(call, str(tiny_checkpoint), "--set", key)

    def test_a_base_or_data_that_are_none(self, call: Call, tiny_checkpoint: Path) -> None:
        line = refused(call, str(tiny_checkpoint), *ONE, "--base", "absent")
        assert "base_model_name_or_path: absent is no directory here" in line
        line = refused(call, str(tiny_checkpoint), "--data", "absent.yaml")
        assert line == "error: absent.yaml: there is no such file"
