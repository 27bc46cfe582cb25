"""The command, as it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pytest_linearity import __version__


def test_the_installed_command_and_its_version() -> None:
    command = [str(Path(sys.executable).with_name("pytest-linearity")), "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == __version__
