"""What a report says of the update from a base."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UpdateFigures:
    """What a report says of the update from the base."""

    base: str
    """The base, as it is named."""
    named_by: str | None = None
    """The file beside the checkpoint that names it; ``None`` where the config does."""
    norm: float | None = None
    """‖θ* − θ_base‖ over the parameters in scope; ``None`` where it was not measured."""
    mean_relative_error: float | None = None
    """Mean of ε over the prompts, from the checkpoint back to the base; ``None`` where one is not
    defined."""
    mean_cosine_similarity: float | None = None
    """Mean of c, likewise."""
    noise_floor: float | None = None
    """Relative error that rounding alone causes there."""
    complies: bool | None = None
    """Whether both are within their limits: whether the fine-tune is in its linear regime."""
    reason: str | None = None
    """Why it is not, or why it was not measured."""
    complying_length: float | None = None
    """The largest length along the update below the crossing of the limits that complies; ``None``
    where none that was tried does."""
    failing_length: float | None = None
    """The smallest above it that does not, at most 5% more; ``None`` where all comply."""
    in_linearity_radii: float | None = None
    """The norm over the length at which the limits are crossed; ``None`` where that is not
    known."""
