"""The refined linearity radius, as the report has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pytest_linearity.report.typed import matrix, typed


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
