"""The limits of a run, and whether rounding leaves a verdict about them open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_linearity.numerics.measurement.limits import Limits

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config


def limits_of(config: Config) -> Limits:
    """The limits that a config sets."""
    return Limits(config.relerr_threshold, config.cos_threshold, config.metric_limits)
