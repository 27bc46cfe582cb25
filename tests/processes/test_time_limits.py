"""A test's time limit that is reached while libraries are imported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.fixtures import Write

LIMIT = """
import signal
import pytest

def reached(number, frame):
    pytest.fail("the test took too long")

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    signal.signal(signal.SIGALRM, reached)
    signal.setitimer(signal.ITIMER_REAL, {seconds})
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
"""
"""As pytest-timeout has it."""


@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_is_told_and_nothing_else(
    seconds: float, pytester: pytest.Pytester, real_config: Write, tiny_checkpoint: Path
) -> None:
    """Importing takes longer, and what is imported in part cannot be imported again."""
    other = shutil.copytree(tiny_checkpoint, pytester.path / "other")
    real_config(model_name_or_path=[str(tiny_checkpoint), str(other)])
    pytester.makeconftest(LIMIT.format(seconds=seconds))
    result = pytester.runpytest_subprocess("--linearity-config=gate.yaml", "-rA")
    assert result.ret == 1
    shown = result.stdout.str()
    assert "the test took too long" in shown
    failed = [line for line in result.outlines if line.startswith("FAILED")]
    assert failed
    for line in failed:
        assert "took too long" in line or "failed before" in line
    assert "Error" not in shown
    assert "config.json" not in shown
