"""How the mean of one metric stands to its limit, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from pytest_linearity.numerics.metrics.metric import Side
from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.confidence import Interval, mean_interval


@dataclass(frozen=True)
class Certainty:
    """How sure a verdict is to be."""

    confidence: float
    """How often the intervals of all looks hold the true mean together; what people are told."""
    level: float
    """Confidence of the interval of a single look; the same where there is but one."""
    required: bool = False
    """Whether the whole interval must keep a limit (`verdict: confident`), or the mean alone."""

    def interval(self, values: Tensor, bounds: Interval) -> Interval | None:
        """The interval of the mean over all directions.

        Args:
            values: A figure of all pairs, float64 Tensor [directions, prompts].
            bounds: Between which a mean lies in any case.

        Returns:
            None for a single direction, or where a figure is not finite.
        """
        ends = mean_interval(values.mean(dim=-1).tolist(), self.level)
        return ends and (max(ends[0], bounds[0]), min(ends[1], bounds[1]))


@dataclass(frozen=True)
class Standing:
    """How a mean stands to its limit."""

    reason: str | None = None
    """Why it does not comply, as ``mean kl 0.08 > 0.05``; None when it does."""
    doubt: str | None = None
    """The interval, as people read it, where the limit lies inside; None where it does not."""


def standing(
    label: str,
    mean: float | None,
    interval: Interval | None,
    limit: float | None,
    good: Side,
    certainty: Certainty | None,
) -> Standing:
    """Hold a mean and its interval against a limit.

    Args:
        label: What the metric is called.
        mean: Its mean; None where that is not defined, for a reason that is given elsewhere.
        interval: The interval of the mean, if it has one.
        limit: Its limit; None for none.
        good: Which values are good ones.
        certainty: How sure the verdict is to be; None where the mean alone is looked at.
    """
    if mean is None or limit is None:
        return Standing()
    broken = mean > limit if good == "smaller" else mean < limit
    reason = f"mean {label} {numbers.against(mean, limit, '>' if good == 'smaller' else '<')}"
    if interval is None or certainty is None:
        return Standing(reason if broken else None)
    low, high = interval
    beyond = low > limit if good == "smaller" else high < limit
    within = high <= limit if good == "smaller" else low >= limit
    confidence = numbers.percent(certainty.confidence)
    said = f"{confidence} interval {numbers.interval_around(interval, limit)}"
    if not beyond and not within:
        if certainty.required:
            apart = f"mean {label} {numbers.against(mean, limit, 'from')}"
            return Standing(f"more directions are needed to tell {apart}", said)
        return Standing(reason if broken else None, said)
    if broken and certainty.required:
        reason = f"{reason} (limit broken: {said})"
    return Standing(reason if broken else None)


def surely_broken(standings: Iterable[Standing]) -> bool:
    """Whether a limit is broken that more directions would not show to be kept."""
    return any(one.reason and not one.doubt for one in standings)


def reasons(standings: Sequence[Standing], certainty: Certainty | None) -> list[str | None]:
    """What each metric of a sample adds to the reason why it does not comply; None for nothing.

    Where a limit is surely broken, doubt about another has no part in it.

    Args:
        standings: Of all its metrics.
        certainty: How sure the verdict is to be; None where the means alone are looked at.
    """
    required = certainty is not None and certainty.required
    settled = surely_broken(standings)
    return [_reason(one, required=required, settled=settled) for one in standings]


def _reason(one: Standing, *, required: bool, settled: bool) -> str | None:
    if one.reason is None or not one.doubt:
        return one.reason
    if settled:
        return None if required else one.reason
    return f"{one.reason} ({one.doubt if required else f'inconclusive: {one.doubt}'})"
