"""The CI examples, read."""

from __future__ import annotations

from typing import Any

import yaml

from tests.support.paths import EXAMPLES


def load(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / "ci" / name).read_text(encoding="utf-8"))


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
