"""How much a fuzzer tries: little in the suite, much in `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

CASES = "LINEARITY_FUZZ_CASES"
"""The environment variable that says how many cases each fuzzer tries."""


def cases(default: int) -> int:
    """How many cases to try.

    Args:
        default: So many as take a few seconds.
    """
    return int(os.environ.get(CASES, default))


def fuzzing(default: int) -> settings:
    """Hypothesis' settings for so many cases, which are the same every time."""
    return settings(
        max_examples=cases(default),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
