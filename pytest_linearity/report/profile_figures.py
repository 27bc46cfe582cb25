"""The layer profile, as the report has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytest_linearity.report.typed import matrix, number


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
