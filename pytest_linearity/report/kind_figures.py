"""The figures of one kind of directions among several, as the report has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pytest_linearity.confidence import Interval
from pytest_linearity.report.metric_figures import MetricFigures, metric_figures
from pytest_linearity.report.typed import as_list, intervals, typed

if TYPE_CHECKING:
    from pytest_linearity.report.document import RadiusFigures


@dataclass(frozen=True)
class KindFigures:
    """What was found at one radius along the directions of one kind."""

    mean_relative_error: float | None
    """Mean of ε over the (direction, prompt) pairs of this kind; ``None`` where not defined."""
    std_relative_error: float | None
    """Standard deviation of ε over these pairs (population)."""
    mean_cosine_similarity: float | None
    """Mean of c over these pairs."""
    std_cosine_similarity: float | None
    """Standard deviation of c over these pairs."""
    complies: bool
    """Whether all means of this kind are within their limits."""
    reason: str | None = None
    """Why not; ``None`` when they are."""
    metrics: Mapping[str, MetricFigures] = field(default_factory=dict)
    """What was asked for besides relative error and cosine similarity, by name."""
    interval_relative_error: Interval | None = None
    """Where the mean of ε over all directions of this kind lies; ``None`` for a single one."""
    interval_cosine_similarity: Interval | None = None
    """Where the mean of c over all directions of this kind lies."""
    inconclusive: bool = False
    """Whether more directions of this kind could change the verdict on it."""

    @classmethod
    def of(cls, figures: RadiusFigures) -> KindFigures:
        """What is kept of figures that were judged by themselves."""
        return cls(**{key.name: getattr(figures, key.name) for key in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this kind."""
        figures = {key.name: getattr(self, key.name) for key in fields(self)}
        for name in ("interval_relative_error", "interval_cosine_similarity"):
            figures[name] = as_list(figures[name])
        del figures["metrics"]
        if self.metrics:
            figures["metrics"] = {name: found.to_dict() for name, found in self.metrics.items()}
        return figures


def kind_figures(values: Any, name: str) -> dict[str, KindFigures]:
    """The exact inverse of `KindFigures.to_dict`, for all kinds of a radius.

    Args:
        values: An object of objects; keys that are not known are left out.
        name: What a message calls it.

    Raises:
        ValueError: If a figure is missing or of another type than it must be.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is not an object")
    known = {key.name for key in fields(KindFigures)}
    found = {}
    for kind, figures in values.items():
        where = f"{name}.{kind}"
        if not isinstance(figures, Mapping):
            raise ValueError(f"{where} is not an object")
        given = {key: value for key, value in figures.items() if key in known}
        given |= intervals(given, f"{where}.")
        further = metric_figures(figures.get("metrics", {}), f"{where}.metrics")
        found[kind] = typed(KindFigures, {**given, "metrics": further}, f"{where}.")
    return found
