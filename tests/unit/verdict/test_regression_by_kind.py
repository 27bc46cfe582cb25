"""Several kinds of directions against a baseline: each is compared by itself."""

from __future__ import annotations

import pytest

from pytest_linearity.verdict.regression.compare import compare
from pytest_linearity.verdict.regression.pairing import BaselineMismatch
from tests.support.kinds import report

# Eight directions of which each is twenty times as far off, and one that is, too: their common
# mean differs by so much between directions that its interval holds everything.
THEN = {
    "gaussian": {0.1: [[0.0027 + k * 1e-5] for k in range(8)]},
    "gradient": {0.1: [[0.46]]},
}
NOW = {
    "gaussian": {0.1: [[0.0524 + k * 1e-4] for k in range(8)]},
    "gradient": {0.1: [[11.2]]},
}
HEALTHY = {"gradient": {"norm": 0.5, "vector": "a" * 64}}
ANOMALOUS = {"gradient": {"norm": 3.0, "vector": "b" * 64}}


def test_neither_hides_the_other() -> None:
    regression = compare(report(NOW), report(THEN), 0.1)
    gaussian, gradient = regression.entries
    assert (gaussian.kind, gradient.kind) == ("gaussian", "gradient")
    assert (gaussian.status, gradient.status) == ("regressed", "regressed")
    assert gaussian.baseline == pytest.approx(0.0027 + 3.5e-5)
    assert gaussian.current == pytest.approx(0.0524 + 3.5e-4)
    assert gaussian.interval is not None
    assert gaussian.interval[0] > 0.04
    assert (gradient.baseline, gradient.current) == (0.46, 11.2)
    assert gradient.interval is None
    assert not regression.passed
    [at] = regression.radii
    assert at.reason is not None
    assert at.reason.startswith("gaussian: mean relative error 0.0527 grew")
    assert "; gradient: mean relative error 11.2 grew 2.33e+03% over" in at.reason


@pytest.mark.parametrize("kind", ["gaussian", "gradient"])
def test_one_that_is_worse_suffices(kind: str) -> None:
    regression = compare(report({**THEN, kind: NOW[kind]}), report(THEN), 0.1)
    assert {e.kind: e.status for e in regression.entries if e.status != "no worse"} == {
        kind: "regressed"
    }
    [at] = regression.radii
    assert (at.kind, at.status, at.passed) == (kind, "regressed", False)
    assert str(at.reason).startswith(f"{kind}: ")


def test_other_vectors_are_said() -> None:
    now = report(NOW, vectors=ANOMALOUS)
    regression = compare(now, report(THEN, vectors=HEALTHY), 0.1)
    said = "gradient is another vector than in the baseline (norm 3 here, 0.5 there)"
    assert regression.notes == (said,)
    assert said in str(regression.radii[0].reason)
    assert compare(now, report(THEN, vectors=ANOMALOUS), 0.1).notes == ()
    # A report of old says nothing of the vector but its norm.
    old = {"gradient": {"norm": 3.0}}
    assert compare(now, report(THEN, vectors=old), 0.1).notes == ()
    assert compare(now, report(THEN, vectors={"gradient": {"norm": 3.1}}), 0.1).notes != ()


def test_the_linearity_radius_may_fall_along_one_kind_alone() -> None:
    """The other's was the smaller one before and still is."""
    small = {"update": {0.1: [[0.1]], 1.0: [[0.5]], 3.0: [[0.5]]}}
    then = report({"gaussian": {0.1: [[0.1]], 1.0: [[0.1]], 3.0: [[0.1]]}, **small})
    now = report({"gaussian": {0.1: [[0.1]], 1.0: [[0.1]], 3.0: [[0.3]]}, **small})
    assert then.linearity_radius == now.linearity_radius == 0.1
    regression = compare(now, then, 10.0)
    assert regression.radius_fell
    assert regression.radius_reason == (
        "gaussian: linearity radius 1.0 fell below the baseline's 3.0"
    )
    assert (regression.linearity_radius, regression.baseline_radius) == (0.1, 0.1)


def test_each_by_its_own_limits_of_this_run() -> None:
    """The baseline's gaussian radius is judged by this run's stricter limit for gaussian alone."""
    errors = {"gaussian": {0.1: [[0.1]], 1.0: [[0.18]]}, "update": {0.1: [[0.1]], 1.0: [[0.18]]}}
    then = report(errors)
    now = report(errors, keys={"relerr_threshold": {"gaussian": 0.15, "update": 0.2}})
    regression = compare(now, then, 0.1)
    assert (now.linearity_radius, then.linearity_radius) == (0.1, 1.0)
    assert not regression.radius_fell
    assert regression.rejudged
    radii = {kind: one.baseline_radius for kind, one in regression.by_kind.items()}
    assert radii == {"gaussian": 0.1, "update": 1.0}


def test_each_at_its_own_radii() -> None:
    errors = {"gaussian": {1.0: [[0.1]], 10.0: [[0.1]]}, "-update": {0.4: [[0.1]]}}
    worse = {**errors, "-update": {0.4: [[0.3]]}}
    regression = compare(report(worse), report(errors), 0.1)
    assert [(e.radius, e.kind, e.status) for e in regression.entries] == [
        (0.4, "-update", "regressed"),
        (1.0, "gaussian", "no worse"),
        (10.0, "gaussian", "no worse"),
    ]
    other = {"gaussian": {1.0: [[0.1]], 10.0: [[0.1]]}, "-update": {1.0: [[0.1]]}}
    with pytest.raises(BaselineMismatch, match=r"radii: .*here, .* in the baseline"):
        compare(report(worse), report(other), 0.1)
