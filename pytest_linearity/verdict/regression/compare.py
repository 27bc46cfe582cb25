"""This run's report against an earlier one on the same pairs.

Both have measured the same directions on the same prompts, so the comparison is paired: what
chance there is lies in the draw of the directions, and cancels as far as both share it. With
ε_kp and ε'_kp the relative errors of direction k on prompt p in the baseline and now,

    d_k = mean_p (ε'_kp − ε_kp),    d̄ ± t_{0.975, K−1} · s / √K,

is Student's two-sided 95% interval of the mean difference over K directions; see `confidence`.
Where one run has measured more directions than the other, those count that both have.

Every kind of directions is compared by itself. A kind that is one vector (``update``, ``gradient``,
``file:``) has no interval and is compared by its figure; a gradient or update of another checkpoint
is another vector, which is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.confidence import mean_interval
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.kinds import by_kind
from pytest_linearity.verdict.regression.pairing import (
    count_of,
    other_vector,
    require_same_pairs,
)
from pytest_linearity.verdict.regression.rejudged import radius_under

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Figures: TypeAlias = NDArray[np.float64]

Status = Literal[
    "regressed", "within chance", "within rounding", "within limit", "no worse", "not compared"
]
"""What became of a radius: `within` says what its growth is not beyond."""

_SEVERITY: Sequence[Status] = (
    "not compared",
    "no worse",
    "within limit",
    "within rounding",
    "within chance",
    "regressed",
)
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
    kind: str = ""
    """The kind of directions that the figures are of; empty where there is but one."""
    by_kind: Mapping[str, RadiusRegression] = field(default_factory=dict)
    """Each kind by itself, where there are several: the figures above are those of the worst."""

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
    directions: int | None = None
    """How many directions both have (of a kind, where there are several), where one has more of
    them; None where they are the same."""
    notes: tuple[str, ...] = ()
    """What else a reader must know to compare, a line each."""
    by_kind: Mapping[str, Regression] = field(default_factory=dict)
    """Each kind of directions by itself, where there are several."""

    @property
    def entries(self) -> tuple[RadiusRegression, ...]:
        """What was compared: an entry per radius and kind of directions."""
        return tuple(one for at in self.radii for one in at.by_kind.values() or (at,))

    @property
    def basis(self) -> str:
        """On what both are judged, where that is not how each was; nothing where it is."""
        parts = ["by this run's limits"] if self.rejudged else []
        if self.directions is not None:
            parts.append(f"on the {self.directions} directions that both have")
        return f"judged {', '.join(parts)}" if parts else ""

    @property
    def passed(self) -> bool:
        """Whether nothing has regressed."""
        return not self.radius_fell and all(entry.passed for entry in self.radii)

    @property
    def radius_fell(self) -> bool:
        """Whether the linearity radius is smaller than the baseline's, of any kind."""
        if self.by_kind:
            return any(one.radius_fell for one in self.by_kind.values())
        return (self.linearity_radius or 0.0) < (self.baseline_radius or 0.0)

    @property
    def radius_reason(self) -> str | None:
        """Why the linearity radius has regressed, as a line for people; None where it has not."""
        if self.by_kind:
            reasons = {kind: one.radius_reason for kind, one in self.by_kind.items()}
            return "; ".join(f"{kind}: {said}" for kind, said in reasons.items() if said) or None
        if not self.radius_fell:
            return None
        by = f" ({self.basis})" if self.basis else ""
        reached = numbers.linearity_radius(self.linearity_radius)
        return f"linearity radius {reached} fell below the baseline's {self.baseline_radius}{by}"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that has regressed, each as a line for people."""
        lines = [*(entry.reason for entry in self.radii), self.radius_reason]
        return tuple(line for line in lines if line is not None)

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
    now, then = by_kind(report), by_kind(baseline)
    regressions = {
        kind: _of_one_kind(report, then[kind], max_regression, kind) for kind, report in now.items()
    }
    if len(regressions) == 1:
        return next(iter(regressions.values()))
    return _worst_of(regressions, [figures.radius for figures in report.radii])


def _of_one_kind(report: Report, baseline: Report, max_regression: float, kind: str) -> Regression:
    """Compare along one kind of directions, of which both reports are."""
    rejudged = report.limits != baseline.limits
    # Only by what both have measured can one be held against the other.
    unknown = report.limits.keys() - baseline.radii[0].figures.keys()
    common = {name: limit for name, limit in report.limits.items() if name not in unknown}
    counts = count_of(report), count_of(baseline)
    rows, fewer = range(min(counts)), counts[0] != counts[1]
    means = fewer or _verdict(report) != _verdict(baseline)
    radii = [
        radius_under(one, common, rows if fewer else None) if judged else one.linearity_radius
        for one, judged in (
            (report, means or bool(unknown)),
            (baseline, means or rejudged),
        )
    ]
    vectors = other_vector(report, baseline, kind)
    return Regression(
        radii=tuple(
            _compared(report, baseline, f.radius, rows, max_regression, vectors)
            for f in report.radii
        ),
        baseline_radius=radii[1],
        linearity_radius=radii[0],
        rejudged=rejudged,
        max_regression=max_regression,
        directions=len(rows) if fewer else None,
        notes=(vectors,) if vectors else (),
    )


def _worst_of(by_kind: Mapping[str, Regression], radii: Sequence[float]) -> Regression:
    """The comparison along several kinds of directions: at every radius that of the worst."""
    regressions = list(by_kind.values())
    fewer = [one.directions for one in regressions if one.directions is not None]
    return Regression(
        radii=tuple(_worst_at(radius, by_kind) for radius in radii),
        baseline_radius=_smallest([one.baseline_radius for one in regressions]),
        linearity_radius=_smallest([one.linearity_radius for one in regressions]),
        rejudged=any(one.rejudged for one in regressions),
        max_regression=regressions[0].max_regression,
        directions=max(fewer, default=None),
        notes=tuple(note for one in regressions for note in one.notes),
        by_kind=by_kind,
    )


def _worst_at(radius: float, by_kind: Mapping[str, Regression]) -> RadiusRegression:
    entries = {
        kind: replace(entry, kind=kind)
        for kind, regression in by_kind.items()
        for entry in regression.radii
        if entry.radius == radius
    }
    worst = max(entries.values(), key=lambda entry: _SEVERITY.index(entry.status))
    said = [f"{kind}: {entry.reason}" for kind, entry in entries.items() if entry.reason]
    return replace(worst, reason="; ".join(said) or None, by_kind=entries)


def _smallest(radii: Sequence[float | None]) -> float | None:
    return None if None in radii else min(radius for radius in radii if radius is not None)


def _verdict(report: Report) -> str:
    return str(report.config.get("verdict", "mean"))


def _compared(
    report: Report,
    baseline: Report,
    radius: float,
    rows: Sequence[int],
    max_regression: float,
    vectors: str | None,
) -> RadiusRegression:
    import numpy as np

    now, then = (_errors(one, radius, rows) for one in (report, baseline))
    entry = _paired(radius, now, then)
    lost = int((np.isfinite(then) & ~np.isfinite(now)).sum())
    if lost:
        undefined = (
            f"relative error undefined in {lost} of {now.size} (direction, prompt) pairs "
            f"at r={radius} where the baseline's is defined"
        )
        return replace(entry, status="regressed", reason=undefined)
    status = _status(entry, max_regression, _rounding(report, radius) + _rounding(baseline, radius))
    reason = _growth(entry, max_regression, vectors) if status == "regressed" else None
    return replace(entry, status=status, reason=reason)


def _errors(report: Report, radius: float, rows: Sequence[int]) -> Figures:
    """ε of every pair along some directions, [directions, prompts]; NaN where it is not finite."""
    import numpy as np

    return np.array(report.pairs[str(radius)]["relative_error"], dtype=np.float64)[rows]


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
        interval=mean_interval((current - earlier).tolist(), _CONFIDENCE),
        pairs=int(both.sum()),
        undefined=int((~both).sum()),
    )


def _by_direction(errors: Figures, defined: NDArray[np.bool_]) -> Figures:
    """Mean over the prompts of each direction that has a defined pair."""
    import numpy as np

    rows = zip(errors, defined, strict=True)
    return np.array([row[mask].mean() for row, mask in rows if mask.any()])


def _rounding(report: Report, radius: float) -> float:
    """How much rounding can move the mean: a noise floor φ moves ε by at most φ(1 + ε)."""
    figures = report.at(radius)
    return (figures.noise_floor or 0.0) * (1 + (figures.mean_relative_error or 0.0))


def _status(entry: RadiusRegression, max_regression: float, rounding: float) -> Status:
    if entry.difference is None or entry.baseline is None:
        return "not compared"
    if entry.difference <= 0:
        return "no worse"
    allowed = max_regression * entry.baseline
    if entry.difference <= allowed or math.isclose(entry.difference, allowed, rel_tol=1e-9):
        return "within limit"
    if entry.interval is not None and entry.interval[0] <= 0:
        return "within chance"
    return "within rounding" if entry.difference <= rounding else "regressed"


def _growth(entry: RadiusRegression, max_regression: float, vectors: str | None) -> str:
    by = "grew" if entry.growth is None else f"grew {_percent(entry.growth)}"
    over = "from" if entry.growth is None else "over"
    chance = (
        f"{_CONFIDENCE:.0%} interval [{entry.interval[0]:.3g}, {entry.interval[1]:.3g}]"
        if entry.interval is not None
        else "no interval from a single direction"
    )
    other = f"; {vectors}" if vectors else ""
    left_out = f"; {entry.undefined} undefined pairs left out" if entry.undefined else ""
    return (
        f"mean relative error {entry.current:.3g} {by} {over} the baseline's "
        f"{entry.baseline:.3g} at r={entry.radius} (limit {_percent(max_regression)}; "
        f"difference {entry.difference:.3g}, {chance}{left_out}{other})"
    )


def _percent(part: float) -> str:
    return f"{100 * part:.3g}%"
