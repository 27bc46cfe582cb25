"""Jδ from values alone, at the steps where they tell it best, and a tangent held against it.

How far a model is curved, and so how large a step may be, is known of no model beforehand: where
parameters are small, it may be by many orders of magnitude less than the radius. Steps are tried on
a ladder, first around the radius, which is the scale on which the model is looked at, and from
there wherever the figures lead. Far up the curvature spoils a difference and far down rounding
does; in between two neighbouring rungs agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor

from pytest_linearity.numerics.derivatives import extrapolate, steps

ValuesAt = Callable[[Sequence[float]], Mapping[float, Tensor]]
"""Evaluates f(θ* + sδ) at steps s, float64 Tensors [prompts, V]."""

_FACTOR = 4.0
"""Ratio of two rungs: a power of two, so that they share evaluations."""
_RUNGS = 6
"""So many are tried at once; upwards fewer, as forwards are not made for large steps."""
_HIGHEST, _LOWEST = -12, 72
"""Where the ladder ends, in rungs from the first: at 7e7 and 2e-43 of the radius."""
_ENOUGH = 1e-7
"""An agreement of neighbours that need not be bettered."""
_PLENTY = 1e-10
"""An agreement that is better than anybody asks for."""
_ENTERS = 64 / 45 * 2
"""Noise ν in a difference of two values is an error of so many ν/h in the slope."""
_UNSURE = 0.1
"""Differences that agree to no more than this say nothing of a slope."""
_SURE = 0.01
"""An agreement that is no accident."""
_TURN = 100
"""Where neighbours agree so much worse than further up, rounding has taken over."""
_NOISE = 1e-10
"""Differences that are smaller than this, relative to the logits, tell nothing further down."""


@dataclass(frozen=True)
class Slope:
    """Jδ from central differences."""

    derivative: Tensor
    """Jδ, float64 Tensor [prompts, V]."""
    step: float
    """The largest step that it was extrapolated from."""
    error: float
    """Its relative error: what there is between it and the same from smaller steps; ``inf`` where
    no two steps agree in anything."""


def nudges(radius: float) -> tuple[float, float]:
    """Two steps on both sides of θ*, by which a tangent is checked.

    So small that curvature is far below rounding in most models, and that a router does not change
    its choice on the way; and large enough for float64.
    """
    return radius * 2.0**-13, -radius * 2.0**-13


class Ladder:
    """The steps that have been tried, and what they gave."""

    def __init__(self, values_at: ValuesAt, baseline: Tensor, radius: float) -> None:
        """A ladder on which nothing has been tried.

        Args:
            values_at: Evaluates f.
            baseline: f(θ*), float64 Tensor [prompts, V].
            radius: The scale on which the model is looked at.
        """
        self._values_at = values_at
        self._baseline = baseline
        self._size = float(baseline.norm())
        self._first = _FACTOR * radius
        self._values: dict[float, Tensor] = {}
        self._slopes: dict[int, Tensor] = {}

    def climb(self) -> Slope:
        """Try steps until two neighbours agree, or nothing better is to be expected."""
        self._try(range(_RUNGS))
        while isfinite(self._size):
            top, bottom = min(self._slopes), max(self._slopes)
            rung, error, turned = self._best()
            if error <= _ENOUGH:
                break
            moves = self._moves()
            if rung == top > _HIGHEST and (error < _UNSURE or not moves):
                self._try(range(top - 2, top))
            elif moves and not turned and bottom < _LOWEST:
                self._try(range(bottom + 1, bottom + 1 + _RUNGS))
            else:
                break
        rung, error = self._nearest(*self._best()[:2])
        slope = self._slopes[rung]
        return Slope(slope, self._step(rung), error if slope.any() else 0.0)

    def rounding(self) -> float:
        """Norm of what rounding adds to the change of one prompt's logits, once climbed.

        From the best rung downwards it is all that neighbours differ by. It enters the slope of the
        lower by the smallest of its steps most: h/4, with the weight 64/45. Not one of these rungs
        will do: what is rounded more coarsely than in float64 does not move at all at small steps.
        """
        best = self._best()[0]
        below = [rung for rung in self._slopes if rung >= best and rung + 1 in self._slopes]
        return max(
            mean_norm(self._slopes[rung] - self._slopes[rung + 1]) * self._step(rung + 1) / _ENTERS
            for rung in below
        )

    def _best(self) -> tuple[int, float, bool]:
        """The rung that agrees best with the next one below, how well, and whether it is a turn.

        From the top: what is rounded more coarsely than in float64 stands still at small steps, and
        there all agree on a slope that lacks it.
        """
        best, least = min(self._slopes), inf
        for rung in sorted(self._slopes.keys() - {max(self._slopes)}):
            error = self._error(rung)
            if error > _TURN * least and least < _SURE:
                return best, least, True
            if error < least:
                best, least = rung, error
        return best, least, False

    def _nearest(self, best: int, least: float) -> tuple[int, float]:
        """The rung furthest down that is as good for all purposes, and how well it agrees.

        Along other prompts and directions there may be a jump within a large step, as where a hash
        bucket changes.
        """
        rung, error = best, least
        while rung + 2 in self._slopes:
            lower = self._error(rung + 1)
            gap = float((self._slopes[rung + 1] - self._slopes[best]).norm())
            if max(lower, gap / (float(self._slopes[best].norm()) or 1.0)) > _PLENTY:
                break
            rung, error = rung + 1, lower
        return rung, error

    def _error(self, rung: int) -> float:
        slope, below = self._slopes[rung], self._slopes[rung + 1]
        size = float(slope.norm())
        error = float((slope - below).norm()) / size if size else inf
        return error if isfinite(error) else inf

    def _moves(self) -> bool:
        """Whether logits change by more than rounding at the smallest step; or are not finite.

        A change that is the same on both sides counts: what is flat on the scale of large steps has
        its slope at small ones.
        """
        step = min(map(abs, self._values))
        sides = (self._values[at] - self._baseline for at in (step, -step))
        return not sum(float(side.norm()) for side in sides) <= _NOISE * self._size

    def _try(self, rungs: Iterable[int]) -> None:
        new = [rung for rung in rungs if self._step(rung) > 0]
        wanted = {step for rung in new for step in steps(self._step(rung))}
        self._values.update(self._values_at(sorted(wanted - self._values.keys())))
        for rung in new:
            self._slopes[rung] = extrapolate(self._values, self._step(rung))

    def _step(self, rung: int) -> float:
        return float(self._first * _FACTOR**-rung)


_LOST = 1e-4
"""A tangent that is off by more, relative to the derivative, has lost a part of it."""


def rounding_of_checked(tangent: Tensor, near: Mapping[float, Tensor], ladder: Ladder) -> float:
    """Hold a tangent against differences: it is lost where values leave torch, or are detached.

    Args:
        tangent: Jδ by forward mode, float64 Tensor [prompts, V].
        near: f at the steps of `nudges`.
        ladder: Climbed where these do not settle it.

    Returns:
        The norm of what rounding adds to the change of one prompt's logits, in float64.

    Raises:
        ArithmeticError: If forward mode gives another derivative than differences do.
    """
    step = max(near)
    change = near[step] - near[-step]
    gap = change - 2 * step * tangent
    if float(gap.norm()) <= _LOST * float(change.norm()):
        return mean_norm(gap)
    slope = ladder.climb()
    error, size = float((slope.derivative - tangent).norm()), float(slope.derivative.norm())
    if size and slope.error < _UNSURE and error > max(_LOST, 10 * slope.error) * size:
        raise ArithmeticError(
            "forward mode loses part of the derivative: it is off by a vector of norm "
            f"{error:.3g} from central differences of norm {size:.3g}"
        )
    return ladder.rounding()


def mean_norm(logits: Tensor) -> float:
    """The mean over prompts of the norm of their logits, Tensor [prompts, V]."""
    return float(torch.linalg.vector_norm(logits.double(), dim=-1).mean())
