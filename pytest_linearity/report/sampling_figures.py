"""How many directions the figures rest on, as the report has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pytest_linearity.errors import shown
from pytest_linearity.report.typed import typed


@dataclass(frozen=True)
class SamplingFigures:
    """The sample of random directions, and when it was looked at."""

    directions: int
    """How many directions of each random kind were measured; 0 where no kind is random."""
    rounds: tuple[int, ...]
    """How many there were after each round."""
    planned: tuple[int, ...]
    """How many there would have been after each round, had all been needed."""
    confidence: float
    """How often the intervals of all planned looks hold the true mean together."""
    level: float
    """Confidence of the interval of each look, which that takes."""
    settled: tuple[float, ...]
    """The radii whose verdict more directions would not change, at this confidence."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Any) -> SamplingFigures:
        """The exact inverse of `to_dict`; keys that are not known are left out.

        Raises:
            ValueError: If a part is missing or of another type than it must be.
        """
        if not isinstance(values, Mapping):
            raise ValueError("sampling is not an object")
        known = {key.name for key in fields(cls)}
        given = {key: value for key, value in values.items() if key in known}
        for name in ("rounds", "planned", "settled"):
            if name in given:
                kind = float if name == "settled" else int
                given[name] = _numbers(given[name], kind, f"sampling.{name}")
        return typed(cls, given, "sampling.")


def _numbers(values: Any, kind: type, name: str) -> tuple[Any, ...]:
    accepted = (int, float) if kind is float else (int,)
    if not isinstance(values, list) or not all(
        isinstance(value, accepted) and not isinstance(value, bool) for value in values
    ):
        raise ValueError(f"{name} is {shown(values)}, not a list of numbers")
    return tuple(kind(value) for value in values)
