"""Second order, layer profile and refined radius as figures of the report."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from pytest_linearity.config.config import Config
from pytest_linearity.verdict.decode import encode
from pytest_linearity.verdict.diagnosis import diagnosis
from pytest_linearity.verdict.document import Report
from tests.support.diagnoses import ALL, NAMES, RADII, measurement, report


class TestFigures:
    def test_prediction_is_half_of_radius_times_curvature(self) -> None:
        curvature = report().to_dict()["second_order"]
        assert curvature["mean_curvature_ratio"] == pytest.approx(0.62)
        assert curvature["std_curvature_ratio"] == pytest.approx(0.02)
        assert curvature["predicted_crossing_radius"] == pytest.approx(0.4 / 0.62)
        assert curvature["curvature_ratio"] == [[pytest.approx(0.6)], [pytest.approx(0.64)]]
        assert curvature["crossing_radius"] == [[pytest.approx(2 / 3)], [pytest.approx(0.625)]]
        at = curvature["predicted"]["0.3"]
        assert at["relative_error"] == pytest.approx(0.093)
        assert at["measured_over_predicted"] == pytest.approx(1.0)
        pairs = [[0.31 * 0.9 / 0.3], [0.31 * 1.1 / 0.32]]
        assert torch.tensor(at["pairs"]).tolist() == [
            [pytest.approx(value) for value in row] for row in pairs
        ]

    def test_without_curvature_nothing_is_predicted(self) -> None:
        flat = replace(measurement(), curvature_ratio=torch.zeros(2, 1).double())
        config = Config(model_name_or_path="x", radii=list(RADII), second_order=True)
        curvature = diagnosis(flat, config)["second_order"]
        assert curvature.mean_curvature_ratio == 0
        assert curvature.predicted_crossing_radius is None
        assert curvature.crossing_radius == [[None], [None]]
        assert curvature.predicted["1.0"].measured_over_predicted is None
        assert curvature.predicted["1.0"].pairs == [[None], [None]]

    def test_what_is_not_finite_is_null(self) -> None:
        broken = measurement()
        assert broken.curvature_ratio is not None
        assert broken.layers is not None
        broken.curvature_ratio[0, 0] = float("inf")
        broken.layers.relative_error[1, 2, 0, 0] = float("nan")
        config = Config(model_name_or_path="x", radii=list(RADII), **ALL)
        fields = diagnosis(broken, config)
        assert fields["second_order"].mean_curvature_ratio is None
        assert fields["second_order"].predicted["0.1"].relative_error is None
        assert fields["layers"].radii["0.3"].relative_error[2] is None
        json.dumps(encode(fields["second_order"]), allow_nan=False)

    def test_profile_has_a_mean_per_block(self) -> None:
        layers = report().to_dict()["layers"]
        assert layers["names"] == list(NAMES)
        assert layers["0.3"]["relative_error"] == pytest.approx([0, 0.0093, 0.0744, 0.093])
        assert layers["0.3"]["cosine_similarity"] == pytest.approx([1, 0.99907, 0.99256, 0.9907])

    def test_refined(self) -> None:
        assert report().to_dict()["refined"] == {
            "linearity_radius": 0.63,
            "first_failing": 0.65,
            "evaluated": [0.55, 0.65, 0.63],
        }

    @pytest.mark.parametrize(
        ("key", "part"),
        [("second_order", "second_order"), ("layer_profile", "layers"), ("refine", "refined")],
    )
    def test_only_what_is_asked_for(self, key: str, part: str) -> None:
        assert part in report().to_dict()
        assert part not in report(**{key: False}).to_dict()

    def test_is_read_back_exactly(self) -> None:
        original = report()
        document = json.loads(json.dumps(original.to_dict()))
        assert Report.from_dict(document) == original

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (["refined"], None, "refined is not an object"),
            (["refined", "evaluated"], [None], "refined.evaluated holds null"),
            (["refined", "first_failing"], "x", "refined.first_failing is 'x', not a number"),
            (["layers", "names"], 3, "layers.names is not a list of texts"),
            (["layers", "0.3", "relative_error"], [1], "is not a list of 4 numbers"),
            (["layers", "x"], {}, "layers has the key 'x', which is not a number"),
            (["second_order"], [], "second_order is not an object"),
            (["second_order", "predicted", "0.1"], 1, "predicted.0.1 is not an object"),
            (["second_order", "curvature_ratio"], 1, "curvature_ratio is not a list of lists"),
        ],
    )
    def test_a_damaged_one_is_refused(self, path: list[str], value: Any, message: str) -> None:
        document = json.loads(json.dumps(report().to_dict()))
        part = document
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        with pytest.raises(ValueError, match=message):
            Report.from_dict(document)
