"""From the figures of all pairs to the verdict on each radius and on the checkpoint."""

from pytest_linearity.numerics.measurement.limits import Limits, undecided
from pytest_linearity.verdict.checkpoint import judge, linearity_radius, passes
from pytest_linearity.verdict.limits import limits_of
from pytest_linearity.verdict.radius import judge_radii, judge_radius
from pytest_linearity.verdict.standing import Certainty, certainty_of

__all__ = [
    "Certainty",
    "Limits",
    "certainty_of",
    "judge",
    "judge_radii",
    "judge_radius",
    "limits_of",
    "linearity_radius",
    "passes",
    "undecided",
]
