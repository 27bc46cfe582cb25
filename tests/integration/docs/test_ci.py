"""The CI examples: what they keep, what they save, and which actions they use."""

from __future__ import annotations

import re

import pytest

from tests.support.ci import github_steps, load
from tests.support.paths import ROOT

ACTIONS = {
    "actions/checkout",
    "actions/setup-python",
    "actions/cache/restore",
    "actions/cache/save",
    "actions/upload-artifact",
}


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
    assert (ROOT / variables["LINEARITY_CONFIG"]).is_file()
