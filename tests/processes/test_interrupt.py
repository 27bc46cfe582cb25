"""Control-C while a checkpoint is measured."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.fixtures import Write
from tests.support.processes import heed_sigint


def test_control_c_ends_the_run_without_a_report(
    pytester: pytest.Pytester, real_config: Write, tiny_checkpoint: Path
) -> None:
    real_config(num_directions=500)
    files = sorted(tiny_checkpoint.iterdir())
    before = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    pytester.makeconftest(
        """
        from pathlib import Path
        from transformers import LlamaModel

        forward = LlamaModel.forward

        def begin(self, *args, **kwargs):
            Path("measuring").touch()
            return forward(self, *args, **kwargs)

        LlamaModel.forward = begin
        """
    )
    command = [sys.executable, "-m", "pytest", "--linearity-config", "gate.yaml", "-rN"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heed_sigint,
    ) as p:
        deadline = time.monotonic() + 120
        while not (pytester.path / "measuring").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        p.send_signal(signal.SIGINT)
        shown, _ = p.communicate(timeout=60)
    assert p.returncode == 2, shown
    assert "KeyboardInterrupt" in shown
    assert not list(pytester.path.glob("*.json"))
    assert not list(pytester.path.glob(".*report*"))
    assert [hashlib.sha256(file.read_bytes()).hexdigest() for file in files] == before
