"""The curvature ratio and what it predicts, as the report has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pytest_linearity.verdict.decode import matrix, number, typed

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
    predicted: Mapping[str, Prediction]
    """By radius (spelled as in ``metrics``): predicted beside measured."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> CurvatureFigures:
        """The exact inverse of `to_dict`; keys that are not known are left out.

        Raises:
            ValueError: If a figure is missing or of another type than it must be.
        """
        if not isinstance(values, Mapping):
            raise ValueError("second_order is not an object")
        known = {entry.name for entry in fields(cls)}
        given = {key: value for key, value in values.items() if key in known}
        for key in ("curvature_ratio", "crossing_radius"):
            given[key] = matrix(given.get(key), f"second_order.{key}")
        given["predicted"] = _predictions(given.get("predicted"))
        return typed(cls, given, "second_order.")


def _predictions(values: Any) -> dict[str, Prediction]:
    if not isinstance(values, Mapping):
        raise ValueError("second_order.predicted is not an object")
    found = {}
    for radius, figures in values.items():
        where = f"second_order.predicted.{radius}"
        number(radius, "second_order.predicted")
        if not isinstance(figures, Mapping):
            raise ValueError(f"{where} is not an object")
        known = {entry.name for entry in fields(Prediction)}
        given = {key: value for key, value in figures.items() if key in known}
        given["pairs"] = matrix(given.get("pairs"), f"{where}.pairs")
        found[radius] = typed(Prediction, given, f"{where}.")
    return found


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
    radii: Mapping[str, LayerMeans]
    """By radius (spelled as in ``metrics``) the means after every block."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object: ``names``, and beside them a key for every radius."""
        return {"names": list(self.names), **{r: asdict(found) for r, found in self.radii.items()}}

    @classmethod
    def from_dict(cls, values: Any) -> ProfileFigures:
        """The exact inverse of `to_dict`.

        Raises:
            ValueError: If something is missing or of another type or length than it must be.
        """
        names = values.get("names") if isinstance(values, Mapping) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("layers.names is not a list of texts")
        radii = {}
        for radius, figures in values.items():
            if radius == "names":
                continue
            number(radius, "layers")
            if not isinstance(figures, Mapping):
                raise ValueError(f"layers.{radius} is not an object")
            radii[radius] = LayerMeans(
                _row(figures, "relative_error", radius, len(names)),
                _row(figures, "cosine_similarity", radius, len(names)),
            )
        return cls(tuple(names), radii)


def _row(figures: Mapping[str, Any], key: str, radius: str, blocks: int) -> list[float | None]:
    where = f"layers.{radius}.{key}"
    row = figures.get(key)
    if not isinstance(row, list) or len(row) != blocks:
        raise ValueError(f"{where} is not a list of {blocks} numbers, one per block")
    return matrix([row], where)[0]


@dataclass(frozen=True)
class RefinedFigures:
    """The crossing of the limits between two tested radii, bracketed to 5%."""

    linearity_radius: float
    """The largest radius found to comply below the crossing."""
    first_failing: float
    """The smallest radius found not to comply above it."""
    evaluated: tuple[float, ...]
    """The radii that were measured for it, in the order of the bisection."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "linearity_radius": self.linearity_radius,
            "first_failing": self.first_failing,
            "evaluated": list(self.evaluated),
        }

    @classmethod
    def from_dict(cls, values: Any) -> RefinedFigures:
        """The exact inverse of `to_dict`; keys that are not known are left out.

        Raises:
            ValueError: If a figure is missing or of another type than it must be.
        """
        if not isinstance(values, Mapping):
            raise ValueError("refined is not an object")
        known = {entry.name for entry in fields(cls)}
        given = {key: value for key, value in values.items() if key in known}
        if not isinstance(given.get("evaluated"), list):
            raise ValueError("refined.evaluated is not a list")
        row = matrix([given["evaluated"]], "refined.evaluated")[0]
        if None in row:
            raise ValueError("refined.evaluated holds null")
        return typed(cls, {**given, "evaluated": tuple(row)}, "refined.")
