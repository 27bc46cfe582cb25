"""Several kinds of directions: judged each by itself, and the worst is the verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from pytest_linearity.numerics.metrics.spread import mean_std
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.judge import judge
from pytest_linearity.verdict.kinds import by_kind, must_comply, worst_kinds
from tests.support.kinds import config_of, findings, measurement, report
from tests.support.schema import faults

# At r = 1 and 10 along eight directions of one kind, at 0.4 along the one of another.
GAUSSIAN = {1.0: [[0.01, 0.02]] * 3, 10.0: [[0.10, 0.12], [0.1, 0.1], [0.1, 0.14]]}
ERRORS = {"gaussian": GAUSSIAN, "-update": {0.4: [[0.3, 0.1]]}}
EVERYTHING: dict[str, Any] = {
    "kappa": {"gaussian": 0.02, "-update": 1.0},
    "blocks": 3,
    "refined": {"gaussian": (13.0, 13.5)},
}


class TestOwnRadii:
    def test_each_kind_is_judged_at_its_own(self) -> None:
        judged = report(ERRORS)
        assert [f.radius for f in judged.radii] == [0.4, 1.0, 10.0]
        assert [list(f.by_kind) for f in judged.radii] == [
            ["-update"],
            ["gaussian"],
            ["gaussian"],
        ]
        assert judged.at(0.4).mean_relative_error == pytest.approx(0.2)
        assert judged.at(10.0).mean_relative_error == pytest.approx(0.11)
        assert all(f.complies for f in judged.radii)

    def test_the_linearity_radius_is_that_of_the_worst(self) -> None:
        judged = report(ERRORS)
        assert judged.linearity_radius == 0.4
        assert worst_kinds(judged) == ("-update",)
        document = judged.to_dict()
        assert document["linearity_radius_by_kind"] == {"gaussian": 10.0, "-update": 0.4}
        none = report({**ERRORS, "gaussian": {1.0: [[0.5, 0.5]], 10.0: [[0.5, 0.5]]}})
        assert none.linearity_radius is None
        assert worst_kinds(none) == ("gaussian",)
        assert none.at(1.0).reason == "gaussian: mean relative error 0.50 > 0.20"

    def test_none_is_the_worst_where_all_reach_equally_far(self) -> None:
        same = {"gaussian": {0.1: [[0.1]], 1.0: [[0.5]]}, "update": {0.1: [[0.0]], 1.0: [[0.9]]}}
        assert report(same).linearity_radius == 0.1
        assert worst_kinds(report(same)) == ()
        assert worst_kinds(report({"gaussian": GAUSSIAN})) == ()

    def test_pairs_are_those_of_the_kinds_that_have_the_radius(self) -> None:
        pairs = report(ERRORS).pairs
        assert pairs["0.4"]["relative_error"] == [[0.3, 0.1]]
        assert pairs["10.0"]["relative_error"] == GAUSSIAN[10.0]

    def test_is_read_back_exactly_and_keeps_the_schema(self) -> None:
        keys = {"second_order": True, "layer_profile": True, "refine": True}
        judged = report(ERRORS, keys=keys, **EVERYTHING)
        document = json.loads(json.dumps(judged.to_dict(), allow_nan=False))
        assert Report.from_dict(document) == judged
        assert [f for f in faults(document) if ".probes" not in f and ".scope" not in f] == [
            f for f in faults(report({"gaussian": GAUSSIAN}).to_dict()) if ".environment" in f
        ]


class TestOwnLimits:
    def test_each_kind_keeps_its_own(self) -> None:
        errors = {"gaussian": {1.0: [[0.3, 0.3]]}, "update": {1.0: [[0.4, 0.4]]}}
        strict = {"gaussian": 0.2, "update": 0.5}
        judged = report(errors, keys={"relerr_threshold": strict, "cos_threshold": -1})
        assert judged.at(1.0).reason == "gaussian: mean relative error 0.30 > 0.20"
        assert judged.at(1.0).by_kind["update"].complies
        assert {k: r.limits["relative_error"] for k, r in by_kind(judged).items()} == strict
        assert "relative_error" not in judged.limits
        swapped = {"gaussian": 0.35, "update": 0.35}
        judged = report(errors, keys={"relerr_threshold": swapped, "cos_threshold": -1})
        assert judged.at(1.0).reason == "update: mean relative error 0.40 > 0.35"

    def test_cosine_similarity_and_reading_back(self) -> None:
        keys = {"cos_threshold": {"gaussian": 0.99, "-update": 0.5}}
        judged = report(ERRORS, keys=keys)
        reason = judged.at(10.0).reason
        assert str(reason).startswith("gaussian: mean cosine similarity 0.989 < 0.990 (inconcl")
        assert Report.from_dict(judged.to_dict()) == judged

    def test_the_predicted_crossing_is_of_each_limit(self) -> None:
        keys = {"second_order": True, "relerr_threshold": {"gaussian": 0.2, "-update": 0.4}}
        judged = report(ERRORS, keys=keys, kappa=EVERYTHING["kappa"])
        assert judged.second_order is not None
        assert judged.second_order.predicted_crossing_radius is None
        assert judged.second_order.crossing_radius == [
            *[pytest.approx([20.0, 20.0])] * 3,
            pytest.approx([0.8, 0.8]),
        ]
        crossings = {
            kind: one.second_order and one.second_order.predicted_crossing_radius
            for kind, one in by_kind(judged).items()
        }
        assert crossings == {"gaussian": pytest.approx(20.0), "-update": pytest.approx(0.8)}

    def test_the_least_linearity_radius_may_be_of_each(self) -> None:
        errors = {"gaussian": {1.0: [[0.1]], 10.0: [[0.9]]}, "update": {0.1: [[0.1]], 0.4: [[0.9]]}}
        assert not report(errors).passed
        for least, passed in (
            ({"gaussian": 1.0, "update": 0.1}, True),
            ({"gaussian": 1.0, "update": 0.4}, False),
            ({"gaussian": None, "update": 0.1}, False),
            (0.1, True),
        ):
            judged = report(errors, keys={"min_linearity_radius": least})
            assert judged.passed is passed, least
        judged = report(errors, keys={"min_linearity_radius": {"gaussian": 1.0, "update": 0.4}})
        assert must_comply(judged.at(0.4), judged.config)
        assert not must_comply(judged.at(10.0), judged.config)


class TestEachByItself:
    KEYS: ClassVar = {"second_order": True, "layer_profile": True, "refine": True}

    def test_is_the_report_that_the_kind_would_have_had_alone(self) -> None:
        """Judged together and taken apart, or judged alone."""
        judged = report(ERRORS, keys=self.KEYS, **EVERYTHING)
        for kind, errors in ERRORS.items():
            alone = findings({kind: errors}, kappa=EVERYTHING["kappa"], blocks=3)
            crossing = measurement(ERRORS, refined=EVERYTHING["refined"]).by_kind[kind].refinement
            alone = replace(alone, measurement=replace(alone.measurement, refinement=crossing))
            config = config_of({kind: errors}, **{**self.KEYS, "num_directions": 3})
            expected = judge(alone, config)
            apart = by_kind(judged)[kind]
            for part in (
                "radii",
                "linearity_radius",
                "passed",
                "pairs",
                "config",
                "second_order",
                "layers",
                "refined",
                "limits",
            ):
                assert getattr(apart, part) == getattr(expected, part), part
            assert apart.config["directions"] == [kind]

    def test_pairs_are_its_own_where_kinds_share_a_radius(self) -> None:
        errors = {
            "gaussian": {0.1: [[0.1], [0.2]]},
            "update": {0.1: [[0.3]]},
            "gradient": {0.1: [[0.4]]},
        }
        rows = {k: r.pairs["0.1"]["relative_error"] for k, r in by_kind(report(errors)).items()}
        assert rows == {"gaussian": [[0.1], [0.2]], "update": [[0.3]], "gradient": [[0.4]]}

    def test_what_was_measured_at_radii_of_others_is_left_out(self) -> None:
        """As for the mark of a test, which may ask for more."""
        more = {"gaussian": {0.4: [[0.1]], 1.0: [[0.1]]}, "-update": {0.4: [[0.1]], 1.0: [[0.9]]}}
        asked = config_of(more, radii={"gaussian": [0.4, 1.0], "-update": [0.4]})
        judged = judge(findings(more), asked)
        assert [list(f.by_kind) for f in judged.radii] == [["gaussian", "-update"], ["gaussian"]]
        assert judged.pairs["1.0"]["relative_error"] == [[0.1]]
        assert judged.passed

    def test_figures_over_all_are_of_the_kinds_at_the_radius(self) -> None:
        judged = report(ERRORS, keys=self.KEYS, **EVERYTHING)
        assert judged.layers is not None
        assert judged.layers.radii["0.4"].relative_error[-1] == pytest.approx(0.2)
        assert judged.second_order is not None
        assert judged.second_order.predicted["0.4"].relative_error == pytest.approx(0.2)
        assert judged.second_order.predicted["10.0"].relative_error == pytest.approx(0.1)
        mean, _ = mean_std(measurement(ERRORS).relative_error[2, :3])
        assert judged.at(10.0).mean_relative_error == mean

    def test_a_single_kind_is_the_report_itself(self) -> None:
        judged = report({"gaussian": GAUSSIAN})
        assert by_kind(judged) == {"gaussian": judged}
        assert "linearity_radius_by_kind" not in judged.to_dict()


class TestRounding:
    def test_of_one_kind_is_not_that_of_another(self) -> None:
        """Along the gradient logits move far, so rounding is nothing there."""
        errors = {"gaussian": {0.1: [[0.1]]}, "gradient": {0.1: [[0.1]]}}
        judged = report(errors, floors={"gaussian": 0.3, "gradient": 1e-7})
        assert judged.at(0.1).reason == (
            "gaussian: rounding alone causes a relative error of 0.3 in float32, above the limit "
            "0.20"
        )
        assert [f.noise_floor for f in judged.at(0.1).by_kind.values()] == [0.3, 1e-7]

    def test_a_kind_along_which_no_logit_moves_fails(self) -> None:
        errors = {"gaussian": {0.1: [[0.1]]}, "update": {0.1: [[0.0]]}}
        assert report(errors).passed
        judged = report(errors, still=["update"])
        assert str(judged.at(0.1).reason).startswith("update: no logit of any prompt moves")
        assert judged.linearity_radius is None
