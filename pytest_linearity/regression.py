"""This run's report against an earlier one on the same pairs.

Both have measured the same directions on the same prompts, so the comparison is paired: what
chance there is lies in the draw of the directions, and cancels as far as both share it. With
ε_kp and ε'_kp the relative errors of direction k on prompt p in the baseline and now,

    d_k = mean_p (ε'_kp − ε_kp),    d̄ ± t_{0.975, K−1} · s / √K,

is Student's two-sided 95% interval of the mean difference over K directions (W. S. Gosset, The
probable error of a mean, 1908), s being the sample standard deviation of the d_k.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_linearity.pairing import require_same_pairs
from pytest_linearity.report.document import RadiusFigures, Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Figures: TypeAlias = NDArray[np.float64]

Status = Literal[
    "regressed", "within chance", "within rounding", "within limit", "no worse", "not compared"
]
"""What became of a radius: `within` says what its growth is not beyond."""

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class RadiusRegression:
    """How the mean relative error of one radius compares with the baseline's."""

    radius: float
    """The radius."""
    status: Status
    """What became of it."""
    baseline: float | None
    """The baseline's mean relative error over the pairs defined in both reports; None if none."""
    current: float | None
    """This run's mean relative error over the same pairs."""
    interval: tuple[float, float] | None
    """95% interval of the mean difference over directions; None for a single direction."""
    pairs: int
    """How many (direction, prompt) pairs are defined in both reports."""
    undefined: int
    """How many are not, and were left out."""
    reason: str | None = None
    """Why it has regressed, as a line for people; None where it has not."""

    @property
    def passed(self) -> bool:
        """Whether it is no worse, as far as can be told."""
        return self.status != "regressed"

    @property
    def difference(self) -> float | None:
        """This run's mean minus the baseline's; below zero is better."""
        if self.current is None or self.baseline is None:
            return None
        return self.current - self.baseline

    @property
    def growth(self) -> float | None:
        """The difference as a part of the baseline's mean; None where that is zero."""
        if self.difference is None or not self.baseline:
            return None
        return self.difference / self.baseline


