"""The limits and the certainty that a config sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.verdict.standing import Certainty

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config


def limits_of(config: Config) -> Limits:
    """The limits that a config sets."""
    return Limits(config.relerr_threshold, config.cos_threshold, config.metric_limits)


def certainty_of(config: Config) -> Certainty:
    """How sure a config wants the verdict to be."""
    return Certainty(config.confidence, config.sampling.level, config.verdict == "confident")
