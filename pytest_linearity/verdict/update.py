"""The verdict on a fine-tune: is it within its linear regime, along its own update?

The update is looked at from its end: from the checkpoint back to the base, along −(θ* − θ_base) and
as far as it is long. ε and c within the limits there mean that the base's logits are what the
checkpoint's derivative predicts.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING

from pytest_linearity.verdict.limits import certainty_of, limits_along_update
from pytest_linearity.verdict.radius import judge_radii
from pytest_linearity.verdict.update_figures import UpdateFigures

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.verdict.findings import UpdateFindings


def judge_update(found: UpdateFindings | None, config: Config) -> UpdateFigures | None:
    """What was found along the update, held against the limits of a config.

    Args:
        found: What was found; None for nothing.
        config: Sets the limits, those of the kind ``-update`` where each kind has its own.
    """
    if found is None:
        return None
    figures = UpdateFigures(found.base, found.named_by, found.norm, reason=found.skipped)
    if found.measurement is None or found.norm is None:
        return figures
    (judged,) = judge_radii(
        found.measurement,
        found.measurement.radii,
        limits_along_update(config),
        config.chosen_metrics,
        certainty_of(config),
    )
    crossing = sqrt(found.low * found.high) if found.low and found.high else None
    return replace(
        figures,
        mean_relative_error=judged.mean_relative_error,
        mean_cosine_similarity=judged.mean_cosine_similarity,
        noise_floor=judged.noise_floor,
        complies=judged.complies,
        reason=judged.reason,
        complying_length=found.low,
        failing_length=found.high,
        in_linearity_radii=crossing and found.norm / crossing,
    )
