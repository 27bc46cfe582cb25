"""The progress bar: there on a terminal, gone afterwards, silent elsewhere."""

from __future__ import annotations

import io
import time
from contextlib import suppress

import pytest

from pytest_linearity.run.progress import ProgressBar


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
