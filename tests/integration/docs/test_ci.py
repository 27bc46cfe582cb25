"""The CI examples are files that run: their own commands, on a measurement that is a fake."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Write
from fakes import FAKE

CI = Path(__file__).parents[1] / "examples" / "ci"
ACTIONS = {
    "actions/checkout",
    "actions/setup-python",
    "actions/cache/restore",
    "actions/cache/save",
    "actions/upload-artifact",
}
OUTPUTS = {"report.json", "summary.md", "report.html", "plot.png", "junit.xml"}


def load(name: str) -> Any:
    return yaml.safe_load((CI / name).read_text(encoding="utf-8"))


def github_steps() -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = load("github-actions.yml")["jobs"]["gate"]["steps"]
    return steps


def commands(name: str) -> list[str]:
    """Everything that the file runs, but for the installation."""
    if name == "github-actions.yml":
        lines = [step["run"] for step in github_steps() if "run" in step]
    else:
        job = load(name)["linearity"]
        lines = [*job["before_script"], *job["script"]]
    installing, *others = lines
    assert installing.startswith("python -m pip install '.[plot]'")
    return others


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell")
@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_its_commands_run(name: str, pytester: pytest.Pytester, write_config: Write) -> None:
    pytester.makeconftest(FAKE)
    write_config(radii=[0.1])
    environment = {
        **os.environ,
        "LINEARITY_CONFIG": "gate.yaml",
        "GITHUB_STEP_SUMMARY": str(pytester.path / "step.md"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    script = "\n".join(commands(name))
    for outcome in ("2 passed, 2 skipped", "4 passed"):  # without a baseline, then with one
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=pytester.path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert outcome in result.stdout
        if name == "gitlab-ci.yml":
            break
    out = pytester.path / "linearity-out"
    assert {path.name for path in out.iterdir()} == OUTPUTS
    baseline = json.loads((pytester.path / "linearity-baseline" / "report.json").read_text())
    assert baseline == json.loads((out / "report.json").read_text())
    assert (pytester.path / "step.md").read_text().startswith("## ✅ linearity: gate.yaml passes")


def test_github_uses_actions_that_exist_in_a_fixed_version() -> None:
    used = [step["uses"] for step in github_steps() if "uses" in step]
    assert {action.partition("@")[0] for action in used} == ACTIONS
    assert all(re.fullmatch(r"[\w/-]+@v\d+", action) for action in used)


def test_github_keeps_the_reports_of_a_gate_that_failed() -> None:
    [upload] = [step for step in github_steps() if "upload" in step.get("uses", "")]
    assert upload["if"] == "always()"
    assert upload["with"]["path"] == "linearity-out"


def test_github_saves_baselines_of_the_main_branch_only() -> None:
    saving = [step for step in github_steps() if "baseline" in step.get("name", "")][1:]
    assert len(saving) == 2
    assert all(step["if"] == "github.ref == 'refs/heads/main'" for step in saving)
    restore, save = (s for s in github_steps() if "actions/cache" in s.get("uses", ""))
    assert restore["with"]["key"] == save["with"]["key"]
    assert save["with"]["key"].startswith(restore["with"]["restore-keys"])


def test_gitlab_keeps_the_reports_and_reads_junit() -> None:
    job = load("gitlab-ci.yml")["linearity"]
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"]["junit"] == "linearity-out/junit.xml"
    policies = [rule["variables"]["BASELINE_POLICY"] for rule in job["rules"]]
    assert policies == ["pull", "pull-push"]
    assert job["cache"][1]["key"]["files"] == [job["variables"]["LINEARITY_CONFIG"]]


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_its_config_is_there(name: str) -> None:
    found = load(name)
    variables = found["env"] if "env" in found else found["linearity"]["variables"]
    assert (CI.parents[1] / variables["LINEARITY_CONFIG"]).is_file()