@dataclass(frozen=True)
class Regression:
    """How a report compares with a baseline."""

    radii: tuple[RadiusRegression, ...]
    """One entry per radius, in ascending order."""
    baseline_radius: float | None
    """Linearity radius of the baseline, by this run's limits."""
    linearity_radius: float | None
    """Linearity radius of this run."""
    rejudged: bool
    """Whether the baseline was measured with other limits than this run's."""
    max_regression: float
    """How much a mean relative error may grow, as a part of the baseline's."""

    @property
    def passed(self) -> bool:
        """Whether nothing has regressed."""
        return not self.radius_fell and all(entry.passed for entry in self.radii)

    @property
    def radius_fell(self) -> bool:
        """Whether the linearity radius is smaller than the baseline's."""
        return (self.linearity_radius or 0.0) < (self.baseline_radius or 0.0)

    @property
    def radius_reason(self) -> str | None:
        """Why the linearity radius has regressed, as a line for people; None where it has not."""
        if not self.radius_fell:
            return None
        by = " (judged by this run's limits)" if self.rejudged else ""
        reached = "none" if self.linearity_radius is None else self.linearity_radius
        return f"linearity radius {reached} fell below the baseline's {self.baseline_radius}{by}"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that has regressed, each as a line for people."""
        found = [*(entry.reason for entry in self.radii), self.radius_reason]
        return tuple(reason for reason in found if reason is not None)

    def at(self, radius: float) -> RadiusRegression:
        """The comparison at a tested radius.

        Raises:
            KeyError: If the radius was not tested.
        """
        for entry in self.radii:
            if entry.radius == radius:
                return entry
        raise KeyError(radius)


def compare(
    report: Report, baseline: Report, max_regression: float, *, name: str = "baseline"
) -> Regression:
    """Compare a report with an earlier one, pair by pair.

    A radius has regressed when its mean relative error grew by more than `max_regression`, by more
    than chance (the 95% interval over directions lies above zero; a single direction has none, and
    the growth alone decides) and by more than rounding can cause; or when a pair that was defined
    in the baseline no longer is. The linearity radius has regressed when it is smaller.

    Args:
        report: This run's report.
        baseline: The earlier report.
        max_regression: How much a mean relative error may grow, as a part of the baseline's.
        name: What an error message calls the baseline.

    Raises:
        BaselineMismatch: If the reports are not about the same pairs.
    """
    require_same_pairs(report, baseline, name)
    limits = [_limits(one) for one in (report, baseline)]
    rejudged = limits[0] != limits[1]
    # Only by what both have measured can one be held against the other.
    unknown = limits[0].metrics.keys() - baseline.radii[0].metrics.keys()
    common = limits[0].without(unknown)
    return Regression(
        radii=tuple(_compared(report, baseline, f.radius, max_regression) for f in report.radii),
        baseline_radius=_judged(baseline, common) if rejudged else baseline.linearity_radius,
        linearity_radius=_judged(report, common) if unknown else report.linearity_radius,
        rejudged=rejudged,
        max_regression=max_regression,
    )


@dataclass(frozen=True)
class _Limits:
    """What a report is judged by."""

    relative_error: float
    """Largest mean relative error."""
    cosine_similarity: float
    """Smallest mean cosine similarity."""
    metrics: Mapping[str, float]
    """Limits of further metrics, by name."""

    def without(self, names: Collection[str]) -> _Limits:
        """The limits without those of some metrics."""
        return replace(self, metrics={n: v for n, v in self.metrics.items() if n not in names})


def _limits(report: Report) -> _Limits:
    config, metrics = report.config, report.radii[0].metrics
    return _Limits(
        config["relerr_threshold"],
        config["cos_threshold"],
        {name: found.limit for name, found in metrics.items() if found.limit is not None},
    )


def _judged(report: Report, limits: _Limits) -> float | None:
    def complies(figures: RadiusFigures) -> bool:
        error, cosine = figures.mean_relative_error, figures.mean_cosine_similarity
        if error is None or cosine is None:
            return False
        return (
            max(error, figures.noise_floor or 0.0) <= limits.relative_error
            and cosine >= limits.cosine_similarity
            and all(figures.metrics[name].keeps(v) for name, v in limits.metrics.items())
        )

    return max((f.radius for f in report.radii if complies(f)), default=None)


def _compared(
    report: Report, baseline: Report, radius: float, max_regression: float
) -> RadiusRegression:
    import numpy as np

    now, then = (_errors(one, radius) for one in (report, baseline))
    found = _paired(radius, now, then)
    lost = int((np.isfinite(then) & ~np.isfinite(now)).sum())
    if lost:
        undefined = (
            f"relative error undefined in {lost} of {now.size} (direction, prompt) pairs "
            f"at r={radius} where the baseline's is defined"
        )
        return replace(found, status="regressed", reason=undefined)
    status = _status(found, max_regression, _rounding(report, radius) + _rounding(baseline, radius))
    reason = _growth(found, max_regression) if status == "regressed" else None
    return replace(found, status=status, reason=reason)


def _errors(report: Report, radius: float) -> Figures:
    """ε of every pair, [directions, prompts]; NaN where it is not finite."""
    import numpy as np

    return np.array(report.pairs[str(radius)]["relative_error"], dtype=np.float64)


def _paired(radius: float, now: Figures, then: Figures) -> RadiusRegression:
    """The figures of the comparison, without what they mean."""
    import numpy as np

    both = np.isfinite(now) & np.isfinite(then)
    current, earlier = _by_direction(now, both), _by_direction(then, both)
    return RadiusRegression(
        radius=radius,
        status="not compared",
        baseline=float(earlier.mean()) if len(earlier) else None,
        current=float(current.mean()) if len(current) else None,
        interval=_interval(current - earlier),
        pairs=int(both.sum()),
        undefined=int((~both).sum()),
    )


def _by_direction(errors: Figures, defined: NDArray[np.bool_]) -> Figures:
    """Mean over the prompts of each direction that has a defined pair."""
    import numpy as np

    rows = zip(errors, defined, strict=True)
    return np.array([row[mask].mean() for row, mask in rows if mask.any()])


def _interval(differences: Figures) -> tuple[float, float] | None:
    """Student's interval of the mean; None for fewer than two directions."""
    count = len(differences)
    if count < 2:
        return None
    from scipy.special import stdtrit

    quantile = float(stdtrit(count - 1, (1 + _CONFIDENCE) / 2))
    half = quantile * float(differences.std(ddof=1)) / math.sqrt(count)
    mean = float(differences.mean())
    return mean - half, mean + half


def _rounding(report: Report, radius: float) -> float:
    """How much rounding can move the mean: a noise floor φ moves ε by at most φ(1 + ε)."""
    figures = report.at(radius)
    return (figures.noise_floor or 0.0) * (1 + (figures.mean_relative_error or 0.0))


def _status(found: RadiusRegression, max_regression: float, rounding: float) -> Status:
    if found.difference is None or found.baseline is None:
        return "not compared"
    if found.difference <= 0:
        return "no worse"
    allowed = max_regression * found.baseline
    if found.difference <= allowed or math.isclose(found.difference, allowed, rel_tol=1e-9):
        return "within limit"
    if found.interval is not None and found.interval[0] <= 0:
        return "within chance"
    return "within rounding" if found.difference <= rounding else "regressed"


def _growth(found: RadiusRegression, max_regression: float) -> str:
    by = "grew" if found.growth is None else f"grew {_percent(found.growth)}"
    over = "from" if found.growth is None else "over"
    chance = (
        f"{_CONFIDENCE:.0%} interval [{found.interval[0]:.3g}, {found.interval[1]:.3g}]"
        if found.interval is not None
        else "no interval from a single direction"
    )
    left_out = f"; {found.undefined} undefined pairs left out" if found.undefined else ""
    return (
        f"mean relative error {found.current:.3g} {by} {over} the baseline's "
        f"{found.baseline:.3g} at r={found.radius} (limit {_percent(max_regression)}; "
        f"difference {found.difference:.3g}, {chance}{left_out})"
    )


def _percent(part: float) -> str:
    return f"{100 * part:.3g}%"
