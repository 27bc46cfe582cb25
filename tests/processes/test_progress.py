"""The progress bar of pytest, on a terminal."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.support.fakes import FAKE


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("verbosity", [[], ["-v"]])
def test_under_pytest_the_bar_comes_and_goes_between_two_dots(
    verbosity: list[str], pytester: pytest.Pytester
) -> None:
    import fcntl
    import pty
    import termios

    pytester.makeconftest(FAKE)
    (pytester.path / "gate.yaml").write_text("model_name_or_path: x\nradii: [0.1]\n")
    command = [sys.executable, "-m", "pytest", "--linearity-config=gate.yaml", "--color=no"]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen([*command, *verbosity], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how Linux says that the other side is closed
            while chunk := os.read(ours, 4096):
                shown += chunk
    os.close(ours)
    assert process.returncode == 0
    text = shown.decode()
    line = "gate.yaml::radius[0.1] " if verbosity == ["-v"] else "gate.yaml "
    assert "measuring linearity:" in text, text
    bar = text.index("measuring linearity:")
    before, after = text[:bar].rstrip("\r\n"), text[bar:]
    assert before.endswith(line)
    assert "a library talks" not in text
    back = f"\x1b[1A\x1b[{len(line)}C"
    assert after.partition(back)[2].startswith("PASSED" if verbosity else ".")
