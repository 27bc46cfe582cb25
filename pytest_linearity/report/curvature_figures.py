"""The curvature ratio and what it predicts, as the report has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pytest_linearity.report.typed import matrix, number, typed

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
