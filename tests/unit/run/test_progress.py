"""The progress bar: there on a terminal, gone afterwards, silent elsewhere."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from fakes import FAKE

from pytest_linearity.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_far_it_is() -> None:
    stream = Terminal()
    with ProgressBar(stream, "measuring") as bar:
        bar(1, 4)
        time.sleep(0.15)  # a bar is not redrawn more often than people can see
        bar(2, 4)
    shown = stream.getvalue()
    assert "measuring:  50%" in shown
    assert "2/4" in shown
    assert "\n" not in shown
    assert shown.endswith(" \r")  # wiped out


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_silent_where_there_is_no_terminal(stream: io.StringIO | None) -> None:
    with ProgressBar(stream, "measuring") as bar:
        bar(1, 2)
        bar(2, 2)
    assert stream is None or not stream.getvalue()


def test_a_line_begun_by_somebody_else_is_gone_on_with() -> None:
    stream = Terminal()
    with ProgressBar(stream, "measuring", column=lambda: 12) as bar:
        bar(1, 2)
    assert stream.getvalue().startswith("\n")
    assert stream.getvalue().endswith("\r\x1b[1A\x1b[12C")  # up one line, twelve to the right


def test_gone_after_an_interruption() -> None:
    stream = Terminal()
    bar = ProgressBar(stream, "measuring")
    with suppress(KeyboardInterrupt), bar:
        bar(1, 2)
        raise KeyboardInterrupt
    assert stream.getvalue().endswith(" \r")


def test_nothing_to_show_nothing_shown() -> None:
    stream = Terminal()
    with ProgressBar(stream, "measuring", column=lambda: 12):
        pass
    assert not stream.getvalue()


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
