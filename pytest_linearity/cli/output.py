"""Standard output as a terminal, a pipe or a file."""

from __future__ import annotations

import shutil
import sys

from pytest_linearity.report.style import Style


def style() -> Style:
    """That of standard output, which may be redirected."""
    return Style(
        width=shutil.get_terminal_size().columns,
        color=sys.stdout.isatty(),
        encoding=sys.stdout.encoding or "utf-8",  # none where it is kept as text
    )
