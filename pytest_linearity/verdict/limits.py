"""The limits and the certainty that a config sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.verdict.standing import Certainty

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config


def limits_of(config: Config) -> Limits:
    """The limits that a config sets, of all kinds of directions and of each."""
    by_kind = {kind: _of_all(config.of_kind(kind)) for kind in config.directions}
    shared = _of_all(config)
    differ = any(limits != shared for limits in by_kind.values())
    return Limits(*_values(shared), by_kind=by_kind if differ else {})


def limits_along_update(config: Config) -> Limits:
    """The limits that hold from the checkpoint back to its base.

    They are those of the kind ``-update``; where each kind has limits of its own and this is none
    of them, the usual ones.
    """
    from pytest_linearity.config.config import Config as Defaults

    limits = limits_of(config).of_kind("-update")
    error, cosine = limits.relative_error, limits.cosine_similarity
    default_error, default_cosine = Defaults.relerr_threshold, Defaults.cos_threshold
    assert isinstance(default_error, float)
    assert isinstance(default_cosine, float)
    return replace(
        limits,
        relative_error=default_error if error is None else error,
        cosine_similarity=default_cosine if cosine is None else cosine,
    )


def certainty_of(config: Config) -> Certainty:
    """How sure a config wants the verdict to be."""
    return Certainty(config.confidence, config.sampling.level, config.verdict == "confident")


def _values(limits: Limits) -> tuple[float | None, float | None, Mapping[str, float]]:
    return limits.relative_error, limits.cosine_similarity, limits.metrics


def _of_all(config: Config) -> Limits:
    """Those that hold for all kinds alike; None where each kind has its own."""
    return Limits(
        _shared(config.relerr_threshold), _shared(config.cos_threshold), config.metric_limits
    )


def _shared(limit: float | Mapping[str, float]) -> float | None:
    return None if isinstance(limit, Mapping) else limit
