"""What tells why a radius does not comply, as the report has it: curvature, layers, crossing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_linearity.verdict.decode import Spelled, decode_value, encode

Matrix = list[list[float | None]]
"""A figure of every pair: a list of directions that are lists of prompts; ``None`` where it is not
finite."""


@dataclass(frozen=True)
class Prediction:
    """The relative error that curvature alone would cause at one radius, and the measured one."""

    relative_error: float | None
    """Mean of rκ/2 over all pairs."""
    measured_over_predicted: float | None
    """The measured mean over the predicted one: about 1 where curvature explains the error."""
    pairs: Matrix
    """The same quotient for every pair."""


@dataclass(frozen=True)
class CurvatureFigures:
    """Second order: ε ≈ rκ/2 to first order in r, by Taylor's theorem."""

    mean_curvature_ratio: float | None
    """Mean of κ over all pairs, in one over the unit of the radii; ``None`` where not defined."""
    std_curvature_ratio: float | None
    """Standard deviation of κ over all pairs (population)."""
    predicted_crossing_radius: float | None
    """The radius at which the predicted mean relative error reaches its limit; ``None`` where none
    is reached, or κ is not defined."""
    curvature_ratio: Matrix
    """κ of every pair."""
    crossing_radius: Matrix
    """The predicted crossing of every pair."""
    predicted: Mapping[Spelled, Prediction]
    """By radius (spelled as in ``metrics``): predicted beside measured."""
    by_kind: Mapping[str, CurvatureFigures] = field(default_factory=dict)
    """The same of each kind of directions, where there are several."""


@dataclass(frozen=True)
class LayerMeans:
    """The last token's hidden state after every block, at one radius."""

    relative_error: list[float | None]
    """Mean of ε over all pairs, a number per block; ``None`` where it is not finite."""
    cosine_similarity: list[float | None]
    """Mean of c over all pairs, a number per block."""


@dataclass(frozen=True)
class ProfileFigures:
    """Where along the blocks the non-linearity enters."""

    names: tuple[str, ...]
    """The blocks, in running order."""
    radii: Mapping[Spelled, LayerMeans]
    """By radius (spelled as in ``metrics``) the means after every block."""
    by_kind: Mapping[str, Mapping[Spelled, LayerMeans]] = field(default_factory=dict)
    """The same of each kind of directions, where there are several."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object: ``names``, and beside them a key for every radius."""
        by_kind = {"by_kind": encode(self.by_kind)} if self.by_kind else {}
        return {"names": list(self.names), **encode(self.radii), **by_kind}

    @classmethod
    def from_dict(cls, values: Any) -> ProfileFigures:
        """The exact inverse of `to_dict`.

        Raises:
            ValueError: If something is missing or of another type or length than it must be.
        """
        further = dict(values) if isinstance(values, Mapping) else {}
        names = decode_value(tuple[str, ...], further.pop("names", None), "layers.names")
        kinds = decode_value(Mapping[str, Any], further.pop("by_kind", {}), "layers.by_kind")
        radii = _profile(further, "layers", names)
        by_kind = {
            kind: _profile(of, f"layers.by_kind.{kind}", names) for kind, of in kinds.items()
        }
        return cls(names, radii, by_kind)


def _profile(values: Any, where: str, names: tuple[str, ...]) -> Mapping[str, LayerMeans]:
    profile: Mapping[str, LayerMeans]
    profile = decode_value(Mapping[Spelled, LayerMeans], values, where)
    for radius, means in profile.items():
        for key, row in vars(means).items():
            if len(row) != len(names):
                raise ValueError(
                    f"{where}.{radius}.{key} is not a list of {len(names)} numbers, one per block"
                )
    return profile


@dataclass(frozen=True)
class RefinedFigures:
    """The crossing of the limits between two tested radii, bracketed to 5%."""

    linearity_radius: float
    """The largest radius found to comply below the crossing."""
    first_failing: float
    """The smallest radius found not to comply above it."""
    evaluated: tuple[float, ...]
    """The radii that were measured for it, in the order of the bisection."""
