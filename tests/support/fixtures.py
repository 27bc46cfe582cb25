"""The types of what fixtures give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]
"""Writes a config, and returns where it is: its name, and its keys."""

Run = Callable[..., pytest.RunResult]
"""Runs pytest with these arguments."""

Once = Callable[[str, Callable[[], Any]], Any]
"""Finds what has this name, unless it has been found."""

Call = Callable[..., tuple[int, str, str]]
"""Runs the command with these arguments: exit code, output and errors."""
