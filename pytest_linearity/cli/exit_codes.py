"""Exit codes of the commands."""

from __future__ import annotations

FINE = 0
"""All went well."""
FAILED = 1
"""Something was found that the command was asked to fail for, as pytest's."""
UNUSABLE = 4
"""Input that cannot be used, as pytest's."""
INTERRUPTED = 130
"""Ctrl-C, as a shell's."""
