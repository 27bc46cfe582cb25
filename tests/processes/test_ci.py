"""The commands of the CI examples run, on a measurement that is a fake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ci import commands
from tests.support.fakes import FAKE
from tests.support.fixtures import Write

OUTPUTS = {"report.json", "summary.md", "report.html", "plot.png", "junit.xml"}


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
