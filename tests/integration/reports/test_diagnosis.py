"""Second order, layer profile and refined radius: from the config to every form of the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reports
import torch
from conftest import Write
from jsonschema import Draft202012Validator

from pytest_linearity.config import Config
from pytest_linearity.diagnosis import diagnosis
from pytest_linearity.errors import ConfigError
from pytest_linearity.layers import LayerProfile
from pytest_linearity.measurement import Measurement
from pytest_linearity.refinement import Refinement
from pytest_linearity.report.document import Report
from pytest_linearity.report.explanation import explanation
from pytest_linearity.report.html import html
from pytest_linearity.report.junit import verdict_properties
from pytest_linearity.report.markdown import markdown
from pytest_linearity.report.results import Measured
from pytest_linearity.report.schema import load_schema
from pytest_linearity.report.terminal import render

ALL = {"second_order": True, "layer_profile": True, "refine": True}
RADII = (0.1, 0.3, 1.0)
NAMES = ("a.0", "a.1", "a.2", "a.3")


def measurement(slope: float = 0.31, kappa: float = 0.62) -> Measurement:
    """Two directions and one prompt; ε = slope · r, and κ = kappa ± 0.02."""
    per_block = torch.tensor([0.0, 0.1, 0.8, 1.0]).double()
    r = torch.tensor(RADII).double()
    spread = torch.tensor([[-1.0], [1.0]]).double()
    error = (slope * r)[:, None, None] * (1 + 0.1 * spread)
    layers = (slope * r)[:, None, None, None] * per_block[:, None, None] * (1 + 0.1 * spread)
    return Measurement(
        radii=RADII,
        relative_error=error,
        cosine_similarity=1 - error / 10,
        precision=("float32",) * 3,
        noise_floor=(1e-6,) * 3,
        jvp_method="forward-mode",
        no_forward_mode=None,
        routing_flips=None,
        curvature_ratio=kappa + 0.02 * spread,
        layers=LayerProfile(NAMES, layers, 1 - layers / 10),
        refinement=Refinement(0.63, 0.65, (0.55, 0.65, 0.63)),
    )


def report(slope: float = 0.31, kappa: float = 0.62, **changes: Any) -> Report:
    config = Config(model_name_or_path="x", radii=list(RADII), **{**ALL, **changes})
    base = reports.report(RADII, slope, **ALL)
    return replace(base, **diagnosis(measurement(slope, kappa), config))


def last(found: Report) -> str:
    return next(line for line in explanation(found) if line.startswith("curvature"))


class TestFigures:
    def test_prediction_is_half_of_radius_times_curvature(self) -> None:
        found = report().to_dict()["second_order"]
        assert found["mean_curvature_ratio"] == pytest.approx(0.62)
        assert found["std_curvature_ratio"] == pytest.approx(0.02)
        assert found["predicted_crossing_radius"] == pytest.approx(0.4 / 0.62)
        assert found["curvature_ratio"] == [[pytest.approx(0.6)], [pytest.approx(0.64)]]
        assert found["crossing_radius"] == [[pytest.approx(2 / 3)], [pytest.approx(0.625)]]
        at = found["predicted"]["0.3"]
        assert at["relative_error"] == pytest.approx(0.093)
        assert at["measured_over_predicted"] == pytest.approx(1.0)
        pairs = [[0.31 * 0.9 / 0.3], [0.31 * 1.1 / 0.32]]
        assert torch.tensor(at["pairs"]).tolist() == [
            [pytest.approx(value) for value in row] for row in pairs
        ]

    def test_without_curvature_nothing_is_predicted(self) -> None:
        flat = replace(measurement(), curvature_ratio=torch.zeros(2, 1).double())
        config = Config(model_name_or_path="x", radii=list(RADII), second_order=True)
        found = diagnosis(flat, config)["second_order"]
        assert found.mean_curvature_ratio == 0
        assert found.predicted_crossing_radius is None
        assert found.crossing_radius == [[None], [None]]
        assert found.predicted["1.0"].measured_over_predicted is None
        assert found.predicted["1.0"].pairs == [[None], [None]]

    def test_what_is_not_finite_is_null(self) -> None:
        broken = measurement()
        assert broken.curvature_ratio is not None
        assert broken.layers is not None
        broken.curvature_ratio[0, 0] = float("inf")
        broken.layers.relative_error[1, 2, 0, 0] = float("nan")
        config = Config(model_name_or_path="x", radii=list(RADII), **ALL)
        found = diagnosis(broken, config)
        assert found["second_order"].mean_curvature_ratio is None
        assert found["second_order"].predicted["0.1"].relative_error is None
        assert found["layers"].radii["0.3"].relative_error[2] is None
        json.dumps(found["second_order"].to_dict(), allow_nan=False)

    def test_profile_has_a_mean_per_block(self) -> None:
        found = report().to_dict()["layers"]
        assert found["names"] == list(NAMES)
        assert found["0.3"]["relative_error"] == pytest.approx([0, 0.0093, 0.0744, 0.093])
        assert found["0.3"]["cosine_similarity"] == pytest.approx([1, 0.99907, 0.99256, 0.9907])

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
        found = report()
        document = json.loads(json.dumps(found.to_dict()))
        assert Report.from_dict(document) == found

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


class TestSentences:
    def test_plain_curvature(self) -> None:
        assert last(report()) == (
            "curvature ratio 0.6200 ± 0.0200: relative error 0.20 predicted at r = 0.645; "
            "at r = 1 measured 0.31, predicted 0.31: plain curvature"
        )

    def test_something_sharper(self) -> None:
        assert last(report(kappa=0.4)).endswith(
            "measured 0.31, predicted 0.2: more than curvature explains; "
            "look at routing flips, noise floor, layer profile"
        )
        assert last(report(kappa=0.42)).endswith("plain curvature")  # 1.48 times as large

    def test_less_than_predicted(self) -> None:
        assert last(report(kappa=1.2)).endswith("beyond second order, the prediction is too large")

    def test_block_that_bends(self) -> None:
        assert explanation(report())[-1] == (
            "layer profile at r = 1: relative error 0.31 after the last block, "
            "more than half of it (0.248) after block 3 of 4, a.2"
        )

    def test_the_last_block_alone_bends(self) -> None:
        found = report()
        assert found.layers is not None
        means = replace(found.layers.radii["1.0"], relative_error=[0.0, 0.05, 0.12, 0.31])
        last_block = replace(found.layers, radii={**found.layers.radii, "1.0": means})
        assert explanation(replace(found, layers=last_block))[-1] == (
            "layer profile at r = 1: relative error 0.31 after the last block, a.3, "
            "and less than half of it before"
        )

    def test_crossing(self) -> None:
        assert explanation(report())[0] == "refined linearity radius 0.63 (fails at 0.65)"
        none = replace(report(), refined=None)
        assert explanation(none)[0] == "no refined linearity radius: no radius complies"
        complying = replace(reports.report(slope=0.01, refine=True))
        assert explanation(complying) == [
            "no refined linearity radius: the largest radius complies"
        ]

    def test_nothing_without_being_asked_for(self) -> None:
        assert explanation(reports.report()) == []


class TestForms:
    def test_terminal(self) -> None:
        found = render(report(), "gate.yaml", width=200)
        assert " • refined linearity radius 0.63 (fails at 0.65)\n • curvature ratio 0.62" in found
        narrow = render(report(), "gate.yaml", width=60)
        assert "relative error 0.20\n   predicted at r = 0.645;" in narrow
        assert max(map(len, render(report(), "gate.yaml").splitlines())) <= 80
        render(report(), "gate.yaml", encoding="ascii").encode("ascii")

    def test_markdown_html_and_junit(self) -> None:
        result = Measured("gate.yaml", None, None, report())
        assert "- refined linearity radius 0.63 (fails at 0.65)" in markdown([result])
        page = html([result])
        assert "<li>refined linearity radius 0.63 (fails at 0.65)</li>" in page
        assert "hidden state after every block" in page
        assert "data:image" not in page  # which the page's own policy would block
        assert dict(verdict_properties(report()))["refined_linearity_radius"] == "0.63"

    def test_names_of_blocks_are_text_and_nothing_else(self) -> None:
        found = report()
        assert found.layers is not None
        hostile = replace(found.layers, names=(*NAMES[:2], reports.HOSTILE, "$x_1$"))
        result = Measured("gate.yaml", None, None, replace(found, layers=hostile))
        assert "<script" not in html([result])
        assert "<script" not in markdown([result])

    def test_heat_map(self) -> None:
        from pytest_linearity.report.plot.palette import PRINT
        from pytest_linearity.report.plot.radii import draw_report

        found = report()
        (heat,) = [axes for axes in draw_report(found, PRINT).axes if "block" in axes.get_xlabel()]
        (fields,) = heat.collections
        assert fields.get_array().shape == (3, 4)
        assert float(fields.get_array()[2, 2]) == pytest.approx(0.248)
        assert "0.25" in {text.get_text() for text in heat.texts}
        assert len(draw_report(reports.report(), PRINT).axes) == 2

    @pytest.mark.parametrize("blocks", [1, 2, 80])
    @pytest.mark.parametrize("value", [None, 0.0, 1e-30])
    def test_heat_map_of_odd_profiles(self, blocks: int, value: float | None) -> None:
        from pytest_linearity.report.plot import drawn_report
        from pytest_linearity.report.profile_figures import LayerMeans, ProfileFigures

        row = [value] * (blocks - 1) + [0.2 if value else value]
        means = {str(radius): LayerMeans(row, row) for radius in RADII}
        names = tuple(f"model.layers.{place}" for place in range(blocks))
        found = replace(report(), layers=ProfileFigures(names, means))
        assert "<image" not in drawn_report(found, "x", prefix="p")
        assert explanation(found)


@pytest.fixture(scope="module")
def real(tiny_checkpoint: Path) -> Report:
    from pytest_linearity.analysis import analyze

    # Of different lengths, so that batches have another order than the prompts.
    config = Config(
        model_name_or_path=str(tiny_checkpoint),
        prompts=["1+1=2, 2+2=", "3", "1+1="],
        num_directions=2,
        batch_size=1,
        radii=[0.1, 1000.0],
        precision="float64",
        **ALL,
    )
    return analyze(config)


def test_a_real_run(real: Report) -> None:
    document = json.loads(json.dumps(real.to_dict(), allow_nan=False))
    assert not list(Draft202012Validator(load_schema()).iter_errors(document))
    assert Report.from_dict(document) == real
    assert document["layers"]["names"] == ["model.layers.0", "model.layers.1"]
    refined = document["refined"]
    assert 0.1 < refined["linearity_radius"] < refined["first_failing"] < 1000
    assert refined["first_failing"] <= 1.05 * refined["linearity_radius"]
    # At a small radius curvature explains the error of every pair, each in its own place.
    for row in document["second_order"]["predicted"]["0.1"]["pairs"]:
        assert row == [pytest.approx(1, abs=0.25)] * 3
    assert render(real, "gate.yaml")


def test_findings_of_a_real_run_are_kept_exactly(tmp_path: Path) -> None:
    from pytest_linearity.findings import Findings
    from pytest_linearity.stored import read_findings, write_findings

    written = measurement()
    assert written.layers is not None
    assert written.curvature_ratio is not None
    written.curvature_ratio[0, 0] = float("inf")
    write_findings(tmp_path / "a", Findings(written, {}, {}, {}, {}))
    found = read_findings(tmp_path / "a")
    assert found is not None
    assert found.measurement.refinement == written.refinement
    assert found.measurement.curvature_ratio is not None
    assert torch.equal(found.measurement.curvature_ratio, written.curvature_ratio)
    assert found.measurement.layers is not None
    assert found.measurement.layers.names == NAMES
    for name in ("relative_error", "cosine_similarity"):
        assert torch.equal(getattr(found.measurement.layers, name), getattr(written.layers, name))


def test_a_model_without_blocks_has_no_profile(tiny_checkpoint: Path) -> None:
    from pytest_linearity.analysis import Analysis

    analysis = Analysis(Config(model_name_or_path=str(tiny_checkpoint), layer_profile=True))
    analysis.checkpoint.model.model.layers = torch.nn.ModuleList()
    with pytest.raises(ConfigError, match="layer_profile: LlamaForCausalLM has no repeated blocks"):
        _ = analysis._taps


@pytest.mark.parametrize("key", sorted(ALL))
def test_the_cache_tells_them_apart(key: str) -> None:
    from pytest_linearity.identity import measured_keys

    asked = Config(model_name_or_path="x", **{key: True})
    assert measured_keys(asked) != measured_keys(Config(model_name_or_path="x"))


def test_a_refined_measurement_is_not_reused_under_other_limits(
    pytester: pytest.Pytester, real_config: Write
) -> None:
    def refined(**keys: Any) -> Any:
        real_config(radii=[0.1, 1000.0], refine=True, prompts=["1+1="], num_directions=1, **keys)
        pytester.runpytest("--linearity-config=gate.yaml", "--linearity-cache")
        return json.loads((pytester.path / "linearity_report.json").read_text())

    first, other = refined(), refined(relerr_threshold=0.05)
    assert other["environment"]["reused"] is False
    assert other["refined"]["linearity_radius"] < first["refined"]["linearity_radius"]
    again = refined()
    assert again["environment"]["reused"] is True
    assert again["refined"] == first["refined"]
